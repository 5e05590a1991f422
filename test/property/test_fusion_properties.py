"""What fusion keeps, whatever is detected and seen."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from percept_ros.core.fusion import FusionConfig, fuse
from percept_ros.core.shapes import alone, extend_away
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Detections2D

SIZE = (640, 360)
VIEWS = {
    "front": CameraView(
        "front",
        2,
        np.array([[350.0, 0, 320, 0], [0, 350, 180, 0], [0, 0, 1, 0]]),
        np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]),
        *SIZE,
    )
}


def scene(seed: int, boxes: int, seen: int, points: int) -> tuple[Detections, dict[str, Detections2D], np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = np.column_stack(
        [
            rng.uniform((-20, -30, -1), (60, 30, 3), (boxes, 3)),
            rng.uniform((0.1, 0.1, 0.2), (15, 4, 4), (boxes, 3)),
            rng.uniform(-np.pi, np.pi, boxes),
        ]
    )
    shares = rng.dirichlet(np.ones(NUM_CLASSES), boxes) if boxes else np.zeros((0, NUM_CLASSES))
    mask = np.full(boxes, LIDAR_BIT, np.uint32)
    lidar = Detections(1, "base_link", rows, rng.random(boxes), shares, np.full((boxes, 2), np.nan), mask)
    low = rng.uniform(0, (600, 320), (seen, 2))
    pixels = np.hstack([low, np.minimum(low + rng.uniform(1, 300, (seen, 2)), SIZE)])
    camera = Detections2D("front", 1, pixels, rng.random(seen), rng.integers(0, NUM_CLASSES, seen))
    return lidar, {"front": camera}, rng.uniform((-20, -30, -2), (60, 30, 4), (points, 3)).astype(np.float32)


scenes = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 12), st.sampled_from([0, 3, 4000]))


@settings(max_examples=60, deadline=None)
@given(scenes)
@example((0, 1, 2, 4000))  # scattered returns without a dense layer
def test_fused_detections_are_detections(given_scene: tuple[int, int, int, int]) -> None:
    lidar, cameras, points = scene(*given_scene)
    before = lidar.boxes.copy(), lidar.scores.copy(), lidar.class_probabilities.copy()
    fused = fuse(lidar, cameras, VIEWS, points)
    for array, kept in zip((lidar.boxes, lidar.scores, lidar.class_probabilities), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    n = len(lidar)
    assert n <= len(fused) <= n + len(cameras["front"].scores)
    assert np.isfinite(fused.boxes).all()
    assert (fused.boxes[:, 3:6] > 0).all()
    assert ((fused.scores >= 0) & (fused.scores <= 1)).all()
    np.testing.assert_allclose(fused.class_probabilities.sum(axis=1), 1.0)
    assert (fused.sensors & LIDAR_BIT).all()
    seen_by_camera = (fused.sensors & 2) > 0
    assert seen_by_camera[n:].all()
    assert seen_by_camera.sum() <= len(cameras["front"].scores)
    lengths = {len(fused.velocity_mps), len(fused.sensors), len(fused.scores), len(fused.boxes)}
    assert lengths == {len(fused)}


@settings(max_examples=40, deadline=None)
@given(scenes)
def test_order_of_the_boxes_does_not_matter(given_scene: tuple[int, int, int, int]) -> None:
    lidar, cameras, _ = scene(*given_scene)
    turn = np.random.default_rng(0).permutation(len(lidar))
    names = ("boxes", "scores", "class_probabilities", "velocity_mps", "sensors")
    turned = Detections(1, "base_link", *(getattr(lidar, name)[turn] for name in names))
    rules = FusionConfig(propose=False)
    straight, other = fuse(lidar, cameras, VIEWS, None, rules), fuse(turned, cameras, VIEWS, None, rules)
    np.testing.assert_allclose(straight.scores[turn], other.scores)
    np.testing.assert_array_equal(straight.sensors[turn], other.sensors)


@settings(max_examples=60, deadline=None)
@given(scenes)
def test_extending_never_shrinks_and_keeps_the_near_sides(given_scene: tuple[int, int, int, int]) -> None:
    boxes = scene(*given_scene)[0].boxes
    grown = extend_away(boxes, np.full((len(boxes), 2), (4.2, 1.75)), np.zeros(2))
    assert (grown[:, 3:5] >= boxes[:, 3:5] - 1e-12).all()
    for old, new in zip(boxes, grown, strict=True):
        for k, axis in enumerate(((np.cos(old[6]), np.sin(old[6])), (-np.sin(old[6]), np.cos(old[6])))):
            middle, half, whole = float(np.dot(old[:2], axis)), old[3 + k] / 2, new[3 + k] / 2
            if abs(middle) > half:
                near = middle - np.sign(middle) * half
                assert abs(near - (np.dot(new[:2], axis) - np.sign(middle) * whole)) < 1e-9


@settings(max_examples=60, deadline=None)
@given(scenes)
def test_the_best_box_always_stays(given_scene: tuple[int, int, int, int]) -> None:
    lidar = scene(*given_scene)[0]
    kept = alone(lidar.boxes, lidar.scores)
    assert len(set(kept.tolist())) == len(kept) <= len(lidar)
    if len(lidar):
        assert kept[0] == lidar.scores.argmax()
        again = alone(lidar.boxes[kept], lidar.scores[kept])
        np.testing.assert_array_equal(again, np.arange(len(kept)))
