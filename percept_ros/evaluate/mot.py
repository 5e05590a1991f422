"""KITTI 3D multi-object tracking metrics: CLEAR MOT over recall (sAMOTA, AMOTA, AMOTP) and at the best threshold.

Definitions follow the public evaluator of AB3DMOT: matches by 3D IoU; vans (sitting persons), heavily occluded and
truncated objects are not counted; unmatched results of 25 px or less, or inside DontCare areas, are not counted; a track's
score is the mean of its scores; 40 recall points.
Source: Weng et al., AB3DMOT (IROS 2020), section V; Bernardin and Stiefelhagen, CLEAR MOT (2008).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from percept_ros.evaluate.kitti_io import Labels
from percept_ros.native import bind, pointer
from percept_ros.types import F64, I64, U8, Bool

RECALL_POINTS = 40
MIN_HEIGHT_PX = 25.0
COUNTS = ("gt", "tp", "fp", "fn", "ignored_tp", "overlap", "switches", "fragments")
NEIGHBOURS = {"car": ("car", "van"), "pedestrian": ("pedestrian", "person_sitting"), "cyclist": ("cyclist",)}
"""Evaluated class -> label kinds that are loaded; all but the first are not counted."""


@dataclass(frozen=True, slots=True)
class TrackRows:
    """Results of one class in one sequence, a row an object and frame, in any order.

    frames, numbers: (N,) int64, numbers name tracks. boxes: (N, 7) base frame. boxes_px: (N, 4). scores: (N,).
    """

    frames: I64
    numbers: I64
    boxes: F64
    boxes_px: F64
    scores: F64


@dataclass(frozen=True, slots=True)
class Scene:
    """Ground truth and results of one sequence, grouped by frame, with all overlaps. See ``percept_mot_count``."""

    gt_from: I64
    gt_ignorable: U8
    gt_track: I64
    gt_tracks: int
    row_from: I64
    row_track: I64
    row_ignorable: U8
    pair_from: I64
    overlaps: F64
    scores: F64
    row_valid: U8 = field(compare=False)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.gt_from) - 1

    def similarity(self, frame: int) -> F64:
        """(gt, rows) overlaps of one frame."""
        shape = (self.gt_from[frame + 1] - self.gt_from[frame], self.row_from[frame + 1] - self.row_from[frame])
        start = self.pair_from[frame]
        return self.overlaps[start : start + shape[0] * shape[1]].reshape(shape)


@dataclass(frozen=True, slots=True)
class MotResult:
    """Metrics of one class at one IoU; shares and scores in percent.

    sAMOTA_unrounded, AMOTA_unrounded: without the public evaluator's loss of a track to one unit of rounding (it averages
    a track's score again at each threshold).
    """

    sAMOTA: float
    AMOTA: float
    AMOTP: float
    MOTA: float
    MOTP: float
    IDS: int
    FRAG: int
    TP: int
    FP: int
    FN: int
    recall: float
    precision: float
    sAMOTA_unrounded: float
    AMOTA_unrounded: float
    MOTA_unrounded: float
    threshold: float


def build_scene(labels: Labels, rows: TrackRows, kind: str, frames: int) -> Scene:
    """Group one sequence by frame and compute all overlaps. ``frames``: length of the sequence."""
    order = np.lexsort((rows.numbers, rows.frames))
    kinds = np.array(labels.kinds, dtype=object)
    wanted = np.isin(kinds, NEIGHBOURS[kind]) & (labels.track_ids >= 0)
    gt_order = np.flatnonzero(wanted)[np.argsort(labels.frames[wanted], kind="stable")]
    last = max(int(labels.frames.max(initial=-1)), int(rows.frames.max(initial=-1))) + 1
    edges = np.arange(max(frames, last) + 1)
    gt_from = np.searchsorted(labels.frames[gt_order], edges).astype(np.int64)
    row_from = np.searchsorted(rows.frames[order], edges).astype(np.int64)
    ignorable = (labels.occlusion > 2) | (labels.truncation > 0) | (kinds != NEIGHBOURS[kind][0])
    _, gt_track = np.unique(labels.track_ids[gt_order], return_inverse=True)
    _, row_track = np.unique(rows.numbers[order], return_inverse=True)
    pair_from, overlaps = _overlaps(labels.boxes[gt_order], gt_from, rows.boxes[order], row_from)
    return Scene(
        gt_from,
        np.ascontiguousarray(ignorable[gt_order], np.uint8),
        gt_track.astype(np.int64),
        int(gt_track.max(initial=-1)) + 1,
        row_from,
        row_track.astype(np.int64),
        _row_ignorable(labels, rows, order).astype(np.uint8),
        pair_from,
        overlaps,
        np.ascontiguousarray(rows.scores[order]),
        np.zeros(len(order), np.uint8),
    )


def evaluate_mot(scenes: Sequence[Scene], iou: float) -> MotResult:
    """Metrics over sequences at one 3D IoU."""
    public = _Sweep(scenes, iou, rounding=True)
    exact = _Sweep(scenes, iou, rounding=False)
    best, threshold = public.best()
    exact_best, _ = exact.best()
    tp, fp, fn = best["tp"], best["fp"], best["fn"]
    return MotResult(
        *public.averages(),
        _mota(best) * 100,
        100 * best["overlap"] / max(tp, 1),
        int(best["switches"]),
        int(best["fragments"]),
        int(tp),
        int(fp),
        int(fn),
        100 * tp / max(tp + fn, 1),
        100 * tp / max(tp + fp, 1),
        *exact.averages()[:2],
        _mota(exact_best) * 100,
        threshold,
    )


def recall_thresholds(scores: F64, positives: float) -> tuple[list[float], list[float]]:
    """Score thresholds nearest to the 40 recall points, and those points, without the one of recall 0.

    scores: (N,) of matched results. positives: number of ground-truth objects.
    """
    ordered = np.sort(scores)[::-1]
    thresholds, recalls, current = [], [], 0.0
    for i, score in enumerate(ordered):
        left = (i + 1) / positives
        right = (i + 2) / positives if i < len(ordered) - 1 else left
        if right - current < current - left and i < len(ordered) - 1:
            continue
        thresholds.append(float(score))
        recalls.append(current)
        current += 1.0 / RECALL_POINTS
    return thresholds[1:], recalls[1:]


def quick_scores(scenes: Sequence[Scene], iou: float) -> tuple[float, float]:
    """sAMOTA and MOTA in percent, without the public evaluator's rounding: what training chooses by."""
    sweep = _Sweep(scenes, iou, rounding=False)
    return sweep.averages()[0], 100 * _mota(sweep.best()[0])


