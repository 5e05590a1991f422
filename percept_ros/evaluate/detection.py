"""Detection metrics: greedy matching from above, average precision, recall and false boxes at a working point.

Rates never come without their counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.core.decode import bev_iou
from percept_ros.types import F64, I64, Bool, ObjectClass

CLASS_NAMES = {
    "car": ObjectClass.CAR,
    "truck": ObjectClass.TRUCK,
    "pedestrian": ObjectClass.PEDESTRIAN,
    "bicycle": ObjectClass.BICYCLE,
}
IOU_FROM_ABOVE = 0.3
RECALL_POINTS = 101
CENTRE_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Reference:
    """What is there in one frame.

    boxes: (N, 7) in the base frame, or (N, 4) pixels where the reference is an image. class_ids: (N,) ``ObjectClass``. counted: (N,) bool, objects that must be found; a detection on any
    other reference box is neither right nor wrong.
    """

    boxes: F64
    class_ids: I64
    counted: Bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector says in one frame: boxes (N, 7) or (N, 4) as in the reference, class_ids (N,), scores (N,), and in_region (N,) bool: where an
    unmatched box counts as false."""

    boxes: F64
    class_ids: I64
    scores: F64
    in_region: Bool


@dataclass(frozen=True, slots=True)
class Judged:
    """Detections of one class over all frames, best first.

    scores: (D,). right: (D,) bool; detections that are neither right nor wrong are left out.
    reference_score: (G,) score at which each counted object was found, -inf where it was not.
    yaw_error_rad: (G,) absolute heading error of the box that found it, NaN where it was not.
    """

    scores: F64
    right: Bool
    reference_score: F64
    yaw_error_rad: F64
    frames: int


Closeness = Callable[[Found, Reference], F64]
"""(N, M) of N found and M reference boxes: above 0 where a pair may match; larger is better."""


def from_above(found: Found, reference: Reference) -> F64:
    """Overlap over union from above, at least 0.3."""
    overlap = bev_iou(found.boxes, reference.boxes)
    return np.where(overlap >= IOU_FROM_ABOVE, overlap, 0.0)


def in_image(found: Found, reference: Reference) -> F64:
    """Overlap over union of (N, 4) and (M, 4) pixel boxes, at least 0.3."""
    a, b = found.boxes[:, None], reference.boxes[None]
    common = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    overlap = common / np.maximum(areas - common, 1e-9)
    return np.where(overlap >= IOU_FROM_ABOVE, overlap, 0.0)


def within(distance_m: float) -> Closeness:
    """Centres nearer than ``distance_m`` from above."""

    def closeness(found: Found, reference: Reference) -> F64:
        offset = found.boxes[:, None, :2] - reference.boxes[None, :, :2]
        distance = np.sqrt((offset**2).sum(-1))
        return np.where(distance < distance_m, 1.0 + distance_m - distance, 0.0)

    return closeness


def judge(
    frames: Sequence[tuple[Found, Reference]], class_id: ObjectClass, closeness: Closeness = from_above
) -> Judged:
    """Match each frame greedily, best score first.

    A detection takes the best free object of its own class; failing that, an object that is not counted excuses it,
    unless that object is of another counted class.
    """
    scores: list[float] = []
    right: list[bool] = []
    taken_scores: list[F64] = []
    yaw_errors: list[F64] = []
    for found, reference in frames:
        own = reference.class_ids == class_id
        taken, errors = np.full(len(own), -np.inf), np.full(len(own), np.nan)
        close = closeness(found, reference)
        for i in np.argsort(-found.scores, kind="stable"):
            if found.class_ids[i] != class_id:
                continue
            j = _best(close[i], own & (taken == -np.inf), reference.counted)
            if j >= 0:
                taken[j] = found.scores[i]
                errors[j] = _yaw_error(found.boxes[i], reference.boxes[j])
            excused = _excused(close[i], reference) if j < 0 else not reference.counted[j]
            if j >= 0 and reference.counted[j]:
                scores.append(float(found.scores[i]))
                right.append(True)
            elif not excused and found.in_region[i]:
                scores.append(float(found.scores[i]))
                right.append(False)
        taken_scores.append(taken[own & reference.counted])
        yaw_errors.append(errors[own & reference.counted])
    order = np.argsort(-np.array(scores), kind="stable")
    empty = np.zeros(0)
    return Judged(
        np.array(scores)[order] if scores else empty,
        np.array(right, bool)[order] if scores else empty.astype(bool),
        np.concatenate(taken_scores or [empty]),
        np.concatenate(yaw_errors or [empty]),
        len(frames),
    )


def _best(close: F64, free: Bool, counted: Bool) -> int:
    """Index of the best match among ``free`` objects, counted ones first; -1 where there is none."""
    for group in (free & counted, free & ~counted):
        candidates = np.where(group, close, 0.0)
        if len(candidates) and candidates.max() > 0.0:
            return int(np.argmax(candidates))
    return -1


