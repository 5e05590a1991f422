"""Suppression and decoding against slow exact references."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core.decode import (
    CentreHeads,
    bev_iou,
    decode_centres,
    decode_yaw,
    heat_peaks,
    nms_circle,
    nms_rotated,
    nms_soft,
)
from percept_ros.errors import ConfigError, InputError
from percept_ros.types import F64


def random_boxes(seed: int, count: int, spread_m: float = 8.0) -> tuple[F64, F64]:
    rng = np.random.default_rng(seed)
    low = (-spread_m, -spread_m, 0, 0.5, 0.5, 1, -4)
    high = (spread_m, spread_m, 1, 5, 2.5, 2, 4)
    return rng.uniform(low, high, (count, 7)), rng.uniform(0, 1, count)


def sampled_iou(a: F64, b: F64, step_m: float = 0.02) -> float:
    """Overlap over union by counting fine cells."""

    def inside(box: F64, xy: F64) -> np.ndarray:
        offset = xy - box[:2]
        along = offset @ (np.cos(box[6]), np.sin(box[6]))
        across = offset @ (-np.sin(box[6]), np.cos(box[6]))
        return (np.abs(along) <= box[3] / 2) & (np.abs(across) <= box[4] / 2)

    axis = [np.arange(min(a[i], b[i]) - 3.0, max(a[i], b[i]) + 3.0, step_m) for i in (0, 1)]
    xy = np.stack(np.meshgrid(*axis), -1).reshape(-1, 2)
    first, second = inside(a, xy), inside(b, xy)
    return float((first & second).sum() / (first | second).sum())


def greedy(overlaps: np.ndarray, scores: F64, threshold: float) -> list[int]:
    """The definition of greedy suppression."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(overlaps[i, j] <= threshold for j in kept):
            kept.append(int(i))
    return kept


def test_iou_matches_counting_cells() -> None:
    boxes, _ = random_boxes(3, 12, 2.0)
    overlaps = bev_iou(boxes, boxes)
    for i in range(0, 12, 3):
        for j in range(12):
            assert overlaps[i, j] == pytest.approx(sampled_iou(boxes[i], boxes[j]), abs=0.01)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 0, 4, 2, 1, 0.0]])
    b = np.array(
        [[2, 0, 0, 4, 2, 1, 0.0], [0, 0, 0, 4, 2, 1, np.pi], [0, 0, 0, 4, 2, 1, np.pi / 2], [9, 0, 0, 4, 2, 1, 0]]
    )
    np.testing.assert_allclose(bev_iou(a, b)[0], [1 / 3, 1.0, 4 / 12, 0.0], atol=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_rotated_suppression_is_exact(threshold: float) -> None:
    boxes, scores = random_boxes(5, 200)
    assert list(nms_rotated(boxes, scores, threshold)) == greedy(bev_iou(boxes, boxes), scores, threshold)


def test_circle_suppression_is_exact() -> None:
    boxes, scores = random_boxes(6, 200)
    distance = np.hypot(*(boxes[:, None, :2] - boxes[None, :, :2]).transpose(2, 0, 1))
    assert list(nms_circle(boxes, scores, 1.5)) == greedy(-distance, scores, -1.5 - 1e-12)


def test_soft_suppression_lowers_only_overlapped_boxes() -> None:
    boxes = np.array([[0, 0, 0, 4, 2, 1, 0.0], [2, 0, 0, 4, 2, 1, 0.0], [30, 0, 0, 4, 2, 1, 0.0]])
    kept, scores = nms_soft(boxes, np.array([0.9, 0.8, 0.7]), 0.3, 0.1)
    assert list(kept) == [0, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.8 * np.exp(-((1 / 3) ** 2) / 0.3)])
    assert list(nms_soft(boxes, np.array([0.9, 0.8, 0.7]), 0.3, 0.6)[0]) == [0, 2]


def test_all_variants_agree_on_boxes_far_apart() -> None:
    boxes, scores = random_boxes(8, 50)
    boxes[:, 0] = np.arange(50) * 10.0
    order = list(np.argsort(-scores))
    assert list(nms_rotated(boxes, scores, 0.1)) == order
    assert list(nms_circle(boxes, scores, 3.0)) == order
    assert list(nms_soft(boxes, scores, 0.3, 0.0)[0]) == order


def test_boxes_that_are_not_finite_are_refused() -> None:
    boxes, scores = random_boxes(1, 3)
    boxes[1, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        nms_rotated(boxes, scores, 0.2)


def test_peaks_match_a_max_pool() -> None:
    rng = np.random.default_rng(2)
    heat = rng.uniform(0, 1, (3, 20, 17)).astype(np.float32)
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    pooled = np.max([padded[:, i : i + 20, j : j + 17] for i in range(3) for j in range(3)], axis=0)
    expected = np.argwhere((heat == pooled) & (heat >= 0.3))
    c, y, x = heat_peaks(heat, 0.3, 1000)
    assert {tuple(row) for row in expected} == set(zip(c.tolist(), y.tolist(), x.tolist(), strict=True))
    assert np.all(np.diff(heat[c, y, x]) <= 0)
    assert len(heat_peaks(heat, 0.3, 5)[0]) == 5


def test_a_plateau_is_one_peak_and_nan_is_none() -> None:
    heat = np.full((1, 6, 6), 0.5, np.float32)
    assert [int(v[0]) for v in heat_peaks(heat, 0.1, 9)] == [0, 0, 0]
    assert len(heat_peaks(np.full((1, 6, 6), np.nan, np.float32), 0.1, 9)[0]) == 0


def test_yaw_takes_its_side_from_the_single_angle() -> None:
    yaw = np.array([0.3, -2.9, 1.5, 3.1, -1.6])
    heading = np.stack([0.2 * np.cos(yaw), 0.2 * np.sin(yaw), np.cos(2 * yaw), np.sin(2 * yaw)], 1)
    np.testing.assert_allclose(decode_yaw(heading), yaw, atol=1e-12)


@pytest.mark.parametrize("suppression", ["rotated", "circle", "soft", "peaks"])
def test_one_centre_becomes_its_box(suppression: str) -> None:
    how = CentreHeads(origin_m=-8.0, cell_m=0.8, suppression=suppression)
    heat, box = np.zeros((4, 20, 20), np.float32), np.zeros((10, 20, 20), np.float32)
    heat[:, 7, 12] = (0.8, 0.05, 0.0, 0.0)
    box[:, 7, 12] = [0.25, -0.5, 0.9, *np.log((4.2, 1.8, 1.5)), 0, -1, -1, 0]
    boxes, scores, classes = decode_centres(heat, box, how)
    np.testing.assert_allclose(boxes, [[-8 + 12.75 * 0.8, -8 + 7.0 * 0.8, 0.9, 4.2, 1.8, 1.5, -np.pi / 2]], atol=1e-6)
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)
    np.testing.assert_allclose(classes, [[0.8, 0.05, 0, 0]], atol=1e-6)


def test_unknown_suppression_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of"):
        CentreHeads(suppression="magic")