class _Sweep:
    """Counts at every recall threshold. Keeps which rows were ever matched, as the public evaluator does."""

    def __init__(self, scenes: Sequence[Scene], iou: float, *, rounding: bool) -> None:
        self.scenes, self.iou, self.rounding = scenes, iou, rounding
        for scene in scenes:
            scene.row_valid[:] = 0
        self.means = [track_means(scene) for scene in scenes]
        self.lengths = [
            np.bincount(scene.row_track, minlength=len(m)) for scene, m in zip(scenes, self.means, strict=True)
        ]
        counts, scores = self._count(-1e4, collect=True)
        self.thresholds, self.recalls = recall_thresholds(scores, max(counts["tp"] + counts["fn"], 1))
        self.counts = [self._count(t)[0] for t in self.thresholds]

    def averages(self) -> tuple[float, float, float]:
        """sAMOTA, AMOTA, AMOTP in percent."""
        scaled = sum(_smota(c, r) for c, r in zip(self.counts, self.recalls, strict=True))
        plain = sum(_mota(c) for c in self.counts)
        overlap = sum(c["overlap"] / c["tp"] if c["tp"] else 0.0 for c in self.counts)
        return 100 * scaled / RECALL_POINTS, 100 * plain / RECALL_POINTS, 100 * overlap / RECALL_POINTS

    def best(self) -> tuple[dict[str, float], float]:
        """Counts, and the threshold, where MOTA is largest."""
        best, threshold = 0.0, -1e4
        for counts, value in zip(self.counts, self.thresholds, strict=True):
            if _mota(counts) > best:
                best, threshold = _mota(counts), value
        return self._count(threshold)[0], threshold

    def _count(self, threshold: float, collect: bool = False) -> tuple[dict[str, float], F64]:
        total, scores = np.zeros(len(COUNTS)), []
        for i, scene in enumerate(self.scenes):
            keep = self.means[i] >= threshold
            counts, gt_row = count_scene(scene, self.iou, keep)
            total += counts
            if collect:
                scores.append(self.means[i][scene.row_track[gt_row[gt_row >= 0]]])
            elif self.rounding:
                self.means[i] = _average_again(self.means[i], self.lengths[i])
        if collect and self.rounding:
            self.means = [_average_again(m, n) for m, n in zip(self.means, self.lengths, strict=True)]
        return dict(zip(COUNTS, total.tolist(), strict=True)), np.concatenate(scores) if scores else np.zeros(0)


