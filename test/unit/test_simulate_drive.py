"""Drives: the truth holds the points, things move as they say, the same seed gives the same bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.geometry import inverse
from percept_ros.errors import ConfigError
from percept_ros.replay.simulated import record_drive
from percept_ros.settings import parse
from percept_ros.simulate.drive import PERIOD_NS, SEEN_PX, SimulateConfig, SimulatedFrame, simulate_drive
from percept_ros.simulate.world import World
from percept_ros.types import LIDAR_BIT, TrackState, camera_bit

SMALL = SimulateConfig(seconds=1.0, cameras=2, beams=32, width_px=160, height_px=90)


@pytest.fixture(scope="module")
def drive() -> list[SimulatedFrame]:
    return list(simulate_drive(SMALL, 4))


def at_their_times(frame: SimulatedFrame) -> np.ndarray:
    """(P, 3) points in the fixed frame, each by the ego pose of its own time, and (P,) times."""
    cloud, motion = frame.sensors.cloud, frame.motion[-1]
    assert cloud is not None
    assert cloud.time_offset_s is not None
    base = cloud.points + frame.sensors.base_SE3["lidar"][:3, 3]
    t = cloud.time_offset_s.astype(float)
    pose = motion.fixed_SE3_base
    turned, ahead = motion.yaw_rate_radps * t, pose[:2, 0]
    cos, sin = np.cos(turned / 2), np.sin(turned / 2)
    moved = np.column_stack([cos * ahead[0] - sin * ahead[1], sin * ahead[0] + cos * ahead[1]])
    fixed = base @ pose[:3, :3].T
    cos, sin = np.cos(turned), np.sin(turned)
    spun = np.column_stack([cos * fixed[:, 0] - sin * fixed[:, 1], sin * fixed[:, 0] + cos * fixed[:, 1], fixed[:, 2]])
    spun += pose[:3, 3]
    spun[:, :2] += motion.speed_mps * t[:, None] * moved
    spun[:, 2] += motion.speed_mps * t * pose[2, 0]
    return spun


def test_points_of_objects_lie_in_their_boxes(drive: list[SimulatedFrame]) -> None:
    checked = 0
    for frame in drive[::3]:
        points = at_their_times(frame)
        t = frame.sensors.cloud.time_offset_s.astype(float)  # type: ignore[union-attr]
        for row in np.flatnonzero(frame.points_inside >= 30):
            box, velocity = frame.truth.boxes[row], frame.truth.velocity_mps[row]
            d = points - box[:3]
            d[:, :2] -= velocity * t[:, None]
            cos, sin = np.cos(box[6]), np.sin(box[6])
            own = np.column_stack([cos * d[:, 0] + sin * d[:, 1], -sin * d[:, 0] + cos * d[:, 1], d[:, 2]])
            inside = (np.abs(own) < box[3:6] / 2 + [0.15, 0.3, 0.15]).all(axis=1)
            # what the caster ascribes to the object is inside its box (the ground under it may be too)
            assert inside.sum() >= 0.97 * frame.points_inside[row]
            checked += 1
    assert checked > 10


def test_sensor_sets_are_complete_and_in_step(drive: list[SimulatedFrame]) -> None:
    assert len(drive) == 10
    stamps = [frame.sensors.stamp_ns for frame in drive]
    assert set(np.diff(stamps)) == {PERIOD_NS}
    for frame in drive:
        assert frame.sensors.complete
        assert set(frame.sensors.cameras) == {"cam_front", "cam_back"}
        assert all(
            abs(image.stamp_ns - frame.sensors.stamp_ns) <= 45_000_000 for image in frame.sensors.cameras.values()
        )
        assert len(frame.sensors.views) == 2
        cloud = frame.sensors.cloud
        assert cloud is not None
        assert cloud.ring is not None
        assert np.isfinite(cloud.points).all()
        assert cloud.ring.max() < 32


def test_truth_says_who_saw_what(drive: list[SimulatedFrame]) -> None:
    frame = drive[-1]
    by_lidar = (frame.truth.sensors & LIDAR_BIT) > 0
    np.testing.assert_array_equal(by_lidar, frame.points_inside > 0)
    by_camera = (frame.truth.sensors & (camera_bit(0) | camera_bit(1))) > 0
    assert (frame.visible_px[by_camera] >= SEEN_PX).all()
    assert by_lidar.sum() > 5
    assert by_camera.any()
    assert (frame.truth.state == TrackState.CONFIRMED).all()
    assert len({row.tobytes() for row in frame.truth.id}) == len(frame.truth)


def test_objects_move_as_their_velocity_says(drive: list[SimulatedFrame]) -> None:
    moved = 0
    for before, after in pairwise(drive):
        rows = {row.tobytes(): i for i, row in enumerate(before.truth.id)}
        for i, key in enumerate(row.tobytes() for row in after.truth.id):
            if (j := rows.get(key)) is None:
                continue
            step = after.truth.boxes[i, :2] - before.truth.boxes[j, :2]
            mean = (after.truth.velocity_mps[i] + before.truth.velocity_mps[j]) / 2
            np.testing.assert_allclose(step, 0.1 * mean, atol=0.06)
            np.testing.assert_array_equal(after.truth.boxes[i, 3:6], before.truth.boxes[j, 3:6])
            moved += bool(np.linalg.norm(step) > 0.2)
    assert moved > 10


def test_ego_motion_is_continuous(drive: list[SimulatedFrame]) -> None:
    motion = [m for frame in drive for m in frame.motion]
    assert set(np.diff([m.stamp_ns for m in motion])) == {PERIOD_NS // 2}
    for before, after in pairwise(motion):
        step = (inverse(before.fixed_SE3_base) @ after.fixed_SE3_base)[:3, 3]
        assert step[0] == pytest.approx(0.05 * (before.speed_mps + after.speed_mps) / 2, abs=0.01)
        assert abs(step[1]) < 0.02
        np.testing.assert_allclose(after.fixed_SE3_base[:3, :3] @ after.fixed_SE3_base[:3, :3].T, np.eye(3), atol=1e-9)


def test_same_seed_same_drive_whatever_the_threads(drive: list[SimulatedFrame]) -> None:
    again = list(simulate_drive(replace(SMALL, threads=1), 4))
    for one, two in zip(drive, again, strict=True):
        assert one.sensors.cloud is not None
        assert two.sensors.cloud is not None
        np.testing.assert_array_equal(one.sensors.cloud.points, two.sensors.cloud.points)
        np.testing.assert_array_equal(one.truth.boxes, two.truth.boxes)
        for name, image in one.sensors.cameras.items():
            np.testing.assert_array_equal(image.image, two.sensors.cameras[name].image)
    other = next(simulate_drive(SMALL, 5))
    assert not np.array_equal(other.truth.boxes, drive[0].truth.boxes)


def test_bag_of_a_drive_has_every_topic_and_the_same_bytes(tmp_path: Path) -> None:
    bags = []
    told: list[tuple[int, int]] = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        bags.append(tmp_path / folder / "drive.mcap")
        recorded = record_drive(bags[-1], replace(SMALL, seconds=0.3), 1, lambda done, all_: told.append((done, all_)))
        assert told[-1] == (3, 3)
    assert bags[0].read_bytes() == bags[1].read_bytes()
    assert recorded.frames == 3
    assert recorded.objects > 5
    assert recorded.topics["/lidar/points"] == recorded.topics["/ground_truth/tracks"] == 3
    assert recorded.topics["/cam_front/image/compressed"] == recorded.topics["/cam_back/camera_info"] == 3
    assert recorded.topics["/odom"] == recorded.topics["/tf"] == 5
    assert recorded.topics["/tf_static"] == 1


def test_lidar_alone() -> None:
    frame = next(simulate_drive(SimulateConfig(seconds=0.1, cameras=0, beams=16), 1))
    assert not frame.sensors.cameras
    assert frame.sensors.complete
    assert (frame.visible_px == 0).all()


@pytest.mark.parametrize("wrong", [{"cameras": 9}, {"seconds": 0.0}, {"beams": 7}, {"density": 1.5}, {"camras": 6}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(SimulateConfig, wrong)


@pytest.mark.parametrize("seed", [0, 5])
def test_traffic_neither_jumps_nor_collides_nor_stops_for_good(seed: int) -> None:
    world = World(15.0, seed, 0.6, 10.0)
    overlaps, steps, gone = 0, 0, 0.0
    for _ in range(300):
        before = {m.key: (m.pose, m.speed_mps) for m in world.traffic.movers}
        ego_before = np.array(world.traffic.ego.pose[:2])
        world.step()
        gone += float(np.hypot(*(np.array(world.traffic.ego.pose[:2]) - ego_before)))
        vehicles = [m for m in (world.traffic.ego, *world.traffic.movers) if not m.walks and m.towed is None]
        for mover in world.traffic.movers:
            if mover.key in before:
                (x, y, yaw), speed = before[mover.key]
                step = float(np.hypot(mover.pose[0] - x, mover.pose[1] - y))
                assert step <= 0.05 * max(speed, mover.speed_mps) + 0.05
                assert abs(np.angle(np.exp(1j * (mover.pose[2] - yaw)))) < 0.1
        ego = world.traffic.ego
        for other in vehicles[1:]:
            c, s = np.cos(ego.pose[2]), np.sin(ego.pose[2])
            dx, dy = other.pose[0] - ego.pose[0], other.pose[1] - ego.pose[1]
            steps += 1
            near = (ego.size[:2] + other.size[1]) / 2
            overlaps += bool(abs(c * dx + s * dy) < near[0] and abs(c * dy - s * dx) < near[1])
    assert overlaps < 1e-3 * steps
    assert gone > 60.0
