"""A spinning LiDAR: beam tables, sweep and ray casting (kernels/src/raycast.cpp)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros import native
from percept_ros.errors import ConfigError
from percept_ros.simulate.beams import BEAM_TABLES, BY_BEAMS
from percept_ros.simulate.solids import Solids
from percept_ros.types import F32, F64

GROUND, SCENERY, NOTHING, GHOST, EGO = -1, -2, -3, -4, -5
"""Object indices that are no object's; EGO marks the own vehicle, whose returns are dropped."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Height field and reflectivity of the ground, both on square cells; flat beyond the edge.

    height: (nx, ny) float32 m, node (0, 0) at (x_m, y_m), ``cell_m`` apart, bilinear between.
    paint: (mx, my) float32 reflectivity of cells whose first corner is (paint_x_m, paint_y_m).
    """

    x_m: float
    y_m: float
    cell_m: float
    height: F32
    paint_x_m: float = 0.0
    paint_y_m: float = 0.0
    paint_cell_m: float = 1000.0
    paint: F32 = field(default_factory=lambda: np.full((1, 1), 0.25, np.float32))

    @property
    def slope(self) -> float:
        """Upper bound of the gradient's length."""
        steps = [np.abs(np.diff(self.height, axis=a)).max() / self.cell_m for a in (0, 1)]
        return float(np.hypot(*steps)) + 1e-3

    def height_at(self, xy: F64) -> F64:
        """(n,) height at (n, 2) positions, m."""
        top = np.array(self.height.shape) - 1 - 1e-3
        cell = np.clip((xy - [self.x_m, self.y_m]) / self.cell_m, 0.0, top)
        i, j = cell.astype(np.int64).T
        u, v = (cell - np.floor(cell)).T
        h = self.height
        low = (1 - v) * h[i, j] + v * h[i, j + 1]
        return np.asarray((1 - u) * low + u * ((1 - v) * h[i + 1, j] + v * h[i + 1, j + 1]), np.float64)

    @staticmethod
    def flat(height_m: float = 0.0, reflectivity: float = 0.25) -> Ground:
        """A plane."""
        return Ground(
            0.0, 0.0, 1.0, np.full((2, 2), height_m, np.float32), paint=np.full((1, 1), reflectivity, np.float32)
        )


@dataclass(frozen=True, slots=True)
class LidarModel:
    """What kind of LiDAR it is.

    elevation_rad: (B,) descending. azimuth_offset_rad, range_bias_m: (B,) or empty = zero. clockwise: seen from above.
    reach_m: distance at which a white wall is seen with even odds. Probabilities are a ray.
    """

    elevation_rad: F64
    columns: int = 2000
    period_s: float = 0.1
    clockwise: bool = True
    azimuth_offset_rad: F64 = field(default_factory=lambda: np.zeros(0))
    range_bias_m: F64 = field(default_factory=lambda: np.zeros(0))
    azimuth_jitter_rad: float = 0.0002
    elevation_jitter_rad: float = 0.0001
    range_sigma_m: float = 0.015
    min_range_m: float = 1.0
    max_range_m: float = 120.0
    reach_m: float = 200.0
    drop_probability: float = 0.02
    ghost_probability: float = 0.0005
    ghost_mean_m: float = 4.0
    intensity_gain: float = 1.0
    intensity_gamma: float = 1.0
    intensity_sigma: float = 0.02
    intensity_falloff: float = 0.0

    @property
    def beams(self) -> int:
        """Number of beams."""
        return len(self.elevation_rad)


@dataclass(frozen=True, slots=True)
class Scan:
    """Returns of one sweep, P rows, in firing order.

    points: (P, 3) float32 in the sensor's frame at each point's own time. intensity: (P,) float32 [0, 1]. ring: (P,) uint16,
    0 = topmost beam. time_offset_s: (P,) float32 from time 0. object: (P,) int32 object index, or GROUND, SCENERY, GHOST.
    """

    points: F32
    intensity: F32
    ring: npt.NDArray[np.uint16]
    time_offset_s: F32
    object: npt.NDArray[np.int32]


def lidar_model(beams: int = 64, **changes: Any) -> LidarModel:
    """The usual sensor with that many beams. Raises ConfigError when there is none."""
    if beams not in BY_BEAMS:
        raise ConfigError(f"LiDAR with {beams} beams is unknown, expected one of {', '.join(map(str, BY_BEAMS))}")
    return LidarModel(BEAM_TABLES[BY_BEAMS[beams]], **changes)


class SceneStruct(ctypes.Structure):
    """``PerceptScene`` of kernels/percept_raycast.h."""

    _fields_ = [
        ("solids", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("planes", "plane_count", "vertices", "vertex_count", "material")),
        *((name, ctypes.c_void_p) for name in ("reflectivity", "parameter", "object", "velocity")),
        *((name, ctypes.c_int32) for name in ("ground_nx", "ground_ny")),
        *((name, ctypes.c_float) for name in ("ground_x_m", "ground_y_m", "ground_cell_m")),
        ("ground_height", ctypes.c_void_p),
        ("ground_slope", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("paint_nx", "paint_ny")),
        *((name, ctypes.c_float) for name in ("paint_x_m", "paint_y_m", "paint_cell_m")),
        ("paint", ctypes.c_void_p),
    ]


