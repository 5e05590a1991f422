"""PointCloud2 bytes of any layout to a ``PointCloud``, and motion compensation within a sweep.

REP-117: NaN is invalid, -Inf too close, +Inf no return; such points are dropped and counted, ``is_dense`` is not trusted.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros import native
from percept_ros.core.cloud_layout import FLOAT32, CloudLayout, CloudMessage, Column, read_layout
from percept_ros.core.geometry import inverse
from percept_ros.core.point_times import is_one_sweep, offsets_s, unit_of
from percept_ros.errors import CloudError
from percept_ros.types import F32, F64, I64, PointCloud

DESKEW_NODES = 65
"""Poses sampled over a sweep; between them motion is linear (5 rad/s over 0.1 s: under 1 mm off at 100 m)."""
_MIN_SWEEP_S = 1e-6


@dataclass(frozen=True, slots=True)
class CloudCrop:
    """Which points are kept.

    ego_box_m: x min, x max, y min, y max in the base frame, points inside are dropped; empty = none.
    base_SE3_lidar: (4, 4), needed with an ego box.
    """

    min_range_m: float = 0.0
    max_range_m: float = math.inf
    ego_box_m: tuple[float, ...] = ()
    base_SE3_lidar: F64 | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether every finite point is kept."""
        return self.min_range_m <= 0.0 and self.max_range_m == math.inf and not self.ego_box_m


class CloudDecoder:
    """Reads the clouds of one LiDAR. One thread at a time.

    Remembers what one cloud alone cannot tell: the scale of intensity (1, 255 or 65535, the smallest that holds all values
    seen) and the unit of point times.

    dropped: counts of dropped points since the start: not_finite, out_of_range, ego_box.
    """

    def __init__(self, crop: CloudCrop | None = None, max_points: int = 2_000_000) -> None:
        self.crop, self.max_points = crop or CloudCrop(), max_points
        self.dropped: Counter[str] = Counter()
        self._intensity_scale = 1.0
        self._time_unit: tuple[tuple[str, int], str] | None = None
        if self.crop.ego_box_m and (len(self.crop.ego_box_m) != 4 or self.crop.base_SE3_lidar is None):
            raise ValueError("an ego box needs 4 limits and base_SE3_lidar")

    def decode(self, message: CloudMessage, sensor: str, stamp_ns: int, frame_id: str) -> PointCloud:
        """The kept points; views of the message's bytes where nothing is dropped or converted, else packed copies.

        May be empty when no point is kept. Raises CloudError with a ``reason`` (see ``cloud_layout.read_layout``).
        """
        data = _bytes_of(message.data)
        layout = read_layout(message, data.size, self.max_points)
        cloud = PointCloud(sensor, stamp_ns, frame_id, np.zeros((0, 3), np.float32))
        if self.crop.keeps_all and (points := _as_view(layout, data)) is not None:
            return dataclasses.replace(cloud, points=points)
        return self._decode(layout, data, cloud)

    def _decode(self, layout: CloudLayout, data: npt.NDArray[np.uint8], cloud: PointCloud) -> PointCloud:
        raw = _run_kernel(layout, data, self.crop)
        self.dropped.update(dict(zip(("not_finite", "out_of_range", "ego_box"), raw.dropped.tolist(), strict=True)))
        return dataclasses.replace(
            cloud,
            points=raw.points,
            intensity=self._scaled(raw.intensity, layout.intensity.datatype, raw.extent[0]),
            ring=raw.ring,
            time_offset_s=self._offsets(layout, raw, cloud.stamp_ns),
        )

    def _scaled(self, intensity: F32 | None, datatype: int, largest: float) -> F32 | None:
        if intensity is None:
            return None
        smallest = 1.0 if datatype >= FLOAT32 else 255.0
        needed = next((s for s in (1.0, 255.0) if s >= smallest and largest <= s), 65535.0)
        self._intensity_scale = max(self._intensity_scale, needed)
        intensity *= np.float32(1.0 / self._intensity_scale)
        return np.clip(intensity, 0.0, 1.0, out=intensity)

    def _offsets(self, layout: CloudLayout, raw: _Raw, stamp_ns: int) -> F32 | None:
        if raw.time is None:
            return None
        low, high = raw.extent[1:]
        unit = self._unit(layout.time, low, high, len(raw.points))
        if unit is None or not is_one_sweep(low, high, unit):
            return None
        return offsets_s(raw.time, low, high, unit, stamp_ns)

    def _unit(self, column: Column, low: float, high: float, count: int) -> str | None:
        """The unit settled for this column before, else the one these times show."""
        key = (column.name, column.datatype)
        if self._time_unit is not None and self._time_unit[0] == key:
            return self._time_unit[1]
        unit = unit_of(low, high, column.datatype, count)
        if unit is not None and count >= MIN_CERTAIN_POINTS and is_one_sweep(low, high, unit):
            self._time_unit = (key, unit)
        return unit


