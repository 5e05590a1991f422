"""Cameras in a ring about the vehicle, drawing the same solids as the LiDAR meets (kernels/src/raycast_render.cpp)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from percept_ros import native
from percept_ros.simulate.lidar import SceneStruct, scene_struct
from percept_ros.simulate.solids import Solids
from percept_ros.simulate.terrain import GroundLabel, Patch
from percept_ros.types import F32, F64, U8, CameraCalibration

RINGS_DEG: dict[int, tuple[int, ...]] = {
    1: (0,),
    2: (0, 180),
    3: (0, 60, -60),
    4: (0, 90, -90, 180),
    5: (0, 55, -55, 110, -110),
    6: (0, 55, -55, 110, -110, 180),
    7: (0, 50, -50, 100, -100, 150, -150),
    8: (0, 45, -45, 90, -90, 135, -135, 180),
}
"""Number of cameras -> their directions, left positive."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One pinhole camera.

    yaw_rad: direction in the base frame. base_SE3_optical: (4, 4).
    """

    name: str
    yaw_rad: float
    calibration: CameraCalibration
    base_SE3_optical: F64

    @property
    def frame_id(self) -> str:
        """Optical frame."""
        return f"{self.name}_optical"


@dataclass(frozen=True, slots=True)
class Look:
    """Light, weather and colours of a drive. Colours BGR, 0 to 255; ``labels`` (256, 3) uint8 by ground label."""

    sun: F64
    ambient: float
    diffuse: float
    fog_m: float
    sky_top: F64
    sky_horizon: F64
    gain: F64
    noise: float
    texture: float
    labels: U8

    @staticmethod
    def random(rng: np.random.Generator) -> Look:
        """From bright noon to a dull evening."""
        height, turn = rng.uniform(0.25, 1.3), rng.uniform(0, 2 * np.pi)
        overcast = rng.random() < 0.4
        dark = rng.random() < 0.15
        level = rng.uniform(0.3, 0.5) if dark else rng.uniform(0.85, 1.1)
        blue, grey = np.array([235.0, 170.0, 110.0]), np.array([205.0, 200.0, 195.0])
        labels = np.zeros((256, 3), np.uint8)
        green, tar = rng.uniform(60, 120), rng.uniform(70, 130)
        labels[GroundLabel.VERGE] = (green * 0.55, green, green * rng.uniform(0.6, 0.95))
        labels[GroundLabel.TAR] = (tar, tar, tar * rng.uniform(0.95, 1.05))
        labels[GroundLabel.PAINT] = 225
        labels[GroundLabel.PAVEMENT] = np.array([1.0, 1.02, 1.05]) * rng.uniform(130, 180)
        return Look(
            np.array([np.cos(height) * np.cos(turn), np.cos(height) * np.sin(turn), np.sin(height)]),
            0.75 if overcast else 0.5,
            0.25 if overcast else 0.6,
            float(rng.uniform(60, 200)) if rng.random() < 0.2 else 600.0,
            level * (grey if overcast else blue),
            level * np.array([230.0, 225.0, 220.0]),
            level * rng.uniform(0.92, 1.08, 3),
            float(rng.uniform(1.0, 5.0)),
            float(rng.uniform(0.08, 0.3)),
            labels,
        )


def camera_ring(count: int, width_px: int, height_px: int, rng: np.random.Generator) -> tuple[Camera, ...]:
    """``count`` cameras (1 to 8), each mounted up to a degree off."""
    return tuple(_camera(np.radians(deg), count, width_px, height_px, rng) for deg in RINGS_DEG[count])


def _name(yaw_deg: float) -> str:
    side = "left" if yaw_deg > 0 else "right"
    away = abs(yaw_deg)
    words = ("front",) if away < 20 else ("front", side) if away < 75 else (side,) if away < 105 else ("back", side)
    return "_".join(("cam", *(("back",) if away > 165 else words)))


def _camera(yaw: float, count: int, width: int, height: int, rng: np.random.Generator) -> Camera:
    view = 110.0 if count in (2, 6) and abs(yaw) > 3 else 90.0 if count in (3, 4) else 68.0
    focal = width / 2 / np.tan(np.radians(view) / 2)
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    off = np.radians(np.clip(rng.normal(0, 0.4, 3), -1, 1))
    cos, sin = np.cos(yaw + off[0]), np.sin(yaw + off[0])
    level = np.array([[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]])
    tilt = np.array([[1.0, -off[2], 0.0], [off[2], 1.0, -off[1]], [0.0, off[1], 1.0]])
    u, _, vt = np.linalg.svd(level @ tilt)
    pose = np.eye(4)
    pose[:3, :3] = u @ vt
    pose[:3, 3] = 0.9 * np.cos(yaw), 0.5 * np.sin(yaw), 1.55 + rng.normal(0, 0.02)
    return Camera(_name(float(np.degrees(yaw))), yaw, CameraCalibration(width, height, K, np.zeros(0)), pose)


_VEC = ctypes.c_float * 3


class _View(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("width", "height")),
        *((name, ctypes.c_float) for name in ("fx", "fy", "cx", "cy")),
        ("pose", ctypes.c_float * 12),
        ("time", ctypes.c_float),
        ("sun", _VEC),
        *((name, ctypes.c_float) for name in ("ambient", "diffuse", "fog_m")),
        *((name, _VEC) for name in ("sky_top", "sky_horizon", "gain")),
        *((name, ctypes.c_float) for name in ("noise", "texture", "reach_m")),
        ("seed", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("label_nx", "label_ny")),
        *((name, ctypes.c_float) for name in ("label_x_m", "label_y_m", "label_cell_m")),
        *((name, ctypes.c_void_p) for name in ("labels", "label_colours")),
    ]


@functools.cache
def _kernel() -> Callable[..., int]:
    scene, view = ctypes.POINTER(SceneStruct), ctypes.POINTER(_View)
    return native.bind("percept_render_view", [scene, view, *[ctypes.c_void_p] * 5])


def render(
    solids: Solids, patch: Patch, camera: Camera, local_SE3_optical: F64, look: Look, time_s: float, seed: int
) -> tuple[U8, npt.NDArray[np.int32], F32]:
    """Draw what a camera sees.

    local_SE3_optical: (4, 4) pose in the frame of ``solids`` and ``patch``. time_s: solids are moved by their velocity.
    Returns image (h, w, 3) uint8 BGR, object index (h, w) (see lidar.py), depth (h, w) m along the axis, 0 = sky.
    """
    calibration = camera.calibration
    shape = (calibration.height_px, calibration.width_px)
    K = calibration.K
    view = _View(width=shape[1], height=shape[0], fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2], time=time_s)
    view.pose[:] = np.asarray(local_SE3_optical[:3], np.float64).ravel().tolist()
    for name in ("sun", "sky_top", "sky_horizon", "gain"):
        getattr(view, name)[:] = [float(v) for v in getattr(look, name)]
    for name in ("ambient", "diffuse", "fog_m", "noise", "texture"):
        setattr(view, name, float(getattr(look, name)))
    view.reach_m, view.seed = 150.0, seed & 0xFFFFFFFF
    view.label_nx, view.label_ny = patch.labels.shape
    view.label_x_m, view.label_y_m, view.label_cell_m = patch.label_x_m, patch.label_y_m, patch.label_cell_m
    labels, colours = np.ascontiguousarray(patch.labels), np.ascontiguousarray(look.labels)
    view.labels, view.label_colours = native.pointer(labels), native.pointer(colours)
    scene, alive = scene_struct(solids, patch.ground)
    prism, paint = np.ascontiguousarray(solids.prism, np.uint8), np.ascontiguousarray(solids.colour)
    image = np.empty((*shape, 3), np.uint8)
    owner, depth = np.empty(shape, np.int32), np.empty(shape, np.float32)
    outputs = [native.pointer(a) for a in (prism, paint, image, owner, depth)]
    if _kernel()(ctypes.byref(scene), ctypes.byref(view), *outputs) < 0:
        raise ValueError("rendering refused its arguments")
    del alive
    return image, owner, depth
