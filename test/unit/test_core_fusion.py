"""Late fusion: assignment, Bayes, frustum proposals, by hand and on a ray-cast scene."""

from __future__ import annotations

import numpy as np
import pytest
from small_scene import BASE_SE3_CAMERA, BASE_SE3_LIDAR, scan

from percept_ros.core.frustum import fit_rectangle
from percept_ros.core.fusion import FusionConfig, fuse, match
from percept_ros.core.geometry import inverse, project_boxes
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Detections2D, ObjectClass

SIZE = (1280, 480)
K = np.array([[700.0, 0, 640, 0], [0, 700, 240, 0], [0, 0, 1, 0]])
VIEW = CameraView("front", 2, K, BASE_SE3_CAMERA, *SIZE)
CAR = [15.0, 2.0, 0.85, 4.4, 1.8, 1.5, 0.0]
POST = [15.0, -4.0, 0.85, 0.6, 0.6, 1.7, 0.0]


def detections(boxes: list[list[float]], classes: list[ObjectClass], scores: list[float]) -> Detections:
    probabilities = np.full((len(boxes), NUM_CLASSES), 0.05)
    for row, class_id in enumerate(classes):
        probabilities[row, class_id] = 0.65
    return Detections(
        7,
        "base_link",
        np.array(boxes, float).reshape(-1, 7),
        np.array(scores, float),
        probabilities,
        np.full((len(boxes), 2), np.nan),
        np.full(len(boxes), LIDAR_BIT, np.uint32),
    )


def image_boxes(boxes: list[list[float]], classes: list[ObjectClass], scores: list[float]) -> Detections2D:
    pixels, _ = project_boxes(K, inverse(BASE_SE3_CAMERA), np.array(boxes, float).reshape(-1, 7), SIZE)
    return Detections2D("front", 7, pixels, np.array(scores, float), np.array(classes, np.int64))


def test_seen_by_the_camera_rises_and_unseen_falls() -> None:
    lidar = detections([CAR, POST], [ObjectClass.CAR, ObjectClass.PEDESTRIAN], [0.5, 0.5])
    fused = fuse(lidar, {"front": image_boxes([CAR], [ObjectClass.CAR], [0.8])}, {"front": VIEW}, None)
    # odds 1 times (0.1 + 0.9 * 0.8) / (0.3 - 0.25 * 0.8) = 8.2; odds 1 times 0.45
    np.testing.assert_allclose(fused.scores, [8.2 / 9.2, 0.45 / 1.45])
    np.testing.assert_array_equal(fused.sensors, [LIDAR_BIT | 2, LIDAR_BIT])
    assert fused.class_probabilities[0, ObjectClass.CAR] > lidar.class_probabilities[0, ObjectClass.CAR]
    np.testing.assert_allclose(fused.class_probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fused.boxes, lidar.boxes)


def test_behind_outside_or_far_away_is_not_held_against_it() -> None:
    hidden, outside, far = (
        [30.0, 4.0, 0.85, 4.4, 1.8, 1.5, 0.0],
        [-15.0, 0, 0.85, 4.4, 1.8, 1.5, 0],
        [90.0, -9, 0.8, 4, 2, 1.5, 0],
    )
    lidar = detections([CAR, hidden, outside, far], [ObjectClass.CAR] * 4, [0.5] * 4)
    fused = fuse(lidar, {"front": image_boxes([CAR], [ObjectClass.CAR], [0.9])}, {"front": VIEW}, None)
    np.testing.assert_allclose(fused.scores[1:], 0.5)


def test_camera_names_an_unknown_cluster_and_the_box_grows_away() -> None:
    rear = [12.9, 2.0, 0.85, 0.2, 1.8, 1.5, 0.0]
    lidar = detections([rear], [ObjectClass.UNKNOWN], [0.1])
    fused = fuse(lidar, {"front": image_boxes([CAR], [ObjectClass.CAR], [0.9])}, {"front": VIEW}, None)
    assert fused.class_ids[0] == ObjectClass.CAR
    assert fused.boxes[0, 3] == pytest.approx(4.2)
    assert fused.boxes[0, 0] - fused.boxes[0, 3] / 2 == pytest.approx(12.8)
    assert fused.scores[0] > 0.5


def test_class_of_the_camera_decides_between_like_shapes() -> None:
    lidar = detections([POST], [ObjectClass.PEDESTRIAN], [0.4])
    lidar.class_probabilities[0, ObjectClass.BICYCLE] = 0.5
    fused = fuse(lidar, {"front": image_boxes([POST], [ObjectClass.BICYCLE], [0.9])}, {"front": VIEW}, None)
    assert fused.class_ids[0] == ObjectClass.BICYCLE


