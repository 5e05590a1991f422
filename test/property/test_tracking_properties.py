"""What holds for every tracker run, whatever comes in."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.config import TrackingConfig
from percept_ros.core.tracking import Tracker
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, Detections, ObjectClass, Tracks

SIZES = {
    ObjectClass.CAR: (4.2, 1.8, 1.5),
    ObjectClass.PEDESTRIAN: (0.7, 0.6, 1.7),
    ObjectClass.UNKNOWN: (1.0, 1.0, 1.0),
}


def world(seed: int, frames: int = 25, objects: int = 8) -> list[Detections]:
    """Moving objects, noise, misses, false boxes, uneven time."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(SIZES), objects)
    start, velocity = rng.uniform(-30, 30, (objects, 2)), rng.normal(0, 4, (objects, 2))
    stamp, found = 1_000_000_000, []
    for _ in range(frames):
        stamp += int(rng.uniform(0.05, 0.2) * 1e9)
        seen = np.flatnonzero(rng.random(objects) < 0.8)
        centres = start[seen] + velocity[seen] * stamp * 1e-9 + rng.normal(0, 0.1, (len(seen), 2))
        yaw = np.arctan2(velocity[seen, 1], velocity[seen, 0])
        sizes = np.array([SIZES[ObjectClass(k)] for k in kinds[seen]]).reshape(-1, 3)
        boxes = np.column_stack([centres, sizes[:, 2] / 2, sizes, yaw])
        classes = kinds[seen]
        if rng.random() < 0.5:
            boxes = np.vstack([boxes, [*rng.uniform(-30, 30, 2), 0.8, 3, 2, 1.5, rng.uniform(-3, 3)]])
            classes = np.append(classes, ObjectClass.CAR)
        n = len(boxes)
        scores = rng.uniform(0.2, 0.99, n)
        mask, unknown = np.full(n, LIDAR_BIT, np.uint32), np.full((n, 2), np.nan)
        found.append(
            Detections(stamp, "base_link", boxes, scores, np.eye(NUM_CLASSES)[classes.astype(int)], unknown, mask)
        )
    return found


def run(found: list[Detections], pose: np.ndarray | None = None) -> list[Tracks]:
    tracker = Tracker(TrackingConfig(publish_existence=0.05, confirm_existence=0.1, min_hits=1), seed=5)
    return [tracker.step(d, {}, {}, np.eye(4) if pose is None else pose) for d in found]


def shuffled(found: list[Detections], seed: int) -> list[Detections]:
    rng, mixed = np.random.default_rng(seed), []
    for d in found:
        k = rng.permutation(len(d))
        arrays = (d.boxes, d.scores, d.class_probabilities, d.velocity_mps, d.sensors)
        mixed.append(Detections(d.stamp_ns, d.frame_id, *(a[k] for a in arrays)))
    return mixed


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_invariants_of_every_frame(seed):
    config = TrackingConfig()
    for tracks in run(world(seed)):
        assert len({row.tobytes() for row in tracks.id}) == len(tracks)
        assert (tracks.since_measurement_ns <= config.max_coast_s * 1e9).all()
        assert (tracks.existence >= 0).all()
        assert (tracks.existence <= 1).all()
        assert np.allclose(tracks.class_probabilities.sum(axis=1), 1)
        for block in (*tracks.pose_covariance, *tracks.twist_covariance):
            assert np.array_equal(block, block.T)
            assert np.linalg.eigvalsh(block).min() > 0
        assert (tracks.boxes[:, 3:6] > 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_detections_does_not_matter(seed):
    found = world(seed)
    for a, b in zip(run(found), run(shuffled(found, seed)), strict=True):
        assert a.id.tobytes() == b.id.tobytes()
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.existence, b.existence)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3.1, 3.1), st.floats(-500, 500), st.floats(-500, 500))
def test_turning_and_moving_the_world_turns_and_moves_the_tracks(seed, angle, dx, dy):
    c, s = np.cos(angle), np.sin(angle)
    pose = np.array([[c, -s, 0, dx], [s, c, 0, dy], [0, 0, 1, 3.0], [0, 0, 0, 1]])
    found = world(seed)
    for a, b in zip(run(found), run(found, pose), strict=True):
        assert a.id.tobytes() == b.id.tobytes()
        assert np.allclose(a.boxes[:, :3] @ pose[:3, :3].T + pose[:3, 3], b.boxes[:, :3], atol=1e-6)
        assert np.allclose(a.velocity_mps @ pose[:2, :2].T, b.velocity_mps, atol=1e-6)
        turn = a.boxes[:, 6] + angle - b.boxes[:, 6]
        assert np.allclose(np.cos(turn), 1, atol=1e-9)
        assert np.allclose(a.existence, b.existence, atol=1e-9)