_SETTINGS = [
    "azimuth_jitter_rad",
    "elevation_jitter_rad",
    "range_sigma_m",
    "min_range_m",
    "max_range_m",
    "reach_m",
    "drop_probability",
    "ghost_probability",
    "ghost_mean_m",
    "intensity_gain",
    "intensity_gamma",
    "intensity_sigma",
    "intensity_falloff",
]


class _Spin(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("columns", "beams")),
        *((name, ctypes.c_void_p) for name in ("azimuth", "time", "pose", "elevation", "azimuth_offset", "range_bias")),
        *((name, ctypes.c_float) for name in _SETTINGS),
        ("seed", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
    ]


@functools.cache
def _kernel() -> Callable[..., int]:
    scene, spin = ctypes.POINTER(SceneStruct), ctypes.POINTER(_Spin)
    return native.bind("percept_raycast_spin", [scene, spin, *[ctypes.c_void_p] * 4])


def sweep_columns(model: LidarModel, start_rad: float = np.pi) -> tuple[F32, F32]:
    """Azimuth and time of every column of one sweep: time runs from -period/2 to period/2 about the reference time."""
    share = (np.arange(model.columns) + 0.5) / model.columns
    turn = -2 * np.pi * share if model.clockwise else 2 * np.pi * share
    return (start_rad + turn).astype(np.float32), ((share - 0.5) * model.period_s).astype(np.float32)


def cast(
    solids: Solids,
    ground: Ground | None,
    model: LidarModel,
    azimuth: F32,
    time_s: F32,
    poses: F64,
    seed: int,
    threads: int = 1,
) -> tuple[F32, F32, F32, npt.NDArray[np.int32]]:
    """Cast every beam of every column.

    azimuth, time_s: (C,). poses: (C, 4, 4) local_SE3_sensor at each column, or (4, 4). Solids and ground in the local frame.
    Returns points (C, B, 3), range (C, B) with 0 = none, intensity (C, B) and object (C, B).
    """
    columns, beams = len(azimuth), model.beams
    pose = np.ascontiguousarray(np.broadcast_to(poses, (columns, 4, 4))[:, :3], np.float32)
    zeros = np.zeros(beams, np.float32)
    keep: dict[str, npt.NDArray[Any]] = {
        "azimuth": np.ascontiguousarray(azimuth, np.float32),
        "time": np.ascontiguousarray(time_s, np.float32),
        "pose": pose,
        "elevation": np.ascontiguousarray(model.elevation_rad, np.float32),
        "azimuth_offset": np.ascontiguousarray(model.azimuth_offset_rad, np.float32)
        if len(model.azimuth_offset_rad)
        else zeros,
        "range_bias": np.ascontiguousarray(model.range_bias_m, np.float32) if len(model.range_bias_m) else zeros,
    }
    spin = _Spin(columns=columns, beams=beams, seed=seed & 0xFFFFFFFF, threads=threads)
    for name, array in keep.items():
        setattr(spin, name, native.pointer(array))
    for name in _SETTINGS:
        setattr(spin, name, float(getattr(model, name)))
    points, distance = np.empty((columns, beams, 3), np.float32), np.empty((columns, beams), np.float32)
    intensity, owner = np.empty((columns, beams), np.float32), np.empty((columns, beams), np.int32)
    scene, alive = scene_struct(solids, ground)
    outputs = [native.pointer(a) for a in (points, distance, intensity, owner)]
    if _kernel()(ctypes.byref(scene), ctypes.byref(spin), *outputs) < 0:
        raise ValueError("ray casting refused its arguments")
    del alive
    return points, distance, intensity, owner


def scene_struct(solids: Solids, ground: Ground | None) -> tuple[SceneStruct, list[npt.NDArray[Any]]]:
    """``PerceptScene`` of the kernels, and the arrays that must stay alive while it is used."""
    scene, alive = SceneStruct(solids=len(solids)), []
    for name in (
        "planes",
        "plane_count",
        "vertices",
        "vertex_count",
        "material",
        "reflectivity",
        "parameter",
        "object",
        "velocity",
    ):
        array = np.ascontiguousarray(getattr(solids, name))
        alive.append(array)
        setattr(scene, name, native.pointer(array))
    if ground is not None:
        height, paint = np.ascontiguousarray(ground.height, np.float32), np.ascontiguousarray(ground.paint, np.float32)
        alive += [height, paint]
        scene.ground_nx, scene.ground_ny = height.shape
        scene.paint_nx, scene.paint_ny = paint.shape
        scene.ground_x_m, scene.ground_y_m, scene.ground_cell_m = ground.x_m, ground.y_m, ground.cell_m
        scene.paint_x_m, scene.paint_y_m, scene.paint_cell_m = ground.paint_x_m, ground.paint_y_m, ground.paint_cell_m
        scene.ground_height, scene.paint = native.pointer(height), native.pointer(paint)
        scene.ground_slope = ground.slope
    return scene, alive


def sweep(
    solids: Solids,
    ground: Ground | None,
    model: LidarModel,
    poses: F64,
    seed: int,
    *,
    threads: int = 1,
    start_rad: float = np.pi,
) -> Scan:
    """One whole turn. poses: (4, 4) local_SE3_sensor, or (C, 4, 4) when the sensor moves (C = model.columns)."""
    azimuth, time_s = sweep_columns(model, start_rad)
    points, distance, intensity, owner = cast(solids, ground, model, azimuth, time_s, poses, seed, threads)
    hit = (distance > 0) & (owner != EGO)
    column, ring = np.nonzero(hit)
    return Scan(points[hit], intensity[hit], ring.astype(np.uint16), time_s[column], owner[hit])