def test_best_total_assignment_not_greedy() -> None:
    left, right = [15.0, 1.0, 0.85, 4.4, 1.8, 1.5, 0.0], [15.0, -1.2, 0.85, 4.4, 1.8, 1.5, 0.0]
    lidar = detections([left, right], [ObjectClass.CAR] * 2, [0.5] * 2)
    seen = image_boxes([right, left], [ObjectClass.CAR] * 2, [0.8] * 2)
    pixels, visible = project_boxes(K, inverse(BASE_SE3_CAMERA), lidar.boxes, SIZE)
    rows, columns = match(lidar, pixels, visible, np.array([15.0, 15.0]), seen, FusionConfig())
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_wall_is_not_called_a_car() -> None:
    wall = [16.0, 2.0, 1.0, 20.0, 0.3, 2.0, np.pi / 2]
    lidar = detections([wall], [ObjectClass.UNKNOWN], [0.1])
    seen = image_boxes([wall], [ObjectClass.CAR], [0.9])
    fused = fuse(lidar, {"front": seen}, {"front": VIEW}, None)
    assert fused.class_ids[0] == ObjectClass.UNKNOWN


def test_image_box_with_returns_inside_becomes_a_box() -> None:
    points = scan([CAR])
    base = points + np.array([0, 0, BASE_SE3_LIDAR[2, 3]], np.float32)
    seen = image_boxes([CAR], [ObjectClass.CAR], [0.8])
    fused = fuse(detections([], [], []), {"front": seen}, {"front": VIEW}, base)
    assert len(fused) == 1
    assert fused.class_ids[0] == ObjectClass.CAR
    assert np.hypot(fused.boxes[0, 0] - CAR[0], fused.boxes[0, 1] - CAR[1]) < 0.8
    assert fused.sensors[0] == LIDAR_BIT | 2
    assert fused.scores[0] == pytest.approx(0.6)
    np.testing.assert_allclose(fused.class_probabilities.sum(axis=1), 1.0)


def test_image_box_on_empty_road_or_too_weak_becomes_nothing() -> None:
    base = scan([]) + np.array([0, 0, BASE_SE3_LIDAR[2, 3]], np.float32)
    nothing = detections([], [], [])
    sky = Detections2D("front", 7, np.array([[600.0, 10, 700, 60]]), np.array([0.9]), np.array([1]))
    assert len(fuse(nothing, {"front": sky}, {"front": VIEW}, base)) == 0
    weak = image_boxes([CAR], [ObjectClass.CAR], [0.2])
    car = scan([CAR]) + np.array([0, 0, BASE_SE3_LIDAR[2, 3]], np.float32)
    assert len(fuse(nothing, {"front": weak}, {"front": VIEW}, car)) == 0
    off = FusionConfig(propose=False)
    assert len(fuse(nothing, {"front": image_boxes([CAR], [ObjectClass.CAR], [0.9])}, {"front": VIEW}, car, off)) == 0


def test_without_views_or_boxes_nothing_changes() -> None:
    lidar = detections([CAR], [ObjectClass.CAR], [0.5])
    assert fuse(lidar, {}, {"front": VIEW}, None) is lidar
    assert fuse(lidar, {"front": image_boxes([CAR], [ObjectClass.CAR], [0.8])}, {}, None) is lidar


@pytest.mark.parametrize("yaw", [0.0, 0.3, 0.8])
def test_rectangle_round_two_edges(yaw: float) -> None:
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    centre = np.array([12.0, -3.0])
    side = np.linspace(-1, 1, 800)
    edges = [np.column_stack([side * 2, 0 * side + k]) for k in (-0.9, 0.9)]
    edges += [np.column_stack([0 * side + k, side * 0.9]) for k in (-2.0, 2.0)]
    points = np.vstack(edges) @ turn.T + centre
    # Only what a sensor at the origin sees: the nearest point in each direction.
    angle = np.round(np.arctan2(points[:, 1], points[:, 0]), 3)
    near = [min(np.flatnonzero(angle == a), key=lambda i: np.hypot(*points[i])) for a in np.unique(angle)]
    row = fit_rectangle(points[near].astype(np.float32), np.zeros(2))
    assert row[2] % (np.pi / 2) == pytest.approx(yaw, abs=0.06)
    assert sorted(row[3:5]) == pytest.approx([1.8, 4.0], abs=0.15)
    assert row[5] < 0.1


def test_rectangle_needs_finite_points() -> None:
    for bad in (np.zeros((0, 2), np.float32), np.full((3, 2), np.nan, np.float32), np.zeros((3, 3), np.float32)):
        with pytest.raises(ValueError, match="finite points"):
            fit_rectangle(bad, np.zeros(2))
