"""Track arrays as the bytes that DDS and bags carry (CDR, little endian).

Filling thousands of Pose objects in Python costs tens of milliseconds a frame; rclpy publishes and bags store
serialised bytes as they are, so the arrays of ``Tracks`` and ``Forecasts`` are laid down directly.
Source: OMG CDR (DDSI-RTPS 10.2, plain CDR version 1): every primitive is aligned to its own size, counted from behind
the 4-byte encapsulation header; strings carry their terminating zero.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.native import bind, pointer
from percept_ros.types import NUM_CLASSES, Forecasts, FrameResult, ObjectClass, Tracks

_ENCAPSULATION = b"\x00\x01\x00\x00"
_NS = 1_000_000_000
_ORIENTED = frozenset(
    {
        ObjectClass.CAR,
        ObjectClass.TRUCK,
        ObjectClass.BUS,
        ObjectClass.TRAILER,
        ObjectClass.BICYCLE,
        ObjectClass.MOTORCYCLE,
    }
)
_KINDS = np.array([(c in _ORIENTED) + 2 * (c is ObjectClass.PEDESTRIAN) for c in ObjectClass], np.uint8)
"""Of each class: whether its heading means anything, + 2 when it is a cylinder."""
_TRACK_BYTES, _PATH_BYTES, _STEP_BYTES = 1200, 40, 60
"""Most that a track without classes and paths, a path, and a path point take."""
_DTYPES = (*["u1"] * 4, *["f8"] * 8, "i8", "i8", "u4", "f8", "f8", "f8", "i8", "u1")


class _Sizes(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64) for name in ("tracks", "classes", "forecasts", "options", "steps", "step_ns")
    )


class _Columns(ctypes.Structure):
    _fields_ = tuple((f"column_{index}", ctypes.c_void_p) for index in range(len(_DTYPES)))


class CdrWriter:
    """Appends CDR primitives to a buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray(_ENCAPSULATION)

    def _align(self, size: int) -> None:
        if odd := (len(self._buffer) - 4) % size:
            self._buffer += b"\0" * (size - odd)

    def pack(self, layout: str, align: int, *values: Any) -> None:
        """Little-endian ``struct`` values behind one alignment (their own layout must need no further padding)."""
        self._align(align)
        self._buffer += struct.pack("<" + layout, *values)

    def array(self, values: npt.NDArray[Any]) -> None:
        """The elements of an array, row major, without a count."""
        if values.size:
            self._align(values.dtype.itemsize)
            self._buffer += values.tobytes()

    def text(self, value: str) -> None:
        """A string."""
        raw = value.encode()
        self.pack("I", 4, len(raw) + 1)
        self._buffer += raw + b"\0"

    def texts(self, values: Iterable[str]) -> None:
        """A sequence of strings."""
        listed = list(values)
        self.pack("I", 4, len(listed))
        for value in listed:
            self.text(value)

    def time(self, stamp_ns: int) -> None:
        """builtin_interfaces Time or Duration."""
        self.pack("iI", 4, stamp_ns // _NS, stamp_ns % _NS)

    def fill(self, room: int, write: Callable[[int, int, int], int]) -> None:
        """Let ``write(address, capacity, at)`` append at most ``room`` bytes; it returns where they end, both ``at`` counted from
        behind the header. Raises ValueError when it refuses."""
        at = len(self._buffer)
        self._buffer += bytes(room)
        view = np.frombuffer(self._buffer, np.uint8)
        end = write(pointer(view) + 4, len(self._buffer) - 4, at - 4)
        del view  # the buffer cannot shrink while it is looked at
        if end < 0:
            raise ValueError(f"columns that cannot be laid down ({end})")
        del self._buffer[end + 4 :]

    def finish(self) -> bytes:
        """The bytes."""
        return bytes(self._buffer)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What ObstacleTrackArray says beside its tracks."""

    publish_ns: int
    sequence: int
    trace_id: str = ""
    extrapolated_ns: int = 0


def encode_track_array(result: FrameResult, header: ArrayHeader) -> bytes:
    """percept_ros/msg/ObstacleTrackArray of one frame."""
    return end_track_array(begin_track_array(result), result, header)


def begin_track_array(result: FrameResult) -> CdrWriter:
    """The longer part of ``encode_track_array``: everything before the stamps. What is not known before publication follows."""
    out = CdrWriter()
    out.time(result.tracks.stamp_ns)
    out.text(result.tracks.frame_id)
    out.pack("I", 4, len(result.tracks))
    _write_tracks(out, result.tracks, result.forecasts)
    return out


def end_track_array(out: CdrWriter, result: FrameResult, header: ArrayHeader) -> bytes:
    """The rest of what ``begin_track_array`` began."""
    stamps = result.sensors.stamps_ns or (result.sensors.stamp_ns,)
    for stamp in (stamps[0], stamps[-1], header.publish_ns, header.extrapolated_ns):
        out.time(stamp)
    out.pack("B", 1, int(result.mode))
    out.texts(f"{name}: {reason.name.lower()}" for name, reason in result.sensors.absent.items())
    for text in (result.model, result.artefact_sha256, result.group, header.trace_id):
        out.text(text)
    out.pack("Q", 8, header.sequence)
    return out.finish()


def _write_tracks(out: CdrWriter, tracks: Tracks, forecasts: Forecasts) -> None:
    """The elements of ``tracks``, in one pass of compiled code."""
    if not len(tracks):
        return
    count, (rows, options, steps) = len(tracks), forecasts.paths.shape[:3]
    sizes = _Sizes(count, NUM_CLASSES, rows, options, steps, round(forecasts.step_s * _NS))
    if tracks.class_probabilities.shape != (count, NUM_CLASSES) or forecasts.sigma_m.shape != (rows, options, steps):
        raise ValueError(
            f"columns of {count} tracks and {rows} forecasts do not fit: {tracks.class_probabilities.shape}"
        )
    kept = [
        np.ascontiguousarray(column, dtype) for column, dtype in zip(_columns(tracks, forecasts), _DTYPES, strict=True)
    ]
    room = count * (_TRACK_BYTES + 8 * NUM_CLASSES + options * (_PATH_BYTES + _STEP_BYTES * steps)) + 8
    out.fill(room, lambda address, capacity, at: _kernel()(address, capacity, at, sizes, _Columns(*map(pointer, kept))))


def _columns(tracks: Tracks, forecasts: Forecasts) -> tuple[npt.NDArray[Any], ...]:
    """In the order of PerceptTrackColumns."""
    return (
        tracks.id,
        tracks.state,
        tracks.stationary,
        _KINDS,
        tracks.class_probabilities,
        tracks.existence,
        tracks.boxes,
        tracks.velocity_mps,
        tracks.acceleration_mps2,
        tracks.yaw_rate_radps,
        tracks.pose_covariance,
        tracks.twist_covariance,
        tracks.age_ns,
        tracks.since_measurement_ns,
        tracks.sensors,
        forecasts.paths,
        forecasts.confidence,
        forecasts.sigma_m,
        forecasts.steps,
        forecasts.method,
    )


@cache
def _kernel() -> Callable[..., int]:
    size, address = ctypes.c_int64, ctypes.c_void_p
    columns, sizes = ctypes.POINTER(_Columns), ctypes.POINTER(_Sizes)
    return bind("percept_wire_tracks", [address, size, size, sizes, columns], size)
