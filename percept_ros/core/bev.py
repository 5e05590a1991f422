"""Bird's-eye view: a robust road plane, and the height-slice image that the LiDAR networks read.

The image has ``slices + 3`` channels over a square grid: for each height slice 1 - 2^-n of its n points, the highest and
the lowest point of the cell (heights above the road / 4 m, clipped to [-0.25, 1]), and in every cell its range / the
largest range. Empty cells are 0 in all other channels.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import CloudError
from percept_ros.native import bind, library, pointer
from percept_ros.types import F32, F64

_MAX_SLICES = 16
_IDENTITY = np.eye(4)


class _CGrid(ctypes.Structure):
    _fields_ = (
        ("x_min_m", ctypes.c_float),
        ("y_min_m", ctypes.c_float),
        ("cell_m", ctypes.c_float),
        ("nx", ctypes.c_int32),
        ("ny", ctypes.c_int32),
        ("max_range_m", ctypes.c_float),
        ("slices", ctypes.c_int32),
        ("edges_m", ctypes.c_float * (_MAX_SLICES + 1)),
    )


class _CPoints(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("stride_bytes", ctypes.c_int64),
        ("x_offset", ctypes.c_int32),
        ("y_offset", ctypes.c_int32),
        ("z_offset", ctypes.c_int32),
    )


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    grid, points, address = ctypes.POINTER(_CGrid), ctypes.POINTER(_CPoints), ctypes.c_void_p
    return {
        "create": bind("percept_bev_create", [grid], address),
        "destroy": bind("percept_bev_destroy", [address], None),
        "rasterise": bind("percept_bev_rasterise", [address, points, address, address, ctypes.c_int32, address]),
        "ground": bind("percept_ground_plane", [points, address, ctypes.c_float, address]),
    }


@dataclass(frozen=True, slots=True)
class BevGrid:
    """A square grid centred on the base frame: row ``iy`` along y (left), column ``ix`` along x (forward).

    half_m: half the side. cell_m: side of a cell. edges_m: ascending heights above the road that bound the slices
    (at most 16 slices); points below the first (mirror ghosts) and above the last (bridges, branches) are dropped.
    """

    half_m: float = 51.2
    cell_m: float = 0.2
    edges_m: tuple[float, ...] = (-0.4, 0.15, 0.4, 0.65, 0.9, 1.15, 1.4, 1.7, 2.1, 2.8, 4.2)

    @property
    def size(self) -> int:
        """Cells a side."""
        return round(2.0 * self.half_m / self.cell_m)

    @property
    def slices(self) -> int:
        """Number of height slices."""
        return len(self.edges_m) - 1

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.slices + 3

    def _as_c(self) -> _CGrid:
        edges = (ctypes.c_float * (_MAX_SLICES + 1))(*self.edges_m)
        return _CGrid(-self.half_m, -self.half_m, self.cell_m, self.size, self.size, self.half_m, self.slices, edges)


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """Road height z = ``slope_x`` x + ``slope_y`` y + ``height_m`` in the base frame.

    support: 2 m cells that lie on it, 0 where no plane was found (then it is z = 0).
    """

    slope_x: float = 0.0
    slope_y: float = 0.0
    height_m: float = 0.0
    support: int = 0

    def at(self, xy: npt.NDArray[Any]) -> F64:
        """(N,) road height under (N, 2) positions, metres."""
        height: F64 = xy[:, 0] * self.slope_x + xy[:, 1] * self.slope_y + self.height_m
        return height


def _describe(points: F32) -> tuple[_CPoints, F32]:
    """How ``points`` lie in memory, without a copy where rows are evenly spaced; and the array to keep alive."""
    if points.ndim != 2 or points.shape[1] < 3:
        raise CloudError(f"points have shape {points.shape}, expected (P, 3)", "shape")
    if points.dtype != np.float32 or points.strides[0] <= 0 or min(points.strides[1], points.strides[0]) < 0:
        points = np.ascontiguousarray(points, np.float32)
    row, column = points.strides
    if row < 2 * column + 4:
        points = np.ascontiguousarray(points)
        row, column = points.strides
    return _CPoints(points.ctypes.data, len(points), row, 0, column, 2 * column), points


def _pose12(base_SE3_sensor: F64 | None) -> F32:
    return np.ascontiguousarray((_IDENTITY if base_SE3_sensor is None else base_SE3_sensor)[:3], np.float32)


def fit_ground(points: F32, base_SE3_sensor: F64 | None = None, low_m: float = -3.2) -> GroundPlane:
    """Road plane of one sweep, searched from ``low_m`` to ``low_m`` + 6.4 metres around the base origin.

    The mode of per-cell heights starts it, so that a few mirror ghosts below the road cannot pull it down; four rounds of
    least squares over cells with a shrinking gate finish it. points: (P, 3) float32 in the sensor's frame, metres.
    """
    view, kept = _describe(points)
    plane = np.zeros(3, np.float32)
    pose = _pose12(base_SE3_sensor)
    support = _functions()["ground"](ctypes.byref(view), pointer(pose), low_m, pointer(plane))
    del kept
    if support < 0:
        raise CloudError(f"road plane of {points.shape} points: kernel status {support}", "shape")
    return GroundPlane(float(plane[0]), float(plane[1]), float(plane[2]), support)


class BevRasteriser:
    """Draws sweeps into one image that it owns and reuses. One thread at a time."""

    def __init__(self, grid: BevGrid | None = None) -> None:
        self.grid = grid or BevGrid()
        library()
        self._scratch: int | None = _functions()["create"](ctypes.byref(self.grid._as_c()))
        if not self._scratch:
            raise CloudError(f"bird's-eye grid {self.grid} is not possible", "grid")
        self._image = np.empty((1, self.grid.channels, self.grid.size, self.grid.size), np.float32)
        self._first = 1

    def rasterise(self, points: F32, base_SE3_sensor: F64 | None = None, ground: GroundPlane | None = None) -> F32:
        """(1, channels, size, size) float32 image; valid until the next call, and not to be written to.

        points: (P, 3) float32 in the sensor's frame, metres; a strided view (of PointCloud2 bytes, say) is read in
        place. ground: road plane in the base frame (None: z = 0). Non-finite points are skipped.
        """
        plane = ground or GroundPlane()
        view, kept = _describe(points)
        pose = _pose12(base_SE3_sensor)
        coefficients = np.array([plane.slope_x, plane.slope_y, plane.height_m], np.float32)
        status = _functions()["rasterise"](
            self._scratch, ctypes.byref(view), pointer(pose), pointer(coefficients), self._first, pointer(self._image)
        )
        del kept
        if status < 0:
            self._first = 1
            raise CloudError(f"rasterising {points.shape} points: kernel status {status}", "shape")
        self._first = 0
        return self._image

    def close(self) -> None:
        """Free the scratch memory; safe to call twice."""
        if self._scratch:
            _functions()["destroy"](self._scratch)
            self._scratch = None

    def __del__(self) -> None:
        scratch = getattr(self, "_scratch", None)
        if scratch:
            _functions()["destroy"](scratch)