def count_scene(scene: Scene, iou: float, keep: Bool) -> tuple[F64, I64]:
    """Counts (see COUNTS) of one sequence with only some tracks kept, and the matched row of each ground truth (-1 none)."""
    counts, gt_row = np.zeros(len(COUNTS)), np.full(len(scene.gt_track), -1, np.int64)
    kept = np.ascontiguousarray(keep, np.uint8)
    status = _mot_count()(
        scene.frames,
        pointer(scene.gt_from),
        pointer(scene.gt_ignorable),
        pointer(scene.gt_track),
        scene.gt_tracks,
        pointer(scene.row_from),
        pointer(scene.row_track),
        pointer(scene.row_ignorable),
        pointer(scene.pair_from),
        pointer(scene.overlaps),
        iou,
        pointer(kept),
        pointer(scene.row_valid),
        pointer(gt_row),
        pointer(counts),
    )
    if status < 0:
        raise ValueError("inconsistent scene")
    return counts, gt_row


def _mota(c: dict[str, float]) -> float:
    return 1 - (c["fn"] + c["fp"] + c["switches"]) / c["gt"] if c["gt"] else 0.0


def _smota(c: dict[str, float], recall: float) -> float:
    errors = c["fn"] + c["fp"] + c["switches"] - (1 - recall) * c["gt"]
    return min(1.0, max(0.0, 1 - errors / (recall * c["gt"]))) if c["gt"] else 0.0


def track_means(scene: Scene) -> F64:
    """Mean score of each track, summed in frame order as a Python sum would."""
    sums = np.zeros(int(scene.row_track.max(initial=-1)) + 1)
    lengths = np.zeros_like(sums)
    np.add.at(sums, scene.row_track, scene.scores)
    np.add.at(lengths, scene.row_track, 1.0)
    return sums / np.maximum(lengths, 1)


def _average_again(means: F64, lengths: I64) -> F64:
    """The public evaluator's mean of n equal numbers, which can fall one unit of rounding below them."""
    sums = np.array([np.cumsum(np.full(n, m))[-1] if n else 0.0 for m, n in zip(means, lengths, strict=True)])
    again: F64 = sums / np.maximum(lengths, 1)
    return again


def _row_ignorable(labels: Labels, rows: TrackRows, order: I64) -> Bool:
    """Whether an unmatched result row is left out: small, or more than half inside a DontCare area of its frame."""
    boxes, frames = rows.boxes_px[order], rows.frames[order]
    small = np.abs(boxes[:, 3] - boxes[:, 1]) <= MIN_HEIGHT_PX
    inside = np.zeros(len(order), bool)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for k in np.flatnonzero(np.array(labels.kinds, dtype=object) == "dontcare"):
        here = slice(*np.searchsorted(frames, [labels.frames[k], labels.frames[k] + 1]))
        low = np.maximum(boxes[here, :2], labels.boxes_px[k, :2])
        size = np.minimum(boxes[here, 2:], labels.boxes_px[k, 2:]) - low
        inside[here] |= (size > 0).all(axis=1) & (size.prod(axis=1) > 0.5 * area[here])
    result: Bool = small | inside
    return result


def _overlaps(gt: F64, gt_from: I64, rows: F64, row_from: I64) -> tuple[I64, F64]:
    sizes = np.diff(gt_from) * np.diff(row_from)
    pair_from = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    overlaps = np.zeros(int(pair_from[-1]))
    for f in np.flatnonzero(sizes):
        block = iou_3d(gt[gt_from[f] : gt_from[f + 1]], rows[row_from[f] : row_from[f + 1]])
        overlaps[pair_from[f] : pair_from[f + 1]] = block.ravel()
    return pair_from[:-1].copy(), overlaps


def iou_3d(a: F64, b: F64) -> F64:
    """(N, 7) and (M, 7) boxes -> (N, M) volume IoU."""
    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    out = np.zeros((len(a), len(b)))
    _overlap()(pointer(a), len(a), pointer(b), len(b), 0, pointer(out))
    return out


@functools.cache
def _overlap() -> Callable[..., Any]:
    p, n = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_tracking_overlap", [p, n, p, n, ctypes.c_int32, p])


@functools.cache
def _mot_count() -> Callable[..., Any]:
    p, n, d = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    return bind("percept_mot_count", [n, p, p, p, n, p, p, p, p, p, d, p, p, p, p])
