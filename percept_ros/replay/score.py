"""Tracks against the ground truth of a bag: matched by distance of centres, frame by frame.

A track and a true object match when their centres are within ``MATCH_M`` on the ground (nuScenes' matching), old
pairs are kept while they hold (CLEAR MOT, Bernardin and Stiefelhagen 2008), the rest is assigned at least total distance.
Only objects within ``RANGE_M`` of the vehicle count. True objects that no sensor saw (mask 0) or of unknown class are
neither required nor counted as false when tracked. Where only one camera's image was labelled, only that view counts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from percept_ros.core.geometry import inverse, project_points, transform_boxes, transform_points
from percept_ros.replay.track_array import TrackArray
from percept_ros.types import F64, Bool, Detections, ObjectClass, SensorSet, Tracks

MATCH_M = 2.0
SCORED = 0.3
"""Detections below this score are not scored."""
RANGE_M = 50.0
STAMP_TOLERANCE_NS = 55_000_000


@dataclass(slots=True)
class MotScore:
    """Running sums of a replay's score; ``add`` frame by frame, then ``summary``."""

    frames: int = 0
    truths: int = 0
    matches: int = 0
    false: int = 0
    switches: int = 0
    fragments: int = 0
    unscored: int = 0
    distance_m: float = 0.0
    speed_error_mps: float = 0.0
    by_class: dict[str, list[int]] = field(default_factory=dict)
    _pairs: dict[bytes, bytes] = field(default_factory=dict)
    _lost: set[bytes] = field(default_factory=set)

    def add(self, tracks: Tracks, truth: TrackArray, sensors: SensorSet) -> None:
        """Score one frame."""
        placed = in_base(tracks, sensors)
        true = in_base(truth.tracks, sensors)
        if placed is None or true is None:
            self.unscored += 1
            return
        view = truth.model.partition("@")[2]
        self.frames += 1
        self._match(
            tracks, placed, in_region(placed, sensors, view), truth.tracks, true, in_region(true, sensors, view)
        )

    def _match(self, tracks: Tracks, placed: F64, near: Bool, truth: Tracks, true: F64, near_true: Bool) -> None:
        care = (truth.sensors != 0) & (truth.class_ids != ObjectClass.UNKNOWN)
        gap = np.linalg.norm(placed[:, None, :2] - true[None, :, :2], axis=2)
        required = np.flatnonzero(near_true & care)
        pairs = self._assign(gap, tracks, truth, required)
        taken = {row for row, _ in pairs}
        excused = (gap[:, ~(near_true & care)] <= MATCH_M).any(axis=1)
        self.false += sum(bool(near[i]) and not excused[i] and i not in taken for i in range(len(placed)))
        self.truths += len(required)
        self.matches += len(pairs)
        for row, column in pairs:
            self._note(gap[row, column], tracks, row, truth, column)
        matched = {column for _, column in pairs}
        lost = (truth.id[c].tobytes() for c in map(int, required) if c not in matched)
        self._lost.update(name for name in lost if name in self._pairs)
        for column in map(int, required):
            sums = self.by_class.setdefault(ObjectClass(int(truth.class_ids[column])).name.lower(), [0, 0])
            sums[0] += 1
            sums[1] += column in matched

    def _assign(self, gap: F64, tracks: Tracks, truth: Tracks, required: Any) -> list[tuple[int, int]]:
        rows = {tracks.id[i].tobytes(): i for i in range(len(tracks))}
        kept = []
        for column in map(int, required):
            row = rows.get(self._pairs.get(truth.id[column].tobytes(), b""), -1)
            if row >= 0 and gap[row, column] <= MATCH_M:
                kept.append((row, column))
        free_rows = [i for i in range(len(tracks)) if i not in {row for row, _ in kept}]
        free = [int(c) for c in required if int(c) not in {column for _, column in kept}]
        if not free_rows or not free:
            return kept
        cost = np.where(gap[np.ix_(free_rows, free)] <= MATCH_M, gap[np.ix_(free_rows, free)], 1e6)
        chosen = zip(*linear_sum_assignment(cost), strict=True)
        return kept + [(free_rows[i], free[j]) for i, j in chosen if cost[i, j] <= MATCH_M]

    def _note(self, gap_m: float, tracks: Tracks, row: int, truth: Tracks, column: int) -> None:
        name, track = truth.id[column].tobytes(), tracks.id[row].tobytes()
        self.switches += self._pairs.get(name, track) != track
        self.fragments += name in self._lost
        self._lost.discard(name)
        self._pairs[name] = track
        self.distance_m += float(gap_m)
        same = tracks.frame_id == truth.frame_id
        apart = np.hypot(*(tracks.velocity_mps[row] - truth.velocity_mps[column])) if same else 0.0
        self.speed_error_mps += float(apart)

    def summary(self) -> dict[str, Any]:
        """mota, recall and precision (1 is perfect; None where undefined), id_switches, fragments, mean errors, and sums."""
        seen = self.matches + self.false
        count = max(1, self.matches)
        return {
            "frames": self.frames,
            "recall": self.matches / self.truths if self.truths else None,
            "precision": self.matches / seen if seen else None,
            "mota": 1.0 - (self.truths - self.matches + self.false + self.switches) / self.truths
            if self.truths
            else None,
            "id_switches": self.switches,
            "fragments": self.fragments,
            "objects": self.truths,
            "matches": self.matches,
            "false_positives": self.false,
            "centre_error_m": self.distance_m / count,
            "velocity_error_mps": self.speed_error_mps / count,
            "recall_by_class": {name: found / total for name, (total, found) in sorted(self.by_class.items())},
            "match_m": MATCH_M,
            "range_m": RANGE_M,
            "unscored_frames": self.unscored,
        }