def _excused(close: F64, reference: Reference) -> bool:
    return bool(np.any((close > 0.0) & ~reference.counted))


def _yaw_error(a: F64, b: F64) -> float:
    if len(a) < 7:
        return float("nan")
    return float(abs((a[6] - b[6] + np.pi) % (2.0 * np.pi) - np.pi))


def average_precision(judged: Judged) -> float:
    """Area under the precision-recall curve, precision made monotonous; NaN without objects.

    Source: Everingham et al., PASCAL VOC 2010 development kit, section 3.4.2.
    """
    objects = len(judged.reference_score)
    if objects == 0:
        return float("nan")
    precision, recall = _curve(judged, objects)
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float(np.sum(steps * precision))


def _curve(judged: Judged, objects: int) -> tuple[F64, F64]:
    hits = np.cumsum(judged.right)
    precision = hits / np.arange(1, len(hits) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1], hits / objects


def nuscenes_ap(judged: Judged) -> float:
    """Average precision over recalls above 0.1, of precision above 0.1, as nuScenes defines it; NaN without objects.

    Source: Caesar et al., "nuScenes", CVPR 2020, section 3.1; nuscenes-devkit, detection evaluation.
    """
    objects = len(judged.reference_score)
    if objects == 0:
        return float("nan")
    if not judged.right.any():
        return 0.0
    hits = np.cumsum(judged.right)
    precision = hits / np.arange(1, len(hits) + 1)
    at = np.linspace(0.0, 1.0, RECALL_POINTS)
    interpolated = np.interp(at, hits / objects, precision, right=0.0)[round(0.1 * (RECALL_POINTS - 1)) + 1 :]
    return float(np.mean(np.maximum(interpolated - 0.1, 0.0)) / 0.9)


def working_point(judged: Judged, score: float) -> dict[str, Any]:
    """Counts and rates of the detections with at least ``score``: recall, false boxes a frame, heading."""
    found = judged.reference_score >= score
    false = int(np.sum(~judged.right & (judged.scores >= score)))
    errors = judged.yaw_error_rad[found]
    count, frames = len(found), judged.frames
    return {
        "count": count,
        "found": int(found.sum()),
        "recall_40m": float(found.mean()) if count else None,
        "false": false,
        "false_per_frame": false / frames if frames else None,
        "heading_right": int(np.sum(errors < np.pi / 2)),
        "heading_right_rate": float(np.mean(errors < np.pi / 2)) if np.isfinite(errors).any() else None,
    }


def called(
    frames: Sequence[tuple[Found, Reference]], class_id: ObjectClass, score: float, closeness: Closeness
) -> dict[str, int]:
    """What the counted objects of a class are called by the closest detection of at least ``score``."""
    names = {int(value): name for name, value in CLASS_NAMES.items()}
    counts = dict.fromkeys((*CLASS_NAMES, "nothing"), 0)
    for found, reference in frames:
        close = np.where(found.scores[:, None] >= score, closeness(found, reference), 0.0)
        for j in np.flatnonzero(reference.counted & (reference.class_ids == class_id)):
            seen = len(close) > 0 and close[:, j].max() > 0.0
            counts[names.get(int(found.class_ids[np.argmax(close[:, j])]), "nothing") if seen else "nothing"] += 1
    return {name: count for name, count in counts.items() if count}


def summarise(
    frames: Sequence[tuple[Found, Reference]], score: float, closeness: Closeness = from_above
) -> dict[str, Any]:
    """Per class: AP, the working point, and what its objects are called. ``None`` where nothing was there to find."""
    summary: dict[str, Any] = {"frames": len(frames), "score": score, "iou": IOU_FROM_ABOVE}
    for name, class_id in CLASS_NAMES.items():
        judged = judge(frames, class_id, closeness)
        ap = average_precision(judged)
        summary[name] = {
            "AP": None if np.isnan(ap) else ap,
            **working_point(judged, score),
            "called": called(frames, class_id, score, closeness),
        }
    return summary


def mean_ap(frames: Sequence[tuple[Found, Reference]]) -> dict[str, Any]:
    """nuScenes-style: AP of each class, mean over centre distances of 0.5, 1, 2 and 4 m, and their mean over classes."""
    result: dict[str, Any] = {}
    for name, class_id in CLASS_NAMES.items():
        judged = [judge(frames, class_id, within(distance)) for distance in CENTRE_DISTANCES_M]
        if count := len(judged[0].reference_score):
            result[name] = {"AP": float(np.mean([nuscenes_ap(j) for j in judged])), "count": count}
    present = [result[name]["AP"] for name in result]
    return {"mAP": float(np.mean(present)) if present else None, **result}
