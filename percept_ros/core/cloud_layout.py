"""Which bytes of a PointCloud2 hold what: the checks that keep impossible clouds out.

``CloudMessage`` has the attribute names of sensor_msgs/PointCloud2, so that such a message is read as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from percept_ros.errors import CloudError

DATATYPE_BYTES: Mapping[int, int] = MappingProxyType({1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 8})
"""sensor_msgs/PointField datatype (1 INT8, 2 UINT8, ... 7 FLOAT32, 8 FLOAT64) -> bytes of one value."""
FLOAT32, FLOAT64 = 7, 8
MAX_POINT_STEP = 65536

INTENSITY_NAMES = ("intensity", "reflectance", "reflectivity", "i")
RING_NAMES = ("ring", "line", "channel")
TIME_NAMES = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset")


class FieldMessage(Protocol):
    """One field, as in sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int
    count: int


class CloudMessage(Protocol):
    """A cloud, as in sensor_msgs/PointCloud2 (``data``: anything with a buffer)."""

    height: int
    width: int
    fields: Sequence[Any]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: Any


@dataclass(frozen=True, slots=True)
class CloudField:
    """A plain ``FieldMessage``."""

    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class RawCloud:
    """A plain ``CloudMessage``."""

    height: int
    width: int
    fields: Sequence[CloudField]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: Any


@dataclass(frozen=True, slots=True)
class Column:
    """Place of one value within a point, bytes; ``offset`` -1 = absent."""

    offset: int = -1
    datatype: int = 0
    name: str = ""

    @property
    def present(self) -> bool:
        """Whether the cloud has this column."""
        return self.offset >= 0


@dataclass(frozen=True, slots=True)
class CloudLayout:
    """Checked shape of a cloud. row_step is right even where the message leaves it open (one row)."""

    height: int
    width: int
    point_step: int
    row_step: int
    is_bigendian: bool
    xyz: tuple[Column, Column, Column]
    intensity: Column
    ring: Column
    time: Column

    @property
    def columns(self) -> tuple[Column, ...]:
        """x, y, z, intensity, ring, time."""
        return (*self.xyz, self.intensity, self.ring, self.time)


def read_layout(message: CloudMessage, size: int, max_points: int) -> CloudLayout:
    """Check a cloud of ``size`` bytes. Raises CloudError (reasons: bad_size, no_points, too_many_points, bad_step,
    truncated, missing_field, bad_datatype, bad_offset, duplicate_field)."""
    height, width = _count(message, "height"), _count(message, "width")
    point_step, row_step = _count(message, "point_step"), _count(message, "row_step")
    if not height * width:
        raise CloudError(f"cloud of {height} x {width} has no points: check the sensor", "no_points")
    if height * width > max_points:
        text = (
            f"cloud has {height * width} points, at most {max_points} are taken: raise lidar.max_points or thin it out"
        )
        raise CloudError(text, "too_many_points")
    row_step = _check_steps(height, width, point_step, row_step, size)
    by_name = _by_name(message.fields)
    xyz = (
        _position(by_name, "x", point_step),
        _position(by_name, "y", point_step),
        _position(by_name, "z", point_step),
    )
    _check_positions(xyz)
    optional = (_find(by_name, names, point_step) for names in (INTENSITY_NAMES, RING_NAMES, TIME_NAMES))
    return CloudLayout(height, width, point_step, row_step, bool(message.is_bigendian), xyz, *optional)


def _count(message: Any, name: str) -> int:
    try:
        value = operator.index(getattr(message, name))
    except (TypeError, AttributeError) as exc:
        raise CloudError(f"cloud {name} must be a whole number", "bad_size") from exc
    if not 0 <= value < 1 << 32:
        raise CloudError(f"cloud {name} is {value}, expected 0 to 4294967295", "bad_size")
    return value


def _check_steps(height: int, width: int, point_step: int, row_step: int, size: int) -> int:
    if not 0 < point_step <= MAX_POINT_STEP:
        raise CloudError(f"cloud point_step is {point_step} bytes, expected 1 to {MAX_POINT_STEP}", "bad_step")
    packed = width * point_step
    if height > 1 and row_step < packed:
        raise CloudError(f"cloud row_step is {row_step} bytes, but {width} points take {packed}", "bad_step")
    needed = (height - 1) * row_step + packed
    if size < needed:
        raise CloudError(f"cloud data has {size} bytes, but its header asks for {needed}: message is cut", "truncated")
    return row_step if height > 1 else packed


def _by_name(fields: Any) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    try:
        for field in fields:
            name = field.name.lower()
            if name in by_name:
                raise CloudError(f"cloud has two fields '{name}': names must differ", "duplicate_field")
            by_name[name] = field
    except (TypeError, AttributeError) as exc:
        raise CloudError(f"cloud fields cannot be read: {exc}", "missing_field") from exc
    return by_name


def _position(by_name: Mapping[str, Any], name: str, point_step: int) -> Column:
    if name not in by_name:
        has = ", ".join(by_name) or "none"
        raise CloudError(f"cloud lacks field '{name}' (it has: {has}): x, y and z are needed", "missing_field")
    column = _column(by_name[name], point_step)
    if column.datatype not in (FLOAT32, FLOAT64):
        text = f"cloud field '{name}' has datatype {column.datatype}, expected 7 (FLOAT32) or 8 (FLOAT64)"
        raise CloudError(text, "bad_datatype")
    return column


def _check_positions(xyz: Sequence[Column]) -> None:
    if len({c.datatype for c in xyz}) > 1:
        raise CloudError(
            f"cloud fields x, y, z have datatypes {[c.datatype for c in xyz]}: must be alike", "bad_datatype"
        )
    width = DATATYPE_BYTES[xyz[0].datatype]
    starts = sorted(c.offset for c in xyz)
    if starts[1] - starts[0] < width or starts[2] - starts[1] < width:
        raise CloudError(f"cloud fields x, y, z overlap at offsets {[c.offset for c in xyz]}", "bad_offset")


def _find(by_name: Mapping[str, Any], names: Sequence[str], point_step: int) -> Column:
    for name in names:
        if name in by_name:
            return _column(by_name[name], point_step)
    return Column()


def _column(field: Any, point_step: int) -> Column:
    try:
        offset, datatype = operator.index(field.offset), operator.index(field.datatype)
    except (TypeError, AttributeError) as exc:
        raise CloudError(f"cloud field '{field.name}' has no whole offset and datatype", "bad_offset") from exc
    if datatype not in DATATYPE_BYTES:
        raise CloudError(f"cloud field '{field.name}' has datatype {datatype}, expected 1 to 8", "bad_datatype")
    if offset < 0 or offset + DATATYPE_BYTES[datatype] > point_step:
        text = f"cloud field '{field.name}' at offset {offset} does not fit in a point of {point_step} bytes"
        raise CloudError(text, "bad_offset")
    return Column(offset, datatype, field.name.lower())
