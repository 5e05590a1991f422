"""How two answers to the same frame differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.core.assignment import best_assignment
from percept_ros.core.decode import bev_iou
from percept_ros.types import Bool, Detections

SURE = 0.3
"""Boxes of at least this score count."""
SAME_IOU = 0.3


@dataclass(frozen=True, slots=True)
class Difference:
    """matched: boxes of both answers that are the same object (bird's-eye IoU at least ``SAME_IOU``). only_a, only_b: the
    sure others. class_changes: of the matched. offset_m: mean distance of the centres of the matched. score: mean of
    score b less score a.
    """

    matched: int
    only_a: int
    only_b: int
    class_changes: int
    offset_m: float
    score: float

    @property
    def disagreement(self) -> float:
        """1 - F1 of one answer against the other; a changed class is no match. 0 for two empty answers."""
        same = self.matched - self.class_changes
        total = 2 * self.matched + self.only_a + self.only_b
        return 1.0 - 2.0 * same / total if total else 0.0


def compare(a: Detections, b: Detections) -> Difference:
    """Match the boxes of two answers and count. A box is missing only when the one that has it is sure of it."""
    rows, columns, overlap = _pairs(a, b)
    same = overlap >= SAME_IOU
    rows, columns = rows[same], columns[same]
    sure = (a.scores[rows] >= SURE) | (b.scores[columns] >= SURE)
    rows, columns = rows[sure], columns[sure]
    moved = np.linalg.norm(a.boxes[rows, :2] - b.boxes[columns, :2], axis=1)
    return Difference(
        len(rows),
        _left(a, rows),
        _left(b, columns),
        int((a.class_ids[rows] != b.class_ids[columns]).sum()),
        float(moved.mean()) if len(rows) else 0.0,
        float((b.scores[columns] - a.scores[rows]).mean()) if len(rows) else 0.0,
    )


def _pairs(a: Detections, b: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not len(a) or not len(b):
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0)
    iou = bev_iou(a.boxes, b.boxes)
    rows, columns = best_assignment(iou)
    return rows, columns, iou[rows, columns]


def _left(found: Detections, used: np.ndarray) -> int:
    """Sure boxes that were not matched."""
    sure: Bool = found.scores >= SURE
    sure = sure.copy()
    sure[used] = False
    return int(sure.sum())
