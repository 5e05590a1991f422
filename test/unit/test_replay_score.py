"""The score of a replay, against numbers counted by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from percept_ros.replay.score import MotScore, nearest
from percept_ros.replay.track_array import TRUTH, TrackArray
from percept_ros.types import (
    F64,
    LIDAR_BIT,
    NUM_CLASSES,
    CameraCalibration,
    CameraFrame,
    Forecasts,
    ObjectClass,
    SensorSet,
    Tracks,
)


def tracks(
    rows: list[tuple[int, float, float]], kind: ObjectClass = ObjectClass.CAR, sensors: int = LIDAR_BIT
) -> Tracks:
    """Tracks (id, x, y) in the base frame."""
    count = len(rows)
    ids = np.zeros((count, 16), np.uint8)
    ids[:, 0] = [row[0] for row in rows]
    boxes = np.array([[x, y, 0.8, 4.0, 1.8, 1.6, 0.0] for _, x, y in rows]).reshape(-1, 7)
    return dataclasses.replace(
        Tracks.empty(1, "base_link"),
        id=ids,
        boxes=boxes,
        class_probabilities=np.tile(np.eye(NUM_CLASSES)[int(kind)], (count, 1)),
        velocity_mps=np.zeros((count, 2)),
        sensors=np.full(count, sensors, np.uint32),
    )


def truth(found: Tracks, model: str = TRUTH) -> TrackArray:
    return TrackArray(found, Forecasts.empty(0.1), 1, 1, 1, model=model)


def sensors(pose: F64 | None = None) -> SensorSet:
    return SensorSet(1, None, {}, {}, (), {}, pose)


def test_matches_misses_and_false_ones_are_counted() -> None:
    score = MotScore()
    score.add(tracks([(1, 10.5, 0.0), (2, 30.0, 5.0)]), truth(tracks([(7, 10.0, 0.0), (8, 20.0, 0.0)])), sensors())
    found = score.summary()
    assert (found["matches"], found["objects"], found["false_positives"]) == (1, 2, 1)
    assert found["recall"] == pytest.approx(0.5)
    assert found["precision"] == pytest.approx(0.5)
    assert found["centre_error_m"] == pytest.approx(0.5)
    assert found["recall_by_class"] == {"car": 0.5}


def test_another_track_on_the_same_object_is_one_switch() -> None:
    score = MotScore()
    for number in (1, 1, 2, 2, 1):
        score.add(tracks([(number, 10.0, 0.0)]), truth(tracks([(7, 10.0, 0.0)])), sensors())
    assert score.summary()["id_switches"] == 2


def test_an_old_pair_is_kept_while_it_holds() -> None:
    score = MotScore()
    score.add(tracks([(1, 10.0, 0.0)]), truth(tracks([(7, 10.0, 0.0)])), sensors())
    score.add(tracks([(1, 11.5, 0.0), (2, 10.1, 0.0)]), truth(tracks([(7, 10.0, 0.0)])), sensors())
    assert score.summary()["id_switches"] == 0
    assert score.summary()["false_positives"] == 1


def test_unseen_and_unknown_objects_are_neither_required_nor_false() -> None:
    for excused in (tracks([(7, 10.0, 0.0)], sensors=0), tracks([(7, 10.0, 0.0)], ObjectClass.UNKNOWN)):
        score = MotScore()
        score.add(tracks([(1, 10.0, 0.0)]), truth(excused), sensors())
        found = score.summary()
        assert (found["objects"], found["false_positives"], found["recall"]) == (0, 0, None)


def test_far_objects_do_not_count() -> None:
    score = MotScore()
    score.add(tracks([(1, 70.0, 0.0)]), truth(tracks([(7, 60.0, 0.0)])), sensors())
    assert (score.truths, score.false) == (0, 0)


def test_frames_are_brought_together_by_the_ego_pose() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [100.0, 50.0, 0.0]
    in_odom = dataclasses.replace(tracks([(1, 110.0, 50.0)]), frame_id="odom")
    score = MotScore()
    score.add(in_odom, truth(tracks([(7, 10.0, 0.0)])), sensors(pose))
    assert score.matches == 1
    score.add(in_odom, truth(tracks([(7, 10.0, 0.0)])), sensors(None))
    assert score.summary()["unscored_frames"] == 1


def test_only_the_labelled_camera_view_counts() -> None:
    K = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]])
    frame = CameraFrame("front", 1, "o", np.zeros((100, 100, 3), np.uint8), CameraCalibration(100, 100, K, np.zeros(0)))
    pose = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    around = SensorSet(1, None, {"front": frame}, {}, ("front",), {"front": pose})
    score = MotScore()
    score.add(tracks([(1, 10.0, 0.0), (2, -10.0, 0.0)]), truth(tracks([(7, 10.0, 0.0)]), f"{TRUTH}@front"), around)
    assert (score.matches, score.false) == (1, 0)


def test_the_nearest_truth_is_found_within_half_a_frame() -> None:
    stamps = [0, 100_000_000, 200_000_000]
    assert nearest(stamps, 149_000_000) == 1
    assert nearest(stamps, 151_000_000) == 2
    assert nearest(stamps, 900_000_000) is None
    assert nearest([], 5) is None