def detections_as_tracks(found: Detections) -> Tracks:
    """Detections of a known class and a score of at least ``SCORED`` as one-frame tracks, to be scored alike."""
    rows = np.flatnonzero((found.scores >= SCORED) & (found.class_ids != ObjectClass.UNKNOWN))
    count = len(rows)
    ids = np.zeros((count, 16), np.uint8)
    ids[:, :8] = np.arange(count, dtype=np.uint64).view(np.uint8).reshape(-1, 8)
    return dataclasses.replace(
        Tracks.empty(found.stamp_ns, found.frame_id),
        id=ids,
        boxes=found.boxes[rows],
        class_probabilities=found.class_probabilities[rows],
        velocity_mps=np.zeros((count, 2)),
    )


def in_base(tracks: Tracks, sensors: SensorSet, base: str = "base_link") -> F64 | None:
    """(N, 7) boxes in the base frame at the set's stamp, or None when that needs an ego pose that is not known."""
    if tracks.frame_id == base:
        return tracks.boxes
    if sensors.fixed_SE3_base is None:
        return tracks.boxes if not len(tracks) else None
    return transform_boxes(inverse(sensors.fixed_SE3_base), tracks.boxes)


def in_region(boxes: F64, sensors: SensorSet, view: str) -> Bool:
    """(N,) whether boxes in the base frame are scored: near enough, and seen by the labelled camera where one is named."""
    near: Bool = np.hypot(boxes[:, 0], boxes[:, 1]) <= RANGE_M
    camera = sensors.views.get(view)
    if camera is None:
        return near
    points = transform_points(inverse(camera.base_SE3_camera), boxes[:, :3])
    pixels, depth = project_points(camera.projection, points)
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < camera.width_px) & (pixels[:, 1] < camera.height_px)
    return near & inside & (depth > 1.0)


def nearest(stamps_ns: Any, at_ns: int) -> int | None:
    """Index of the stamp nearest to ``at_ns`` (ascending stamps), or None when none is near."""
    if not len(stamps_ns):
        return None
    right = int(np.clip(np.searchsorted(stamps_ns, at_ns), 0, len(stamps_ns) - 1))
    best = min((max(0, right - 1), right), key=lambda i: abs(int(stamps_ns[i]) - at_ns))
    return best if abs(int(stamps_ns[best]) - at_ns) <= STAMP_TOLERANCE_NS else None