MIN_CERTAIN_POINTS = 1000
"""A cloud of this many points settles the unit of its point times for the clouds that follow."""


@dataclass(frozen=True, slots=True)
class _Raw:
    points: F32
    intensity: F32 | None
    ring: npt.NDArray[np.uint16] | None
    time: F64 | None
    dropped: I64
    extent: tuple[float, float, float]


def _bytes_of(data: Any) -> npt.NDArray[np.uint8]:
    try:
        return np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError, AttributeError) as exc:
        raise CloudError(f"cloud data of type {type(data).__name__} has no bytes: {exc}", "bad_size") from exc


def _as_view(layout: CloudLayout, data: npt.NDArray[np.uint8]) -> F32 | None:
    """(P, 3) view of a bare x y z cloud of finite native float32, None when it must be filtered or converted."""
    x, y, z = layout.xyz
    adjacent = y.offset == x.offset + 4 and z.offset == x.offset + 8
    native_order = layout.is_bigendian == (sys.byteorder == "big")
    packed = layout.height == 1 or layout.row_step == layout.width * layout.point_step
    bare = not (layout.intensity.present or layout.ring.present or layout.time.present)
    if x.datatype != FLOAT32 or not (adjacent and native_order and packed and bare):
        return None
    shape, strides = (layout.height * layout.width, 3), (layout.point_step, 4)
    view: F32 = np.ndarray(shape, np.float32, data.data, x.offset, strides)
    with np.errstate(invalid="ignore", over="ignore"):
        total = sum(float(np.add.reduce(view[:, axis], dtype=np.float32)) for axis in range(3))
    return view if math.isfinite(total) else None  # one NaN or infinity makes the sum so


def _run_kernel(layout: CloudLayout, data: npt.NDArray[np.uint8], crop: CloudCrop) -> _Raw:
    size = layout.height * layout.width
    points = np.empty((size, 3), np.float32)
    intensity = np.empty(size, np.float32) if layout.intensity.present else None
    ring = np.empty(size, np.uint16) if layout.ring.present else None
    time = np.empty(size, np.float64) if layout.time.present else None
    dropped, extent = np.zeros(3, np.int64), np.zeros(3)
    kept = _decode_kernel()(
        *(native.pointer(data), data.size, layout.height, layout.width, layout.row_step, layout.point_step),
        *_columns(layout),
        *_crop_arguments(crop),
        *(native.pointer(points), _address(intensity), _address(ring), _address(time)),
        *(native.pointer(dropped), native.pointer(extent)),
    )
    if kept < 0:
        raise CloudError(f"cloud layout {layout} was refused by the kernel", "bad_offset")
    cut = slice(0, kept)
    return _Raw(
        points[cut],
        None if intensity is None else intensity[cut],
        None if ring is None else ring[cut],
        None if time is None else time[cut],
        dropped,
        (float(extent[0]), float(extent[1]), float(extent[2])),
    )


