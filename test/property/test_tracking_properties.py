"""What holds for every tracker run, whatever comes in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.config import TrackingConfig
from percept_ros.core.tracking import Tracker, base_projection, tracker_parameters
from percept_ros.core.tracking_kernel import innovation_table
from percept_ros.evaluate.kitti_io import project_boxes
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Detections2D, ObjectClass, Tracks

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


CONFIG = TrackingConfig(publish_existence=0.05, confirm_existence=0.1, min_hits=1)


def camera_tracker() -> Tracker:
    """A tracker to which camera boxes also give birth."""
    parameters = tracker_parameters(CONFIG, None)
    classes = tuple(replace(c, camera_birth=0.5) for c in parameters.classes)
    return Tracker(CONFIG, seed=5, parameters=replace(parameters, classes=classes))


def run(found: list[Detections], pose: np.ndarray | None = None) -> list[Tracks]:
    tracker = Tracker(CONFIG, seed=5)
    return [tracker.step(d, {}, {}, np.eye(4) if pose is None else pose) for d in found]


def view() -> CameraView:
    base_SE3_camera = np.eye(4)
    base_SE3_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_SE3_camera[2, 3] = 1.6
    projection = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
    return CameraView("front", 2, projection, base_SE3_camera, 1200, 360)


def looks(found: list[Detections], seed: int) -> list[Detections2D]:
    """Camera boxes of most objects ahead, and of some that the LiDAR missed in that frame."""
    rng, seen, camera = np.random.default_rng(seed), [], view()
    for d in found:
        boxes, visible = project_boxes(d.boxes, base_projection(camera), camera.width_px, camera.height_px)
        k = np.flatnonzero(visible & (rng.random(len(d)) < 0.8))
        extra = rng.uniform([50, 150, 80, 180], [900, 160, 120, 230], (int(rng.integers(0, 3)), 4))
        extra[:, 2] += extra[:, 0] - 50
        boxes = np.vstack([boxes[k] + rng.normal(0, 1, (len(k), 4)), extra])
        kinds = np.concatenate([d.class_ids[k], np.full(len(extra), ObjectClass.CAR)]).astype(np.int64)
        seen.append(Detections2D("front", d.stamp_ns, boxes, rng.uniform(0.3, 1, len(boxes)), kinds))
    return seen


def run_with_camera(
    found: list[Detections], seen: list[Detections2D], pose: np.ndarray | None = None, tracker: Tracker | None = None
) -> list[Tracks]:
    used, views = tracker or camera_tracker(), {"front": view()}
    fixed = np.eye(4) if pose is None else pose
    return [used.step(d, {"front": s}, views, fixed) for d, s in zip(found, seen, strict=True)]


def shuffled(found: list[Detections], seed: int) -> list[Detections]:
    rng, mixed = np.random.default_rng(seed), []
    for d in found:
        k = rng.permutation(len(d))
        arrays = (d.boxes, d.scores, d.class_probabilities, d.velocity_mps, d.sensors)
        mixed.append(Detections(d.stamp_ns, d.frame_id, *(a[k] for a in arrays)))
    return mixed


def check_frame(tracks: Tracks, config: TrackingConfig) -> None:
    assert len({row.tobytes() for row in tracks.id}) == len(tracks)
    assert (tracks.since_measurement_ns <= config.max_coast_s * 1e9).all()
    assert (tracks.existence >= 0).all()
    assert (tracks.existence <= 1).all()
    assert np.allclose(tracks.class_probabilities.sum(axis=1), 1)
    for block in (*tracks.pose_covariance, *tracks.twist_covariance):
        assert np.array_equal(block, block.T)
        assert np.linalg.eigvalsh(block).min() > 0
    assert (tracks.boxes[:, 3:6] > 0).all()
    assert np.isfinite(tracks.boxes).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_invariants_of_every_frame(seed):
    found = world(seed)
    for tracks in run(found):
        check_frame(tracks, CONFIG)
    for tracks in run_with_camera(found, looks(found, seed)):
        check_frame(tracks, CONFIG)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_an_id_is_never_given_twice(seed):
    """An id that was gone for longer than any track lives does not come back, not even after a reset."""
    tracker, last = camera_tracker(), {}
    for part in range(3):
        found = [replace(d, stamp_ns=d.stamp_ns + part * 10**11) for d in world(seed + part)]
        for tracks in run_with_camera(found, looks(found, seed), tracker=tracker):
            for row in tracks.id:
                before = last.get(row.tobytes(), tracks.stamp_ns)
                assert tracks.stamp_ns - before <= CONFIG.max_lidar_coast_s * 1e9
                last[row.tobytes()] = tracks.stamp_ns
    assert tracker.resets["time_jump"] == 2


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_coasting_ends_within_the_limit_and_uncertainty_only_grows(seed):
    tracker = Tracker(CONFIG, seed=5)
    found = world(seed)
    for d in found:
        tracker.step(d, {}, {}, np.eye(4))
    spread: dict[bytes, float] = {}
    for k in range(1, 40):
        tracks = tracker.coast(found[-1].stamp_ns + k * 10**8, np.eye(4))
        check_frame(tracks, CONFIG)
        for row, block in zip(tracks.id, tracks.pose_covariance, strict=True):
            area = float(np.linalg.det(block[:2, :2]))
            assert area > spread.get(row.tobytes(), 0.0)
            spread[row.tobytes()] = area
    assert len(tracks) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_detections_does_not_matter(seed):
    found = world(seed)
    for a, b in zip(run(found), run(shuffled(found, seed)), strict=True):
        assert a.id.tobytes() == b.id.tobytes()
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.existence, b.existence)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_camera_boxes_does_not_matter(seed):
    found, rng = world(seed), np.random.default_rng(seed)
    seen, mixed = looks(found, seed), []
    for s in seen:
        k = rng.permutation(len(s.scores))
        mixed.append(replace(s, boxes_px=s.boxes_px[k], scores=s.scores[k], class_ids=s.class_ids[k]))
    for a, b in zip(run_with_camera(found, seen), run_with_camera(shuffled(found, seed), mixed), strict=True):
        assert a.id.tobytes() == b.id.tobytes()
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.existence, b.existence)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3.1, 3.1), st.floats(-500, 500), st.floats(-500, 500))
def test_turning_and_moving_the_world_turns_and_moves_the_tracks(seed, angle, dx, dy):
    c, s = np.cos(angle), np.sin(angle)
    pose = np.array([[c, -s, 0, dx], [s, c, 0, dy], [0, 0, 1, 3.0], [0, 0, 0, 1]])
    found = world(seed)
    seen = looks(found, seed)
    here = [*run(found), *run_with_camera(found, seen)]
    there = [*run(found, pose), *run_with_camera(found, seen, pose)]
    for a, b in zip(here, there, strict=True):
        assert a.id.tobytes() == b.id.tobytes()
        assert np.allclose(a.boxes[:, :3] @ pose[:3, :3].T + pose[:3, 3], b.boxes[:, :3], atol=1e-6)
        assert np.allclose(a.velocity_mps @ pose[:2, :2].T, b.velocity_mps, atol=1e-6)
        turn = a.boxes[:, 6] + angle - b.boxes[:, 6]
        assert np.allclose(np.cos(turn), 1, atol=1e-9)
        assert np.allclose(a.existence, b.existence, atol=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_innovation_tables_add_up(seed):
    tracker = Tracker(CONFIG, seed=5)
    for d in world(seed, frames=40):
        tracker.step(d, {}, {}, np.eye(4))
    for counts in tracker.kernel.consistency():
        table = innovation_table(counts)
        assert table["matches"] == sum(row["matches"] for row in table["by_range"].values())
        if table["matches"]:
            assert table["mean_nis"] > 0
            assert 0 <= table["beyond_95"] <= 1
