"""The tracker as its callers see it."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.config import TrackingConfig
from percept_ros.core.tracking import Tracker, base_projection, extrapolate
from percept_ros.errors import InputError, StampError
from percept_ros.types import (
    LIDAR_BIT,
    NUM_CLASSES,
    CameraView,
    Detections,
    Detections2D,
    ObjectClass,
    Tracks,
    TrackState,
)

STEP_NS = 100_000_000
CAR, PEDESTRIAN = ObjectClass.CAR, ObjectClass.PEDESTRIAN


def detections(frame: int, boxes, kind: ObjectClass = CAR, score: float = 0.9) -> Detections:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 7)
    n = len(boxes)
    probabilities = np.tile(np.eye(NUM_CLASSES)[kind], (n, 1))
    mask = np.full(n, LIDAR_BIT, np.uint32)
    unknown = np.full((n, 2), np.nan)
    return Detections((frame + 1) * STEP_NS, "base_link", boxes, np.full(n, score), probabilities, unknown, mask)


def car(x: float, y: float = 0.0, yaw: float = 0.0) -> list[float]:
    return [x, y, 0.75, 4.2, 1.8, 1.5, yaw]


def person(x: float, y: float) -> list[float]:
    return [x, y, 0.9, 0.7, 0.6, 1.75, 0.0]


def drive(tracker: Tracker, frames: int, speed: float = 10.0, pose=None) -> Tracks:
    tracks = Tracks.empty(0, "")
    for k in range(frames):
        tracks = tracker.step(detections(k, car(10 + speed * 0.1 * k)), {}, {}, np.eye(4) if pose is None else pose(k))
    return tracks


def test_moving_car_gets_position_speed_and_state():
    tracks = drive(Tracker(TrackingConfig(), seed=1), 20)
    assert len(tracks) == 1
    assert tracks.boxes[0, :2] == pytest.approx([29.0, 0.0], abs=0.05)
    assert tracks.velocity_mps[0] == pytest.approx([10.0, 0.0], abs=0.3)
    assert tracks.state[0] == TrackState.CONFIRMED
    assert not tracks.stationary[0]
    assert tracks.age_ns[0] == 19 * STEP_NS
    assert tracks.since_measurement_ns[0] == 0
    assert tracks.frame_id == "odom"


def test_parked_car_seen_from_a_moving_vehicle_stands_still():
    tracker = Tracker(TrackingConfig(), seed=1)
    tracks = Tracks.empty(0, "")
    for k in range(20):
        pose = np.eye(4)
        pose[0, 3] = 1.0 * k
        tracks = tracker.step(detections(k, car(30 - 1.0 * k)), {}, {}, pose)
    assert tracks.boxes[0, 0] == pytest.approx(30.0, abs=0.05)
    assert np.hypot(*tracks.velocity_mps[0]) < 0.2
    assert tracks.stationary[0]


def test_turning_car_has_a_yaw_rate():
    tracker = Tracker(TrackingConfig(), seed=1)
    tracks, radius, rate = Tracks.empty(0, ""), 20.0, 0.4
    for k in range(30):
        a = rate * 0.1 * k
        box = car(radius * np.sin(a), radius * (1 - np.cos(a)), a)
        tracks = tracker.step(detections(k, box), {}, {}, np.eye(4))
    assert tracks.yaw_rate_radps[0] == pytest.approx(rate, abs=0.08)
    assert np.hypot(*tracks.velocity_mps[0]) == pytest.approx(rate * radius, rel=0.1)


def test_a_track_coasts_then_ends_and_its_covariance_grows():
    config = TrackingConfig(max_coast_s=1.0, publish_existence=0.01)
    tracker = Tracker(config, seed=1)
    drive(tracker, 20)
    spread, states = [], []
    for k in range(20, 40):
        tracks = tracker.step(detections(k, []), {}, {}, np.eye(4))
        if not len(tracks):
            break
        spread.append(tracks.pose_covariance[0, 0, 0])
        states.append(tracks.state[0])
        assert tracks.since_measurement_ns[0] <= 1.0e9
    assert 5 <= len(spread) <= 10
    assert (np.diff(spread) > 0).all()
    assert set(states) == {TrackState.COASTING}


def test_existence_halves_in_its_half_life_when_nothing_is_measured():
    tracker = Tracker(TrackingConfig(half_life_s=0.5, publish_existence=0.01), seed=1)
    before = drive(tracker, 20).existence[0]
    tracks = Tracks.empty(0, "")
    for k in range(20, 25):
        tracks = tracker.coast((k + 1) * STEP_NS, np.eye(4))
    assert tracks.existence[0] == pytest.approx(before / 2, rel=1e-6)


def test_old_and_equal_stamps_are_refused_and_change_nothing():
    tracker = Tracker(TrackingConfig(), seed=1)
    drive(tracker, 10)
    for frame in (9, 5):
        with pytest.raises(StampError, match="not after"):
            tracker.step(detections(frame, car(50)), {}, {}, np.eye(4))
    assert tracker.refused == {"out_of_order": 2}
    assert len(tracker.step(detections(10, car(20)), {}, {}, np.eye(4))) == 1


@pytest.mark.parametrize("jump_frames", [-100, 100])
def test_a_time_jump_starts_afresh_with_new_ids(jump_frames):
    tracker = Tracker(TrackingConfig(min_hits=1, confirm_existence=0.0), seed=1)
    first = drive(tracker, 5)
    after = tracker.step(detections(150 + jump_frames, car(10)), {}, {}, np.eye(4))
    if jump_frames < 0:
        tracker.step(detections(200, car(10)), {}, {}, np.eye(4))
    assert tracker.resets["time_jump"] >= 1
    assert first.id[0].tobytes() not in {row.tobytes() for row in after.id}


def test_ids_repeat_with_the_seed_and_only_then():
    ids = [drive(Tracker(TrackingConfig(), seed=s), 10).id[0].tobytes() for s in (7, 7, 8, None, None)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    assert ids[0][6] >> 4 == 4, "version of a random UUID"


def test_variable_time_steps_do_not_disturb_the_speed():
    tracker = Tracker(TrackingConfig(), seed=1)
    rng = np.random.default_rng(0)
    stamp, tracks = STEP_NS, Tracks.empty(0, "")
    for _ in range(40):
        stamp += int(rng.uniform(0.03, 0.3) * 1e9)
        found = detections(0, car(10.0 * stamp * 1e-9))
        found = Detections(stamp, *(getattr(found, n) for n in Detections.__slots__ if n != "stamp_ns"))
        tracks = tracker.step(found, {}, {}, np.eye(4))
    assert tracks.velocity_mps[0, 0] == pytest.approx(10.0, abs=0.3)
    assert len(tracks) == 1


def test_pedestrian_and_car_at_one_place_stay_two_tracks():
    tracker = Tracker(TrackingConfig(), seed=1)
    tracks = Tracks.empty(0, "")
    for k in range(10):
        a, b = detections(k, car(10)), detections(k, person(10.2, 0.1), PEDESTRIAN)
        fields = [np.concatenate([getattr(a, n), getattr(b, n)]) for n in Detections.__slots__[2:]]
        tracks = tracker.step(Detections(a.stamp_ns, "base_link", *fields), {}, {}, np.eye(4))
    assert sorted(tracks.class_ids) == [CAR, PEDESTRIAN]


def test_a_pedestrian_at_cycling_speed_becomes_a_cyclist():
    tracker = Tracker(TrackingConfig(), seed=1)
    tracks = Tracks.empty(0, "")
    for k in range(25):
        tracks = tracker.step(detections(k, person(5 + 0.55 * k, 2), PEDESTRIAN), {}, {}, np.eye(4))
    assert tracks.class_ids.tolist() == [ObjectClass.BICYCLE]


def forward_view() -> CameraView:
    base_SE3_camera = np.eye(4)
    base_SE3_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    projection = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
    return CameraView("front", 2, projection, base_SE3_camera, 1200, 360)


def test_camera_boxes_keep_a_track_alive_that_the_lidar_lost():
    view = forward_view()
    box = np.array(person(15, 1))
    corner = base_projection(view) @ np.array([15, 1, 0.9, 1])
    u, v = corner[:2] / corner[2]
    half = 700 * np.array([0.35, 0.875]) / 15
    seen = np.array([[u - half[0], v - half[1], u + half[0], v + half[1]]])
    lengths = {}
    for with_camera in (True, False):
        tracker = Tracker(TrackingConfig(max_coast_s=1.0, max_lidar_coast_s=3.0), seed=1)
        alive = 0
        for k in range(40):
            boxes = detections(k, [box] if k < 10 else [], PEDESTRIAN)
            stamp = boxes.stamp_ns
            cameras = {"front": Detections2D("front", stamp, seen, np.array([0.9]), np.array([int(PEDESTRIAN)]))}
            tracks = tracker.step(boxes, cameras if with_camera else {}, {"front": view}, np.eye(4))
            alive += k >= 10 and len(tracks) > 0
            if with_camera and 10 < k < 20:
                assert tracks.sensors[0] == 2
                assert tracks.state[0] == TrackState.CONFIRMED
        lengths[with_camera] = alive
    assert lengths[True] >= 29
    assert lengths[False] <= 10


def test_without_any_pose_tracks_are_in_the_base_frame():
    tracker = Tracker(TrackingConfig(), seed=1)
    tracks = Tracks.empty(0, "")
    for k in range(5):
        tracks = tracker.step(detections(k, car(10)), {}, {}, None)
    assert tracks.frame_id == "base_link"
    assert len(tracks) == 1


def test_a_pose_missing_for_a_moment_is_extrapolated_and_then_the_frame_changes():
    tracker = Tracker(TrackingConfig(pose_hold_s=0.35), seed=1)
    frames = []
    for k in range(20):
        pose = np.eye(4)
        pose[0, 3] = 1.0 * k
        tracks = tracker.step(detections(k, car(40 - 1.0 * k)), {}, {}, pose if k < 12 else None)
        frames.append(tracks.frame_id)
        if 3 < k < 15:
            assert tracks.boxes[0, 0] == pytest.approx(40.0, abs=0.1)
    assert frames[14] == "odom"
    assert frames[15] == "base_link"
    assert tracker.resets == {"frame_change": 1}


def test_extrapolated_pose_continues_a_circle():
    def pose(angle: float) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        return np.array([[c, -s, 0, 10 * s], [s, c, 0, 10 * (1 - c)], [0, 0, 1, 0], [0, 0, 0, 1]])

    assert extrapolate(pose(0.0), pose(0.1), 1.0) == pytest.approx(pose(0.2), abs=1e-9)


def test_impossible_boxes_are_refused():
    tracker = Tracker(TrackingConfig(), seed=1)
    for bad in ([np.nan, 0, 0, 4, 2, 1, 0], [0, 0, 0, 0.0, 2, 1, 0]):
        with pytest.raises(InputError, match="refused"):
            tracker.step(detections(0, bad), {}, {}, np.eye(4))


def test_more_objects_than_room_are_dropped_not_overrun():
    tracker = Tracker(TrackingConfig(max_tracks=5, min_hits=1, confirm_existence=0.0, publish_existence=0.0), seed=1)
    tracks = tracker.step(detections(0, [car(10.0 * k) for k in range(12)]), {}, {}, np.eye(4))
    assert len(tracks) == 5


def test_innovations_are_consistent_with_the_noise_they_were_given():
    tracker, rng = Tracker(TrackingConfig(), seed=1), np.random.default_rng(3)
    for k in range(400):
        noise = rng.normal(0, 0.06 + 0.003 * 20, 2)
        tracker.step(detections(k, car(20 + noise[0], noise[1])), {}, {}, np.eye(4))
    matches, total, freedom, _, _ = tracker.kernel.consistency()[CAR].sum(axis=0)
    assert matches > 300
    assert 0.4 < total / freedom < 1.6
