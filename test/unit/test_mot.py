"""KITTI MOT metrics against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.evaluate.hota import evaluate_hota
from percept_ros.evaluate.kitti_io import Labels
from percept_ros.evaluate.mot import (
    COUNTS,
    TrackRows,
    build_scene,
    count_scene,
    evaluate_mot,
    iou_3d,
    recall_thresholds,
)

CAR = (4.0, 2.0, 1.5)


def box(x: float, y: float = 0.0) -> list[float]:
    return [x, y, 0.0, *CAR, 0.0]


def labels(rows) -> Labels:
    """rows: (frame, track, kind, truncation, occlusion, box); DontCare boxes are pixel boxes."""
    n = len(rows)
    boxes = np.array([r[5] if r[2] != "dontcare" else [np.nan] * 7 for r in rows], float).reshape(n, 7)
    pixels = np.array([r[5] if r[2] == "dontcare" else [0, 0, 50, 50] for r in rows], float).reshape(n, 4)
    whole = np.array([(r[0], r[1], r[3], r[4]) for r in rows], np.int64).reshape(n, 4)
    return Labels(whole[:, 0], whole[:, 1], tuple(r[2] for r in rows), whole[:, 2], whole[:, 3], pixels, boxes)


def results(rows, height: float = 50.0) -> TrackRows:
    """rows: (frame, number, x, score)."""
    array = np.array(rows, float).reshape(-1, 4)
    boxes = np.array([box(r[2]) for r in rows], float).reshape(-1, 7)
    pixels = np.tile([0.0, 0, 50, height], (len(array), 1))
    return TrackRows(array[:, 0].astype(np.int64), array[:, 1].astype(np.int64), boxes, pixels, array[:, 3])


def counts(truth, rows, frames: int = 10) -> dict[str, float]:
    scene = build_scene(truth, rows, "car", frames)
    keep = np.ones(int(scene.row_track.max(initial=-1)) + 1, bool)
    return dict(zip(COUNTS, count_scene(scene, 0.25, keep)[0], strict=True))


def straight(frames: int, track: int = 1, y: float = 0.0):
    return [(f, track, "car", 0, 0, box(10.0 + f, y)) for f in range(frames)]


def test_overlap_of_boxes_by_hand():
    assert iou_3d(np.array([box(0)]), np.array([box(2.0)]))[0, 0] == pytest.approx(1 / 3)
    turned = np.array([[0, 0, 0, 4.0, 2, 1.5, np.pi / 2]])
    assert iou_3d(np.array([box(0)]), turned)[0, 0] == pytest.approx(4 / (8 + 8 - 4))
    lifted = np.array([[0, 0, 0.75, 4.0, 2, 1.5, 0]])
    assert iou_3d(np.array([box(0)]), lifted)[0, 0] == pytest.approx(0.5 / 1.5)


def test_perfect_tracks():
    truth = labels(straight(10) + straight(10, 2, 8.0))
    found = results([(f, 7, 10.0 + f, 0.9) for f in range(10)])
    other = np.array([box(10.0 + f, 8.0) for f in range(10)])
    rows = TrackRows(
        np.concatenate([found.frames, found.frames]),
        np.concatenate([found.numbers, found.numbers + 1]),
        np.concatenate([found.boxes, other]),
        np.concatenate([found.boxes_px, found.boxes_px]),
        np.concatenate([found.scores, found.scores]),
    )
    result = evaluate_mot([build_scene(truth, rows, "car", 10)], 0.25)
    assert (result.MOTA, result.MOTP, result.IDS, result.FRAG, result.FP, result.FN) == (
        100,
        pytest.approx(100),
        0,
        0,
        0,
        0,
    )
    hota = evaluate_hota([build_scene(truth, rows, "car", 10)])
    assert (hota.HOTA, hota.DetA, hota.AssA) == pytest.approx((100, 100, 100))


def test_misses_and_false_positives():
    rows = results([(f, 1, 10.0 + f, 0.9) for f in range(8)] + [(f, 2, 60.0, 0.95) for f in range(3)])
    result = evaluate_mot([build_scene(labels(straight(10)), rows, "car", 10)], 0.25)
    assert (result.TP, result.FN, result.FP) == (8, 2, 3)
    assert result.MOTA == pytest.approx(100 * (1 - 5 / 10))


def test_identity_switch_and_fragment():
    switch = counts(labels(straight(10)), results([(f, 1 if f < 5 else 2, 10.0 + f, 0.9) for f in range(10)]))
    assert (switch["switches"], switch["fragments"]) == (1, 1)
    gap = counts(labels(straight(10)), results([(f, 1, 10.0 + f, 0.9) for f in range(10) if f != 5]))
    assert (gap["switches"], gap["fragments"], gap["fn"]) == (0, 1, 1)


def test_uncounted_ground_truth_is_neither_missed_nor_false():
    hidden = [(f, 1, "car", 0, 3, box(10.0)) for f in range(4)] + [(f, 2, "van", 0, 0, box(30.0)) for f in range(4)]
    both = counts(labels(hidden), results([(0, 1, 10.0, 0.9), (0, 2, 30.0, 0.9)]))
    assert (both["gt"], both["fn"], both["fp"], both["ignored_tp"]) == (0, 0, 0, 2)


def test_small_results_and_dont_care_areas_are_left_out():
    truth = labels(straight(2))
    assert counts(truth, results([(0, 5, 80.0, 0.9)], height=25.0))["fp"] == 0
    assert counts(truth, results([(0, 5, 80.0, 0.9)], height=25.5))["fp"] == 1
    area = labels([*straight(2), (0, -1, "dontcare", -1, -1, [0, 0, 60, 30])])
    assert counts(area, results([(0, 5, 80.0, 0.9)]))["fp"] == 0
    assert counts(area, results([(1, 5, 80.0, 0.9)]))["fp"] == 1


def test_thresholds_sit_at_recall_steps():
    thresholds, recalls = recall_thresholds(np.linspace(1.0, 0.01, 100), 100)
    assert len(thresholds) == 40
    assert recalls == pytest.approx(np.arange(1, 41) / 40)
    assert thresholds[0] == pytest.approx(0.98, abs=0.011)
    half, _ = recall_thresholds(np.linspace(1.0, 0.01, 50), 100)
    assert len(half) == 20


def test_scaled_accuracy_of_half_recall():
    """20 objects, half tracked perfectly: sMOTA is 1 up to recall 0.5 and no threshold beyond, so sAMOTA is 50."""
    truth = labels([row for k in range(20) for row in straight(10, k, 6.0 * k)])
    rows = [(f, k, 10.0 + f, 0.99 - 0.01 * k) for k in range(10) for f in range(10)]
    found = results(rows)
    found.boxes[:, 1] = 6.0 * found.numbers
    result = evaluate_mot([build_scene(truth, found, "car", 10)], 0.25)
    assert result.sAMOTA_unrounded == pytest.approx(50.0)
    assert result.MOTA == pytest.approx(50.0)
    assert result.AMOTA_unrounded == pytest.approx(100 * sum(k / 40 for k in range(1, 21)) / 40, abs=1.6)


def test_hota_of_a_switch_by_hand():
    """One object, 10 frames, two tracks of 5: DetA 1, every pair's association 5 / 10."""
    rows = results([(f, 1 if f < 5 else 2, 10.0 + f, 0.9) for f in range(10)])
    result = evaluate_hota([build_scene(labels(straight(10)), rows, "car", 10)])
    assert result.DetA == pytest.approx(100)
    assert result.AssA == pytest.approx(50)
    assert result.HOTA == pytest.approx(100 * np.sqrt(0.5))


def test_nothing_found_and_nothing_there():
    none = results([])
    missed = evaluate_mot([build_scene(labels(straight(10)), none, "car", 10)], 0.25)
    assert (missed.sAMOTA, missed.FN, missed.TP) == (0, 10, 0)
    empty = evaluate_mot([build_scene(labels([]), none, "car", 10)], 0.25)
    assert (empty.sAMOTA, empty.FP, empty.FN) == (0, 0, 0)