def _columns(layout: CloudLayout) -> tuple[Any, Any, int]:
    columns = layout.columns
    offsets = (ctypes.c_int64 * 6)(*(c.offset for c in columns))
    datatypes = (ctypes.c_int32 * 6)(*(c.datatype for c in columns))
    return offsets, datatypes, int(layout.is_bigendian != (sys.byteorder == "big"))


def _crop_arguments(crop: CloudCrop) -> tuple[Any, Any, Any]:
    limits = (ctypes.c_double * 2)(max(crop.min_range_m, 0.0), crop.max_range_m)
    if not crop.ego_box_m or crop.base_SE3_lidar is None:
        return limits, None, None
    pose = (ctypes.c_double * 12)(*np.asarray(crop.base_SE3_lidar, np.float64)[:3].ravel().tolist())
    return limits, (ctypes.c_double * 4)(*crop.ego_box_m), pose


def _address(array: npt.NDArray[Any] | None) -> int | None:
    return None if array is None else native.pointer(array)


@functools.cache
def _decode_kernel() -> Callable[..., int]:
    where, count = ctypes.c_void_p, ctypes.c_int64
    shape = [where, count, count, count, count, count, where, where, ctypes.c_int32, where, where, where]
    return native.bind("percept_points_decode", [*shape, *[where] * 6], ctypes.c_int64)


@functools.cache
def _deskew_kernel() -> Callable[..., int]:
    where, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    return native.bind("percept_points_deskew", [where, count, where, count, where, count, number, number, where])


def deskew(
    cloud: PointCloud, pose_at: Callable[[I64], F64], base_SE3_lidar: F64 | None = None, reference_ns: int | None = None
) -> PointCloud:
    """The sweep as if all of it had been taken at ``reference_ns`` (default: its stamp).

    pose_at: (K,) stamps in ns -> (K, 4, 4) ``fixed_SE3_base`` (``PoseHistory.at``); its TransformError passes through.
    base_SE3_lidar: (4, 4), identity when ``pose_at`` already speaks of the LiDAR frame.
    A cloud without point times, or with no points, comes back as it is. Raises CloudError for times that are not finite.
    """
    times = cloud.time_offset_s
    if times is None or not len(cloud.points):
        return cloud
    start_s, end_s = float(times.min()), float(times.max())
    if not math.isfinite(end_s - start_s):
        raise CloudError(f"point times from {start_s} to {end_s} s cannot be compensated", "bad_point_times")
    nodes_s = np.linspace(start_s, max(end_s, start_s + _MIN_SWEEP_S), DESKEW_NODES)
    target_ns = cloud.stamp_ns if reference_ns is None else reference_ns
    stamps_ns = np.append(cloud.stamp_ns + np.round(nodes_s * 1e9).astype(np.int64), np.int64(target_ns))
    poses = pose_at(stamps_ns)
    if base_SE3_lidar is not None:
        poses = poses @ base_SE3_lidar
    table = np.ascontiguousarray((inverse(poses[-1]) @ poses[:-1])[:, :3].reshape(-1, 12))
    return dataclasses.replace(cloud, points=_move(cloud.points, times, table, nodes_s), time_offset_s=None)


def _move(points: F32, times: F32, table: F64, nodes_s: F64) -> F32:
    if points.strides[1] != 4 or points.strides[0] < 12:
        points = np.ascontiguousarray(points)
    times = np.ascontiguousarray(times, np.float32)
    out = np.empty((len(points), 3), np.float32)
    head = (points.ctypes.data, points.strides[0], native.pointer(times), len(points))
    steps = (native.pointer(table), len(table), nodes_s[0], nodes_s[1] - nodes_s[0])
    if _deskew_kernel()(*head, *steps, native.pointer(out)) < 0:
        raise CloudError(f"point times from {nodes_s[0]} to {nodes_s[-1]} s cannot be compensated", "bad_point_times")
    return out
