"""Pillars of a sweep: returns gathered by bird's-eye cell, as PointPillars and CenterPoint read them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from percept_ros.errors import CloudError, ConfigError
from percept_ros.native import bind, pointer
from percept_ros.settings import setting
from percept_ros.types import F32, F64, PointCloud


@dataclass(frozen=True, slots=True)
class PillarGrid:
    """Grid and features of the pillars. The model's frame is the base frame lowered by ``sensor_height_m``."""

    range_m: tuple[float, ...] = setting(
        (0.0, -39.68, -3.0, 69.12, 39.68, 1.0), "x, y, z from; x, y, z to (model frame)"
    )
    pillar_m: tuple[float, ...] = setting((0.16, 0.16, 4.0), "size of a pillar along x, y, z", low=0.01)
    max_points: int = setting(32, "returns kept a pillar", low=1, high=1024)
    max_pillars: int = setting(40000, "pillars kept", low=1, high=1_000_000)
    features: int = setting(
        4, "4: x y z and one more; 9: and offsets to mean (3) and middle (2); 10: middle (3)", low=4
    )
    fourth: str = setting("intensity", "fourth value of a return", choices=("intensity", "time", "zero"))
    sensor_height_m: float = setting(1.73, "height of the training sensor above the road", low=-10.0, high=10.0)

    def __post_init__(self) -> None:
        if len(self.range_m) != 6 or len(self.pillar_m) != 3 or self.features not in (4, 9, 10):
            raise ConfigError(
                f"pillars: range_m needs 6 numbers, pillar_m 3, features 4, 9 or 10; got {self.range_m}, {self.pillar_m},"
                f" {self.features}"
            )

    @property
    def nx(self) -> int:
        """Cells along x."""
        return round((self.range_m[3] - self.range_m[0]) / self.pillar_m[0])

    @property
    def ny(self) -> int:
        """Cells along y."""
        return round((self.range_m[4] - self.range_m[1]) / self.pillar_m[1])


class _CGrid(ctypes.Structure):
    _fields_ = (
        ("low", ctypes.c_float * 3),
        ("high", ctypes.c_float * 3),
        ("cell", ctypes.c_float * 3),
        *((name, ctypes.c_int32) for name in ("nx", "ny", "max_pillars", "max_points", "features")),
    )


@functools.cache
def _kernel() -> Callable[..., int]:
    address, many = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_pillarise", [address, many, many, *[address] * 6, ctypes.c_int32])


class Pillariser:
    """Fills buffers that are made once. One thread at a time; results stay valid until the next call.

    pillars: (max_pillars, max_points, features) float32, zero behind what is used. cells: (max_pillars, 2) int32 row (y) and
    column (x). counts: (max_pillars,) int32 returns of each pillar.
    """

    def __init__(self, grid: PillarGrid) -> None:
        self.grid = grid
        self.pillars = np.zeros((grid.max_pillars, grid.max_points, grid.features), np.float32)
        self.cells = np.zeros((grid.max_pillars, 2), np.int32)
        self.counts = np.zeros(grid.max_pillars, np.int32)
        self._dirty = 0
        low, high, cell = (
            (ctypes.c_float * 3)(*grid.range_m[:3]),
            (ctypes.c_float * 3)(*grid.range_m[3:]),
            grid.pillar_m,
        )
        sizes = (grid.nx, grid.ny, grid.max_pillars, grid.max_points, grid.features)
        self._native = _CGrid(low, high, (ctypes.c_float * 3)(*cell), *sizes)

    def fill(self, cloud: PointCloud, base_SE3_lidar: F64) -> int:
        """Number of pillars of the sweep. Raises CloudError for an impossible extrinsic."""
        points, stride = _rows(cloud.points)
        fourth = self._fourth(cloud)
        pose = np.array(base_SE3_lidar, np.float64)
        pose[2, 3] -= self.grid.sensor_height_m
        found = _kernel()(
            points.ctypes.data,
            len(points),
            stride,
            None if fourth is None else pointer(fourth),
            pointer(pose),
            ctypes.addressof(self._native),
            pointer(self.pillars),
            pointer(self.cells),
            pointer(self.counts),
            self._dirty,
        )
        if found < 0:
            raise CloudError(f"pillars: extrinsic {pose.tolist()} or grid {self.grid} cannot be used", "bad_extrinsic")
        self._dirty = found
        self.cells[found:], self.counts[found:] = 0, 0
        return found

    def _fourth(self, cloud: PointCloud) -> F32 | None:
        value = {"intensity": cloud.intensity, "time": cloud.time_offset_s}.get(self.grid.fourth)
        return None if value is None else np.ascontiguousarray(value, np.float32)


def _rows(points: F32) -> tuple[F32, int]:
    """Points and the distance of two rows in floats; copied only when x y z of a row are not adjacent."""
    row, column = points.strides
    if column == 4 and row % 4 == 0 and row >= 12:
        return points, row // 4
    return np.ascontiguousarray(points), 3


def scatter(features: F32, cells: npt.NDArray[np.int32], grid: PillarGrid, out: F32) -> None:
    """Write (P, C) features into the (C, ny, nx) image ``out`` at (P, 2) cells; elsewhere it becomes 0."""
    out[:] = 0.0
    out[:, cells[:, 0], cells[:, 1]] = features.T
