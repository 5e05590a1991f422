"""The tracker kernel, frame by frame, against the same tracker written in plain numpy (tracking_reference.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tracking_reference import ReferenceTracker

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import FEATURES
from percept_ros.core.tracking import Tracker, base_projection, tracker_parameters
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.evaluate.kitti_io import project_boxes
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Detections2D, ObjectClass

SIZES = {
    ObjectClass.CAR: (4.2, 1.8, 1.5),
    ObjectClass.TRUCK: (8.0, 2.5, 3.2),
    ObjectClass.BICYCLE: (1.8, 0.6, 1.7),
    ObjectClass.PEDESTRIAN: (0.7, 0.6, 1.7),
    ObjectClass.UNKNOWN: (1.0, 1.0, 1.0),
}


def parameters() -> TrackerParameters:
    config = TrackingConfig(publish_existence=0.1, confirm_existence=0.2, min_hits=2)
    chosen = tracker_parameters(config, None)
    return replace(chosen, classes=tuple(replace(c, camera_birth=0.6) for c in chosen.classes))


def view() -> CameraView:
    base_SE3_camera = np.eye(4)
    base_SE3_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_SE3_camera[:3, 3] = 0.3, 0.1, 1.6
    projection = np.array([[700.0, 0, 600, 40], [0, 710, 180, 0], [0, 0, 1, 0]])
    return CameraView("front", 2, projection, base_SE3_camera, 1200, 360)


def pose(frame: int) -> np.ndarray:
    angle = 0.3 + 0.01 * frame
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0, 3 + 0.4 * frame], [s, c, 0, 1 + 0.1 * frame], [0, 0, 1, 0.5], [0, 0, 0, 1]])


def world(seed: int, frames: int = 45, objects: int = 14) -> list[tuple[Detections, Detections2D]]:
    """Crowded and noisy: objects that turn, stop being seen, change class, weak and false boxes, camera boxes alone."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(SIZES), objects)
    start, speed = rng.uniform([3, -18], [45, 18], (objects, 2)), rng.normal(0, 3, objects)
    yaw0, turn = rng.uniform(-3.1, 3.1, objects), rng.normal(0, 0.2, objects)
    stamp, found, camera = 10**9, [], view()
    for frame in range(frames):
        stamp += int(rng.choice([5e7, 1e8, 1e8, 2.3e8]))
        yaw = yaw0 + turn * 0.1 * frame
        at = start + speed[:, None] * 0.1 * frame * np.column_stack([np.cos(yaw), np.sin(yaw)])
        sizes = np.array([SIZES[ObjectClass(k)] for k in kinds]) * rng.normal(1, 0.05, (objects, 3))
        local = np.column_stack([at - pose(frame)[:2, 3], sizes[:, 2] / 2 - 0.5, sizes, yaw - 0.3 - 0.01 * frame])
        local[:, :2] = local[:, :2] @ pose(frame)[:2, :2]
        local[:, :2] += rng.normal(0, 0.12, (objects, 2))
        local[:, 6] += rng.normal(0, 0.05, objects) + np.pi * (rng.random(objects) < 0.1)
        shares = rng.dirichlet(np.full(NUM_CLASSES, 0.15), objects) * 0.4
        shares[np.arange(objects), kinds] += 0.6
        seen = rng.random(objects) < 0.75
        seen[:7] &= frame > 14  # only cameras see some of them at first
        n = int(seen.sum())
        mask, unknown = np.full(n, LIDAR_BIT, np.uint32), np.full((n, 2), np.nan)
        lidar = Detections(stamp, "base_link", local[seen], rng.uniform(0.05, 0.99, n), shares[seen], unknown, mask)
        boxes, visible = project_boxes(local, base_projection(camera), camera.width_px, camera.height_px)
        k = np.flatnonzero(visible & (rng.random(objects) < 0.7))
        flat = Detections2D(
            "front", stamp, boxes[k] + rng.normal(0, 1.5, (len(k), 4)), rng.uniform(0.2, 1, len(k)), kinds[k]
        )
        found.append((lidar, flat))
    return found


@pytest.mark.parametrize("with_camera", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_step_agrees_with_plain_numpy(seed, with_camera):
    chosen, camera = parameters(), view()
    kernel, reference = Tracker(TrackingConfig(), seed=1, parameters=chosen), ReferenceTracker(chosen)
    shown, by_camera = 0, False
    for frame, (lidar, seen) in enumerate(world(seed)):
        cameras = {"front": seen} if with_camera else {}
        tracks = kernel.step(lidar, cameras, {"front": camera}, pose(frame))
        expected = reference.step(lidar, seen if with_camera else None, camera, pose(frame))
        numbers, classes, features, boxes, existence = kernel.kernel.evidence()
        assert numbers.tolist() == [t.number for t in reference.tracks]
        assert classes.tolist() == [t.kind for t in reference.tracks]
        assert np.allclose(boxes, [reference.box(t) for t in reference.tracks], atol=1e-7)
        assert np.allclose(existence, [t.existence for t in reference.tracks], atol=1e-9)
        told = [reference.features(t, pose(frame)[:3, 3], lidar.stamp_ns, camera) for t in reference.tracks]
        for column, name in enumerate(FEATURES):
            assert np.allclose(features[:, column], [row[name] for row in told], atol=1e-6), name
        assert len(tracks) == len(expected)
        for row, t in enumerate(expected):
            assert np.allclose(tracks.velocity_mps[row], reference.velocity(t), atol=1e-7)
            assert np.allclose(tracks.pose_covariance[row, :2, :2], t.P[:2, :2], atol=1e-9)
            assert np.allclose(tracks.class_probabilities[row], t.probs, atol=1e-9)
            assert (tracks.sensors[row], tracks.since_measurement_ns[row]) == (
                t.sensors,
                lidar.stamp_ns - t.measured_ns,
            )
        shown += len(expected)
        by_camera |= any(not t.scores for t in reference.tracks)
    assert shown > 100
    assert by_camera == with_camera
