"""Sensor sets and detections as binary rows and arrays, to cross to a worker process and back.

Names, frames and calibrations hardly ever change: they form the vocabulary, sent once (and again when it grows); each
frame then refers to them by number.
"""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import InferenceError
from percept_ros.runtime.worker import Context
from percept_ros.types import (
    AbsenceReason,
    CameraCalibration,
    CameraFrame,
    Detections,
    Detections2D,
    PointCloud,
    SensorSet,
)

Arrays = Sequence[npt.NDArray[Any]]
_SET = struct.Struct("<qBHHHHH")  # stamp, flags, LiDAR, number of cameras, absent, extrinsics, configured cameras
_CAMERA = struct.Struct("<HBq")  # name, flags, stamp
_ABSENT = struct.Struct("<HB")
_RESULT = struct.Struct("<q")
_BOXES = struct.Struct("<qI")
_CLOUD, _EGO, _INTENSITY, _RING, _TIMES = 1, 2, 4, 8, 16
_RECTIFIED, _KEYFRAME = 1, 2

_Entry = tuple[str, str, CameraCalibration | None]


class Vocabulary:
    """Numbers for sensors and their frames, each with its newest calibration. ``version`` changes with the content."""

    def __init__(self) -> None:
        self.version = 0
        self._entries: list[_Entry] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, name: str, frame_id: str = "", calibration: CameraCalibration | None = None) -> int:
        """Number of an entry, added when new; a changed calibration takes the place of the old."""
        known = self._numbers.setdefault((name, frame_id), len(self._entries))
        if known == len(self._entries):
            self._entries.append((name, frame_id, calibration))
            self.version += 1
        elif (old := self._entries[known][2]) is not calibration:
            self._entries[known] = (name, frame_id, calibration)
            self.version += not _same_calibration(old, calibration)
        return known

    @property
    def context(self) -> Context:
        """To be sent along whenever its version is new."""
        return Context(self.version, pickle.dumps(self._entries))


def encode_sensors(
    sensors: SensorSet, words: Vocabulary, *, cloud: bool = True, cameras: bool = True
) -> tuple[bytes, list[npt.NDArray[Any]]]:
    """Rows and arrays of a set. cloud, cameras: leave out what the detector does not look at."""
    sweep = sensors.cloud if cloud else None
    frames = list(sensors.cameras.values()) if cameras else []
    arrays: list[npt.NDArray[Any]] = []
    flags = 0
    if sensors.fixed_SE3_base is not None:
        flags |= _EGO
        arrays.append(sensors.fixed_SE3_base)
    arrays.extend(sensors.base_SE3.values())
    if sweep is not None:
        flags |= _CLOUD | _append_cloud(sweep, arrays)
    arrays.extend(frame.image for frame in frames)
    lidar = words.number(sweep.sensor, sweep.frame_id) if sweep is not None else 0
    counts = (len(frames), len(sensors.absent), len(sensors.base_SE3), len(sensors.camera_order))
    rows = [_SET.pack(sensors.stamp_ns, flags, lidar, *counts)]
    if sweep is not None:
        rows.append(_RESULT.pack(sweep.stamp_ns))
    rows += [_camera_row(frame, words) for frame in frames]
    rows += [_ABSENT.pack(words.number(name), reason) for name, reason in sensors.absent.items()]
    rows += [struct.pack("<H", words.number(name)) for name in (*sensors.base_SE3, *sensors.camera_order)]
    return b"".join(rows), arrays


