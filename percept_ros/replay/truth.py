"""Ground truth of data sets as track arrays, with velocities from the labels of neighbouring frames."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.core.geometry import transform_boxes
from percept_ros.replay.track_array import TRUTH, TrackArray
from percept_ros.types import F64, LIDAR_BIT, NUM_CLASSES, Forecasts, ObjectClass, Tracks, TrackState

MOVING_MPS = 0.5
"""Slower objects are called stationary."""
MAX_STEP_NS = 600_000_000
"""Velocities are not taken across longer gaps in an object's labels."""


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """Labels of one frame. boxes: (N, 7) float64 in the vehicle's base frame. fixed_SE3_base: ego pose, or None."""

    stamp_ns: int
    names: tuple[str, ...]
    boxes: F64
    classes: tuple[ObjectClass, ...]
    fixed_SE3_base: F64 | None = None
    seen: tuple[bool, ...] = ()
    """Whether any sensor return lies on each object; empty = all. Unseen objects get the sensor mask 0."""


def truth_id(name: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """(16,) UUID bytes of an object's name in its data set: the same name gives the same id."""
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint8)


def truth_arrays(frames: Sequence[LabelledFrame], base: str, fixed: str, view: str = "") -> list[TrackArray]:
    """One track array a frame: in the fixed frame where every ego pose is known, else in the base frame.

    view: name of the camera in whose image alone objects were labelled; empty = all around.
    """
    in_fixed = all(frame.fixed_SE3_base is not None for frame in frames)
    placed = [_placed(frame) if in_fixed else frame.boxes for frame in frames]
    histories = _histories(frames, placed)
    frame_id = fixed if in_fixed else base
    return [
        _array(frame, boxes, histories, frame_id, f"{TRUTH}@{view}" if view else TRUTH)
        for frame, boxes in zip(frames, placed, strict=True)
    ]


def _placed(frame: LabelledFrame) -> F64:
    assert frame.fixed_SE3_base is not None
    return transform_boxes(frame.fixed_SE3_base, frame.boxes)


def _histories(frames: Sequence[LabelledFrame], placed: Sequence[F64]) -> dict[str, tuple[list[int], list[F64]]]:
    """Name -> stamps and boxes over the whole recording."""
    histories: dict[str, tuple[list[int], list[F64]]] = {}
    for frame, boxes in zip(frames, placed, strict=True):
        for name, box in zip(frame.names, boxes, strict=True):
            stamps, rows = histories.setdefault(name, ([], []))
            stamps.append(frame.stamp_ns)
            rows.append(box)
    return histories


def _velocity(stamps: list[int], rows: list[F64], at: int) -> tuple[float, float]:
    """Central difference over the labels next to ``at``, one-sided at the ends; 0 for an object labelled once."""
    i = stamps.index(at)
    first = i - 1 if i and at - stamps[i - 1] <= MAX_STEP_NS else i
    last = i + 1 if i + 1 < len(stamps) and stamps[i + 1] - at <= MAX_STEP_NS else i
    if first == last:
        return 0.0, 0.0
    moved = (rows[last][:2] - rows[first][:2]) / ((stamps[last] - stamps[first]) / 1e9)
    return float(moved[0]), float(moved[1])


def _array(
    frame: LabelledFrame, boxes: F64, histories: dict[str, tuple[list[int], list[F64]]], frame_id: str, model: str
) -> TrackArray:
    count = len(frame.names)
    velocity = np.array([_velocity(*histories[name], frame.stamp_ns) for name in frame.names]).reshape(-1, 2)
    born = [histories[name][0][0] for name in frame.names]
    exact = np.tile(np.eye(6) * 1e-4, (count, 1, 1))
    tracks = Tracks(
        stamp_ns=frame.stamp_ns,
        frame_id=frame_id,
        id=np.array([truth_id(name) for name in frame.names], np.uint8).reshape(-1, 16),
        state=np.full(count, TrackState.CONFIRMED, np.uint8),
        class_probabilities=np.eye(NUM_CLASSES)[[int(c) for c in frame.classes]].reshape(-1, NUM_CLASSES),
        existence=np.ones(count),
        boxes=boxes.reshape(-1, 7),
        velocity_mps=velocity,
        acceleration_mps2=np.zeros((count, 2)),
        yaw_rate_radps=np.zeros(count),
        pose_covariance=exact,
        twist_covariance=exact,
        age_ns=frame.stamp_ns - np.array(born, np.int64).reshape(-1),
        since_measurement_ns=np.zeros(count, np.int64),
        sensors=np.where(np.array(frame.seen or (True,) * count, np.bool_), LIDAR_BIT, 0).astype(np.uint32),
        stationary=np.hypot(velocity[:, 0], velocity[:, 1]) < MOVING_MPS,
    )
    at = frame.stamp_ns
    return TrackArray(tracks, Forecasts.empty(0.1), at, at, at, model=model)
