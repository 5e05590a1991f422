"""HOTA, DetA, AssA on 3D IoU.

Definitions follow Luiten et al., HOTA (IJCV 2021), averaged over localisation thresholds 0.05 to 0.95, sequences pooled as in
the public KITTI evaluation: detection counts are summed, association is weighted by true positives. What the benchmark
does not count is taken out beforehand: ground truth that is no longer counted with the rows matched to it, and unmatched
rows that are small or inside DontCare areas (matching at ``iou``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from percept_ros.evaluate.mot import Scene, count_scene, track_means
from percept_ros.types import F64, I64

ALPHAS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True, slots=True)
class HotaResult:
    """Percent, averaged over thresholds."""

    HOTA: float
    DetA: float
    AssA: float


@dataclass(frozen=True, slots=True)
class _Frames:
    """What counts: per frame ground-truth tracks, result tracks, and similarity."""

    gt: list[I64]
    rows: list[I64]
    similarity: list[F64]
    gt_tracks: int
    row_tracks: int


def evaluate_hota(scenes: Sequence[Scene], iou: float = 0.25, threshold: float = -np.inf) -> HotaResult:
    """Metrics over sequences of all tracks whose mean score is at least ``threshold``."""
    parts = [_counts(_counted(scene, iou, threshold)) for scene in scenes]
    tp, fn, fp = (np.sum([p[i] for p in parts], axis=0) for i in range(3))
    association = np.sum([p[0] * p[3] for p in parts], axis=0) / np.maximum(tp, 1)
    detection = tp / np.maximum(tp + fn + fp, 1)
    hota = np.sqrt(detection * association)
    return HotaResult(*(100 * float(x.mean()) for x in (hota, detection, association)))


def _counted(scene: Scene, iou: float, threshold: float) -> _Frames:
    keep = track_means(scene) >= threshold
    shown = keep[scene.row_track]
    _, gt_row = count_scene(scene, iou, keep)
    hard = scene.gt_ignorable.astype(bool)
    matched = np.zeros(len(shown), bool)
    matched[gt_row[gt_row >= 0]] = True
    dropped = scene.row_ignorable.astype(bool) & ~matched
    dropped[gt_row[hard & (gt_row >= 0)]] = True
    gt, rows, similarity = [], [], []
    for f in range(scene.frames):
        g = np.flatnonzero(~hard[scene.gt_from[f] : scene.gt_from[f + 1]])
        r = np.flatnonzero((shown & ~dropped)[scene.row_from[f] : scene.row_from[f + 1]])
        gt.append(scene.gt_track[scene.gt_from[f] + g])
        rows.append(scene.row_track[scene.row_from[f] + r])
        similarity.append(scene.similarity(f)[np.ix_(g, r)])
    return _Frames(gt, rows, similarity, scene.gt_tracks, len(keep))


def _counts(frames: _Frames) -> tuple[F64, F64, F64, F64]:
    """True positives, misses, false positives and association accuracy at every threshold."""
    gt_count = np.bincount(np.concatenate(frames.gt), minlength=frames.gt_tracks).astype(float)[:, None]
    row_count = np.bincount(np.concatenate(frames.rows), minlength=frames.row_tracks).astype(float)[None]
    potential = np.zeros((frames.gt_tracks, frames.row_tracks))
    for g, r, s in zip(frames.gt, frames.rows, frames.similarity, strict=True):
        total = s.sum(axis=0, keepdims=True) + s.sum(axis=1, keepdims=True) - s
        potential[np.ix_(g, r)] += np.divide(s, total, out=np.zeros_like(s), where=total > 1e-12)
    alignment = potential / np.maximum(gt_count + row_count - potential, 1e-12)
    matches = np.zeros((len(ALPHAS), frames.gt_tracks, frames.row_tracks))
    for g, r, s in zip(frames.gt, frames.rows, frames.similarity, strict=True):
        if not s.size:
            continue
        i, j = linear_sum_assignment(-alignment[np.ix_(g, r)] * s)
        for k, alpha in enumerate(ALPHAS):
            good = s[i, j] >= alpha - 1e-9
            matches[k, g[i[good]], r[j[good]]] += 1
    tp = matches.sum(axis=(1, 2))
    accuracy = matches / np.maximum(1, gt_count + row_count - matches)
    association = (matches * accuracy).sum(axis=(1, 2)) / np.maximum(1, tp)
    return tp, gt_count.sum() - tp, row_count.sum() - tp, association
