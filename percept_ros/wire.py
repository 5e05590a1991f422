"""Track arrays as the bytes that DDS and bags carry (CDR, little endian).

Filling thousands of Pose objects in Python costs tens of milliseconds a frame; rclpy publishes and bags store
serialised bytes as they are, so the arrays of ``Tracks`` and ``Forecasts`` are laid down directly.
Source: OMG CDR (DDSI-RTPS 10.2, plain CDR version 1): every primitive is aligned to its own size, counted from behind
the 4-byte encapsulation header; strings carry their terminating zero.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.types import F64, Forecasts, FrameResult, ObjectClass, PredictionMethod, Tracks

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
_ORIENTATION_UNAVAILABLE, _ORIENTATION_SIGN_UNKNOWN, _ORIENTATION_AVAILABLE = 0, 1, 2
_SHAPE_BOX, _SHAPE_CYLINDER = 0, 1


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
    out = CdrWriter()
    out.time(result.tracks.stamp_ns)
    out.text(result.tracks.frame_id)
    out.pack("I", 4, len(result.tracks))
    _write_tracks(out, result.tracks, result.forecasts)
    stamps = result.sensors.stamps_ns or (result.sensors.stamp_ns,)
    for stamp in (stamps[0], stamps[-1], header.publish_ns, header.extrapolated_ns):
        out.time(stamp)
    out.pack("B", 1, int(result.mode))
    out.texts(f"{name}: {reason.name.lower()}" for name, reason in result.sensors.absent.items())
    for text in (result.model, result.artefact_sha256, result.group, header.trace_id):
        out.text(text)
    out.pack("Q", 8, header.sequence)
    return out.finish()


def pose_rows(x_y_z_yaw: F64) -> F64:
    """(..., 4) x, y, z, yaw -> (..., 7) position and quaternion x, y, z, w."""
    rows = np.zeros((*x_y_z_yaw.shape[:-1], 7))
    rows[..., :3] = x_y_z_yaw[..., :3]
    rows[..., 5] = np.sin(x_y_z_yaw[..., 3] / 2)
    rows[..., 6] = np.cos(x_y_z_yaw[..., 3] / 2)
    return rows


def _path_rows(tracks: Tracks, forecasts: Forecasts) -> F64:
    n, k, t = forecasts.paths.shape[:3]
    flat = np.zeros((n, k, t, 4))
    flat[..., :2] = forecasts.paths[..., :2]
    flat[..., 2] = tracks.boxes[:n, None, None, 2]
    flat[..., 3] = forecasts.paths[..., 2]
    return pose_rows(flat)


def _write_tracks(out: CdrWriter, tracks: Tracks, forecasts: Forecasts) -> None:
    poses = pose_rows(tracks.boxes[:, [0, 1, 2, 6]])
    twists = np.zeros((len(tracks), 6))
    twists[:, :2], twists[:, 5] = tracks.velocity_mps, tracks.yaw_rate_radps
    accelerations = np.zeros((len(tracks), 42))
    accelerations[:, :2] = tracks.acceleration_mps2
    order = np.argsort(-tracks.class_probabilities, axis=1, kind="stable")
    paths = _path_rows(tracks, forecasts)
    sigmas = forecasts.sigma_m.astype(np.float32)
    classes = tracks.class_ids
    for i in range(len(tracks)):
        out.array(tracks.id[i])
        out.pack("f", 4, float(tracks.existence[i]))
        _write_classes(out, tracks.class_probabilities[i], order[i])
        out.array(poses[i])
        out.array(tracks.pose_covariance[i])
        out.array(twists[i])
        out.array(tracks.twist_covariance[i])
        out.array(accelerations[i])
        shape = _SHAPE_CYLINDER if classes[i] == ObjectClass.PEDESTRIAN else _SHAPE_BOX
        out.pack("BBB", 1, _orientation(tracks, i, int(classes[i])), bool(tracks.stationary[i]), shape)
        out.array(tracks.boxes[i, 3:6])
        out.pack("I", 4, 0)
        _write_paths(out, forecasts, i, paths, sigmas)
        out.pack("B", 1, int(tracks.state[i]))
        out.time(int(tracks.age_ns[i]))
        out.time(int(tracks.since_measurement_ns[i]))
        out.pack("I", 4, int(tracks.sensors[i]))


def _orientation(tracks: Tracks, row: int, class_id: int) -> int:
    if class_id not in _ORIENTED:
        return _ORIENTATION_UNAVAILABLE
    moving = float(np.hypot(*tracks.velocity_mps[row])) > 1.0
    return _ORIENTATION_AVAILABLE if moving else _ORIENTATION_SIGN_UNKNOWN


def _write_classes(out: CdrWriter, probabilities: F64, order: npt.NDArray[np.intp]) -> None:
    known = [int(c) for c in order if probabilities[c] > 0.0] or [0]
    out.pack("I", 4, len(known))
    for label in known:
        out.pack("B", 1, label)
        out.pack("f", 4, float(probabilities[label]))


def _write_paths(out: CdrWriter, forecasts: Forecasts, row: int, paths: F64, sigmas: npt.NDArray[np.float32]) -> None:
    if row >= paths.shape[0] or forecasts.method[row] == PredictionMethod.NONE:
        out.pack("I", 4, 0)
        return
    steps, count = int(forecasts.steps[row]), paths.shape[1]
    step_ns = round(forecasts.step_s * _NS)
    out.pack("I", 4, count)
    for k in range(count):
        out.pack("I", 4, steps)
        out.array(paths[row, k, :steps])
        out.time(step_ns)
        out.pack("f", 4, float(forecasts.confidence[row, k]))
        out.pack("I", 4, steps)
        out.array(sigmas[row, k, :steps])
        out.pack("B", 1, int(forecasts.method[row]))