def decode_sensors(meta: bytes, arrays: Arrays, entries: Sequence[_Entry]) -> SensorSet:
    """The set again; its arrays are the given ones."""
    stamp_ns, flags, lidar, cameras, absent, extrinsics, order = _SET.unpack_from(meta)
    at, queue = _SET.size, iter(arrays)
    ego = next(queue) if flags & _EGO else None
    poses = [next(queue) for _ in range(extrinsics)]
    sweep = None
    if flags & _CLOUD:
        sweep = _cloud(entries[lidar], _RESULT.unpack_from(meta, at)[0], flags, queue)
        at += _RESULT.size
    frames = {}
    for number, bits, camera_ns in _CAMERA.iter_unpack(meta[at : at + cameras * _CAMERA.size]):
        name, frame_id, calibration = entries[number]
        rectified, key = bool(bits & _RECTIFIED), bool(bits & _KEYFRAME)
        frames[name] = CameraFrame(name, camera_ns, frame_id, next(queue), calibration, rectified, key)
    at += cameras * _CAMERA.size
    missing = _ABSENT.iter_unpack(meta[at : at + absent * _ABSENT.size])
    reasons = {entries[number][0]: AbsenceReason(reason) for number, reason in missing}
    names = [entries[n][0] for (n,) in struct.iter_unpack("<H", meta[at + absent * _ABSENT.size :])]
    base = dict(zip(names[:extrinsics], poses, strict=True))
    return SensorSet(stamp_ns, sweep, frames, reasons, tuple(names[extrinsics : extrinsics + order]), base, ego)


def encode_detections(found: Detections) -> tuple[bytes, Arrays]:
    """Rows and arrays of 3D detections."""
    columns = (found.boxes, found.scores, found.class_probabilities, found.velocity_mps, found.sensors)
    return _RESULT.pack(found.stamp_ns) + found.frame_id.encode(), columns


def decode_detections(meta: bytes, arrays: Arrays) -> Detections:
    """The detections again, owning copies. Raises InferenceError for an answer of another shape."""
    if len(arrays) != 5:
        raise InferenceError(f"the worker answered {len(arrays)} arrays, expected the 5 of Detections")
    boxes, scores, classes, velocity, sensors = (array.copy() for array in arrays)
    frame_id = meta[_RESULT.size :].decode()
    return Detections(_RESULT.unpack_from(meta)[0], frame_id, boxes, scores, classes, velocity, sensors)


def encode_boxes(found: Mapping[str, Detections2D]) -> tuple[bytes, Arrays]:
    """Rows and arrays of the boxes of all cameras."""
    rows, arrays = [], []
    for name, boxes in found.items():
        raw = name.encode()
        rows.append(_BOXES.pack(boxes.stamp_ns, len(raw)) + raw)
        arrays += [boxes.boxes_px, boxes.scores, boxes.class_ids]
    return b"".join(rows), arrays


def decode_boxes(meta: bytes, arrays: Arrays) -> dict[str, Detections2D]:
    """Camera -> boxes again, owning copies."""
    found, at, queue = {}, 0, iter(arrays)
    while at < len(meta):
        stamp_ns, length = _BOXES.unpack_from(meta, at)
        at += _BOXES.size + length
        name = meta[at - length : at].decode()
        boxes, scores, classes = (next(queue).copy() for _ in range(3))
        found[name] = Detections2D(name, stamp_ns, boxes, scores, classes)
    return found


def _append_cloud(cloud: PointCloud, arrays: list[npt.NDArray[Any]]) -> int:
    arrays.append(cloud.points)
    flags = 0
    optional = ((_INTENSITY, cloud.intensity), (_RING, cloud.ring), (_TIMES, cloud.time_offset_s))
    for bit, column in optional:
        if column is not None:
            flags |= bit
            arrays.append(column)
    return flags


def _cloud(entry: _Entry, stamp_ns: int, flags: int, queue: Any) -> PointCloud:
    points = next(queue)
    intensity, ring, times = (next(queue) if flags & bit else None for bit in (_INTENSITY, _RING, _TIMES))
    return PointCloud(entry[0], stamp_ns, entry[1], np.asarray(points, np.float32), intensity, ring, times)


def _camera_row(frame: CameraFrame, words: Vocabulary) -> bytes:
    flags = (_RECTIFIED if frame.rectified else 0) | (_KEYFRAME if frame.is_keyframe else 0)
    return _CAMERA.pack(words.number(frame.sensor, frame.frame_id, frame.calibration), flags, frame.stamp_ns)


def _same_calibration(one: CameraCalibration | None, two: CameraCalibration | None) -> bool:
    if one is None or two is None:
        return one is two
    fields = dataclasses.fields(CameraCalibration)
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields)
