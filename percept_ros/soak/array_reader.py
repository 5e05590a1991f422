"""Reads the bytes of an ObstacleTrackArray without building messages: an observer has to be quick and to trust nothing."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

_NS = 1_000_000_000
_MOST = 100_000
_MODES = 8


@dataclass(frozen=True, slots=True)
class SeenTrack:
    """One track. state: as in ObstacleTrack. Positions in metres and speeds in m/s, in the array's frame."""

    id: str
    state: int
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    existence: float
    age_s: float
    since_s: float


@dataclass(frozen=True, slots=True)
class SeenArray:
    """What an array says."""

    stamp_ns: int
    frame_id: str
    oldest_ns: int
    newest_ns: int
    publish_ns: int
    extrapolated_ns: int
    mode: int
    absent: tuple[str, ...]
    model: str
    sequence: int
    tracks: tuple[SeenTrack, ...]


class _Cursor:
    """Reads CDR primitives of little-endian plain CDR 1. Raises ValueError beyond the end or for absurd counts."""

    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes) -> None:
        if raw[:2] != b"\x00\x01":
            raise ValueError(f"encapsulation {raw[:2].hex()}, expected little-endian CDR")
        self.raw, self.at = raw, 4

    def take(self, layout: struct.Struct, align: int) -> tuple[int | float, ...]:
        at = self.at + -(self.at - 4) % align
        try:
            values = layout.unpack_from(self.raw, at)
        except struct.error as exc:
            raise ValueError(f"message of {len(self.raw)} bytes ends inside a field") from exc
        self.at = at + layout.size
        return values

    def skip(self, count: int, size: int, align: int) -> None:
        if count:
            self.at += -(self.at - 4) % align + count * size
        if self.at > len(self.raw):
            raise ValueError(f"message of {len(self.raw)} bytes ends inside an array")

    def count(self) -> int:
        (n,) = self.take(_U32, 4)
        if n > _MOST:
            raise ValueError(f"a sequence of {n} elements")
        return int(n)

    def text(self) -> str:
        n = self.count()
        self.skip(n, 1, 1)
        return self.raw[self.at - n : self.at - 1].decode()

    def time(self) -> int:
        sec, nanosec = self.take(_TIME, 4)
        return int(sec) * _NS + int(nanosec)


_U8, _U32, _U64, _TIME = struct.Struct("<B"), struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<iI")
_F32, _F64x7, _F64x6, _F64x3 = struct.Struct("<f"), struct.Struct("<7d"), struct.Struct("<6d"), struct.Struct("<3d")


def read_array(raw: bytes) -> SeenArray:
    """Raises ValueError for bytes that are no valid array: cut, not finite, or out of range."""
    cursor = _Cursor(raw)
    stamp_ns, frame_id = cursor.time(), cursor.text()
    tracks = tuple(_track(cursor) for _ in range(cursor.count()))
    oldest_ns, newest_ns, publish_ns, extrapolated_ns = (cursor.time() for _ in range(4))
    (mode,) = cursor.take(_U8, 1)
    absent = tuple(cursor.text() for _ in range(cursor.count()))
    model = cursor.text()
    for _ in range(3):
        cursor.text()
    (sequence,) = cursor.take(_U64, 8)
    if not 0 <= mode < _MODES:
        raise ValueError(f"mode {mode}")
    if len({track.id for track in tracks}) != len(tracks):
        raise ValueError("a track id appears twice")
    return SeenArray(
        stamp_ns, frame_id, oldest_ns, newest_ns, publish_ns, extrapolated_ns,
        int(mode), absent, model, int(sequence), tracks,
    )  # fmt: skip


def _track(cursor: _Cursor) -> SeenTrack:
    cursor.skip(16, 1, 1)
    name = cursor.raw[cursor.at - 16 : cursor.at].hex()
    (existence,) = cursor.take(_F32, 4)
    for _ in range(cursor.count()):
        cursor.take(_U8, 1)
        cursor.take(_F32, 4)
    pose = cursor.take(_F64x7, 8)
    cursor.skip(36, 8, 8)
    twist = cursor.take(_F64x6, 8)
    cursor.skip(36 + 42, 8, 8)
    cursor.skip(3, 1, 1)
    size = cursor.take(_F64x3, 8)
    cursor.skip(3 * cursor.count(), 4, 4)
    for _ in range(cursor.count()):
        _path(cursor)
    (state,) = cursor.take(_U8, 1)
    age_ns, since_ns = cursor.time(), cursor.time()
    cursor.take(_U32, 4)
    numbers = (existence, *pose, *twist, *size)
    if not all(map(math.isfinite, numbers)) or not 0.0 <= existence <= 1.0 or state > 2:
        raise ValueError(f"track {name} holds numbers out of range")
    x_m, y_m, vx, vy = (float(v) for v in (pose[0], pose[1], twist[0], twist[1]))
    return SeenTrack(name, int(state), x_m, y_m, vx, vy, float(existence), age_ns / _NS, since_ns / _NS)


def _path(cursor: _Cursor) -> None:
    cursor.skip(7 * cursor.count(), 8, 8)
    cursor.time()
    cursor.take(_F32, 4)
    cursor.skip(cursor.count(), 4, 4)
    cursor.take(_U8, 1)
