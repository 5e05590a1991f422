"""What a picture shows: one frame with everything brought into the vehicle's base frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.core.geometry import inverse, points_in_box, transform_boxes
from percept_ros.replay.score import in_base
from percept_ros.types import F32, F64, I64, FrameResult, ObjectClass, Tracks

COLOURS: dict[int, tuple[int, int, int]] = {
    ObjectClass.UNKNOWN: (150, 150, 150),
    ObjectClass.CAR: (255, 153, 51),
    ObjectClass.TRUCK: (26, 140, 255),
    ObjectClass.BUS: (26, 204, 255),
    ObjectClass.TRAILER: (51, 115, 204),
    ObjectClass.MOTORCYCLE: (242, 89, 191),
    ObjectClass.BICYCLE: (115, 217, 89),
    ObjectClass.PEDESTRIAN: (89, 64, 242),
}
"""Class -> colour, blue green red: the same hues as the RViz markers."""

SHOWN_SCORE = 0.3
"""Weaker detections are not drawn."""


@dataclass(frozen=True, slots=True)
class DrawnTracks:
    """Tracks in the base frame. N rows.

    boxes: (N, 7). velocity_mps: (N, 2) in base axes, over ground. paths: N arrays (T, 2) in the base frame, the likeliest
    path of each. labels: short names. coasting: (N,) bool.
    """

    boxes: F64
    velocity_mps: F64
    paths: tuple[F64, ...]
    labels: tuple[str, ...]
    class_ids: I64
    coasting: np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One frame to draw.

    found: detections that no track stands for (yet). points: (P, 3) of the sweep in the base frame, or None.
    truth: (M, 7) boxes in base of the true objects that a sensor saw, or None.
    """

    result: FrameResult
    tracks: DrawnTracks
    found: DrawnTracks
    points: F32 | None
    truth: F64 | None


class TrackNames:
    """Small numbers for track ids, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def of(self, identity: bytes) -> int:
        """1, 2, 3, ... the same id always gives the same number."""
        return self._numbers.setdefault(identity, len(self._numbers) + 1)


def scene_of(result: FrameResult, names: TrackNames, truth: Tracks | None) -> Scene:
    """Bring one frame into the base frame."""
    sensors = result.sensors
    drawn = _drawn(result, names)
    points = None
    if sensors.cloud is not None and sensors.cloud.sensor in sensors.base_SE3:
        pose = sensors.base_SE3[sensors.cloud.sensor].astype(np.float32)
        points = np.asarray(sensors.cloud.points @ pose[:3, :3].T + pose[:3, 3], np.float32)
    return Scene(result, drawn, _untracked(result, drawn), points, _true_boxes(truth, result))


def _true_boxes(truth: Tracks | None, result: FrameResult) -> F64 | None:
    boxes = None if truth is None else in_base(truth, result.sensors)
    return boxes if boxes is None or truth is None else boxes[truth.sensors != 0]


def _drawn(result: FrameResult, names: TrackNames) -> DrawnTracks:
    tracks, pose = result.tracks, result.sensors.fixed_SE3_base
    to_base = np.eye(4) if pose is None or tracks.frame_id == "base_link" else inverse(pose)
    labels = tuple(str(names.of(row.tobytes())) for row in tracks.id)
    paths = tuple(_path(result, row, to_base) for row in range(len(tracks)))
    boxes = transform_boxes(to_base, tracks.boxes) if len(tracks) else tracks.boxes
    coasting = np.asarray(tracks.since_measurement_ns > 0)
    return DrawnTracks(boxes, tracks.velocity_mps @ to_base[:2, :2].T, paths, labels, tracks.class_ids, coasting)


def _untracked(result: FrameResult, tracks: DrawnTracks) -> DrawnTracks:
    """Detections of a known class whose centre no tracked box contains."""
    found = result.detections
    keep = [
        row
        for row, box in enumerate(found.boxes)
        if found.class_ids[row] != ObjectClass.UNKNOWN
        and found.scores[row] >= SHOWN_SCORE
        and not any(points_in_box(box[None, :3], tracked, 0.5)[0] for tracked in tracks.boxes)
    ]
    return DrawnTracks(
        found.boxes[keep],
        np.nan_to_num(found.velocity_mps[keep]),
        tuple(np.zeros((0, 2)) for _ in keep),
        tuple(f"{found.scores[row]:.2f}" for row in keep),
        found.class_ids[keep],
        np.ones(len(keep), np.bool_),
    )


def _path(result: FrameResult, row: int, to_base: F64) -> F64:
    forecasts = result.forecasts
    if row >= len(forecasts.steps) or not forecasts.steps[row]:
        return np.zeros((0, 2))
    best = int(np.argmax(forecasts.confidence[row]))
    flat = forecasts.paths[row, best, : int(forecasts.steps[row]), :2]
    return flat @ to_base[:2, :2].T + to_base[:2, 3]
