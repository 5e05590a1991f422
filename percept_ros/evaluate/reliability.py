"""Is the existence of tracks honest? Every live track in every frame against ground truth, by predicted probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from percept_ros.core.tracking import base_projection
from percept_ros.evaluate.kitti_io import project_boxes
from percept_ros.evaluate.kitti_tracking import CLASSES, Evidence, Sequence3D
from percept_ros.evaluate.mot import MIN_HEIGHT_PX, NEIGHBOURS, iou_3d
from percept_ros.types import F64, I64, Bool

TRUE_IOU = 0.25
BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """Live tracks of one class against the labels.

    rows: (N,) rows of the evidence. truth: (N,) matched to a labelled object at 3D IoU 0.25. in_view: (N,) seen by the
    labelled camera. small: (N,) 25 px or less. excused: (N,) inside a DontCare area. counted_truth: (N,) matched to an
    object that the benchmark counts. other_kind: (N,) matched to a kind that it does not judge (van, person sitting).
    """

    rows: I64
    truth: Bool
    in_view: Bool
    small: Bool
    excused: Bool
    counted_truth: Bool
    other_kind: Bool

    @property
    def counted(self) -> Bool:
        """(N,) rows that the benchmark counts, right or wrong."""
        wrong: Bool = ~self.truth & self.in_view & ~self.small & ~self.excused
        return self.counted_truth | wrong


def judge(evidence: Evidence, sequence: Sequence3D, label: str) -> Judged:
    """Match the live tracks of class ``label`` to the labels of every frame. Raises ValueError without labels."""
    labels = sequence.labels
    if labels is None:
        raise ValueError(f"sequence {sequence.name} has no labels")
    rows = np.flatnonzero(evidence.classes == CLASSES[label])
    view = sequence.calibration.view
    boxes, frames = evidence.boxes[rows], evidence.frames[rows]
    boxes_px, in_view = project_boxes(boxes, base_projection(view), view.width_px, view.height_px)
    kinds = np.array(labels.kinds, dtype=object)
    wanted, areas = np.isin(kinds, NEIGHBOURS[label.lower()]), kinds == "dontcare"
    hard, other = (labels.occlusion > 2) | (labels.truncation > 0), kinds != label.lower()
    truth, excused, counted, foreign = (np.zeros(len(rows), bool) for _ in range(4))
    for frame in np.unique(frames):
        start, end = np.searchsorted(frames, [frame, frame + 1])
        now = labels.frames == frame
        gt = np.flatnonzero(now & wanted)
        excused[start:end] = _inside(boxes_px[start:end], labels.boxes_px[now & areas])
        found, matched = match_boxes(boxes[start:end], labels.boxes[gt])
        truth[start + found] = True
        counted[start + found] = ~(hard | other)[gt[matched]]
        foreign[start + found] = other[gt[matched]]
    small = boxes_px[:, 3] - boxes_px[:, 1] <= MIN_HEIGHT_PX
    return Judged(rows, truth, in_view, small, excused, counted, foreign)


def match_boxes(boxes: F64, gt: F64) -> tuple[I64, I64]:
    """Rows and ground truth matched at IoU ``TRUE_IOU``: as many as possible, then best overlap."""
    if not len(gt):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    overlap = iou_3d(boxes, gt)
    r, c = linear_sum_assignment(-np.where(overlap >= TRUE_IOU, overlap + 1, 0))
    good = overlap[r, c] >= TRUE_IOU
    return r[good], c[good]


def _inside(boxes_px: F64, areas_px: F64) -> Bool:
    """(N,) whether more than half of a box lies in one of the areas."""
    low = np.maximum(boxes_px[:, None, :2], areas_px[None, :, :2])
    size = np.clip(np.minimum(boxes_px[:, None, 2:], areas_px[None, :, 2:]) - low, 0, None).prod(axis=2)
    result: Bool = (size > 0.5 * (boxes_px[:, 2:] - boxes_px[:, :2]).prod(axis=1)[:, None]).any(axis=1)
    return result


def reliability(existence: Sequence[F64], truth: Sequence[Bool]) -> dict[str, Any]:
    """Reliability curve over ten equal bins of predicted existence.

    existence, truth: per sequence, rows of equal length. ``ece``: mean distance of predicted and observed share, weighted by
    rows. ``brier``: mean squared error. Bins without rows are left out. Source: Guo et al., ICML 2017.
    """
    p = np.concatenate(existence) if existence else np.zeros(0)
    y = np.concatenate(truth).astype(np.float64) if truth else np.zeros(0)
    if not len(p):
        return {"rows": 0, "bins": []}
    which = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(which, minlength=BINS)
    said = np.bincount(which, p, BINS) / np.maximum(count, 1)
    seen = np.bincount(which, y, BINS) / np.maximum(count, 1)
    bins = [
        {"from": k / BINS, "rows": int(count[k]), "predicted": float(said[k]), "observed": float(seen[k])}
        for k in range(BINS)
        if count[k]
    ]
    ece = float((count * np.abs(said - seen)).sum() / count.sum())
    return {"rows": len(p), "ece": ece, "brier": float(((p - y) ** 2).mean()), "bins": bins}
