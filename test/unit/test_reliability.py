"""Reliability curves by hand, what counts as true, and the page that shows them."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core.tracking_kernel import RANGE_BANDS, innovation_table
from percept_ros.evaluate.mot_report import innovation_rows, reliability_chart
from percept_ros.evaluate.reliability import match_boxes, reliability
from percept_ros.evaluate.tracking_speed import crowd_ms


def test_curve_by_hand():
    curve = reliability(
        [np.array([0.05, 0.05, 0.95]), np.array([1.0])], [np.array([False, True, True]), np.array([True])]
    )
    assert [(b["from"], b["rows"]) for b in curve["bins"]] == [(0.0, 2), (0.9, 2)]
    assert [b["predicted"] for b in curve["bins"]] == pytest.approx([0.05, 0.975])
    assert [b["observed"] for b in curve["bins"]] == pytest.approx([0.5, 1.0])
    assert curve["ece"] == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert curve["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 4)


def test_nothing_to_judge():
    assert reliability([], []) == {"rows": 0, "bins": []}
    assert "no rows" in reliability_chart(reliability([], []))


def test_honest_predictions_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    assert reliability([p], [rng.random(len(p)) < p])["ece"] < 0.01


def test_boxes_match_once():
    boxes = np.array([[10.0, 0, 1, 4, 2, 1.5, 0], [10.5, 0, 1, 4, 2, 1.5, 0], [30, 0, 1, 4, 2, 1.5, 0]])
    rows, gt = match_boxes(boxes, boxes[:1] + np.eye(7)[0] * 0.1)
    assert (rows.tolist(), gt.tolist()) == ([0], [0])
    assert len(match_boxes(boxes, boxes[:0])[0]) == 0


def test_innovation_table_by_hand():
    counts = np.zeros((len(RANGE_BANDS), 5))
    counts[0], counts[2] = [10, 15, 20, 1, -3.0], [10, 25, 20, 0, -4.0]
    table = innovation_table(counts)
    assert (table["matches"], table["mean_nis"], table["beyond_95"]) == (20, 1.0, 0.05)
    assert table["by_range"][RANGE_BANDS[0]]["mean_nis"] == 0.75
    assert table["by_range"][RANGE_BANDS[1]] == {"matches": 0}
    assert "1.00" in innovation_rows(table)


def test_a_crowd_is_tracked_one_to_one():
    found = crowd_ms(objects=40, frames=20)
    assert (found["objects"], found["tracks"]) == (40, 40)
    assert found["median_ms"] > 0
