"""The observer's reader of track arrays against the writer, and against bytes that lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from percept_ros.config import PredictionConfig, TrackingConfig
from percept_ros.core.prediction import predict_classical
from percept_ros.core.tracking import Tracker
from percept_ros.errors import InputError
from percept_ros.soak.array_reader import read_array
from percept_ros.types import AbsenceReason, Detections, Forecasts, FrameResult, Mode, SensorSet, Tracks
from percept_ros.wire import ArrayHeader, encode_track_array


def detections(step: int) -> Detections:
    boxes = np.array([[10.0 + step, 0, 0.8, 4, 2, 1.5, 0], [20.0, 5, 0.8, 4, 2, 1.5, 1.0]])
    probabilities = np.zeros((2, 8))
    probabilities[:, 1] = 1.0
    stamp_ns = 10**9 + step * 10**8
    sensors = np.ones(2, np.uint32)
    return Detections(stamp_ns, "base_link", boxes, np.full(2, 0.9), probabilities, np.full((2, 2), np.nan), sensors)


def tracked(tracker: Tracker, steps: range) -> Tracks:
    for step in steps:
        tracks = tracker.step(detections(step), {}, {}, np.eye(4))
    return tracks


def encoded(tracks: Tracks, forecasts: Forecasts) -> bytes:
    absent = {"front": AbsenceReason.FROZEN}
    sensors = SensorSet(tracks.stamp_ns, None, {}, absent, ("front",), {})
    empty = Detections.empty(tracks.stamp_ns, "base_link")
    result = FrameResult(sensors, empty, {}, tracks, forecasts, Mode.REDUCED, {}, "pillars@int8", "ab12")
    return encode_track_array(result, ArrayHeader(tracks.stamp_ns + 7, 42, "trace", 0))


def test_reads_what_the_writer_wrote() -> None:
    tracks = tracked(Tracker(TrackingConfig(), seed=1), range(12))
    array = read_array(encoded(tracks, predict_classical(tracks, PredictionConfig())))
    assert (array.stamp_ns, array.publish_ns, array.sequence) == (tracks.stamp_ns, tracks.stamp_ns + 7, 42)
    assert (array.mode, array.model, array.absent, array.frame_id) == (1, "pillars@int8", ("front: frozen",), "odom")
    assert [t.id for t in array.tracks] == [bytes(row).hex() for row in tracks.id]
    np.testing.assert_allclose([(t.x_m, t.y_m) for t in array.tracks], tracks.boxes[:, :2])
    np.testing.assert_allclose([(t.vx_mps, t.vy_mps) for t in array.tracks], tracks.velocity_mps)
    assert [t.state for t in array.tracks] == tracks.state.tolist()


def test_no_cut_of_a_message_passes_as_valid() -> None:
    tracks = tracked(Tracker(TrackingConfig(), seed=1), range(4))
    raw = encoded(tracks, Forecasts.empty(0.1))
    for length in range(0, len(raw) - 1, 3):
        with pytest.raises(ValueError):
            read_array(raw[:length])


def test_numbers_out_of_range_are_invalid() -> None:
    tracks = tracked(Tracker(TrackingConfig(), seed=1), range(4))
    tracks.boxes[0, 0] = np.nan
    with pytest.raises(ValueError, match="out of range"):
        read_array(encoded(tracks, Forecasts.empty(0.1)))


def test_a_tracker_goes_on_where_another_was_saved() -> None:
    first, second = Tracker(TrackingConfig(), seed=1), Tracker(TrackingConfig(), seed=2)
    tracked(first, range(10))
    second.restore(first.save())
    assert second.stamp_ns == first.stamp_ns
    mine, its = tracked(first, range(10, 15)), tracked(second, range(10, 15))
    np.testing.assert_array_equal(mine.id, its.id)
    np.testing.assert_allclose(mine.boxes, its.boxes)


def test_a_state_that_is_not_sound_is_refused_and_changes_nothing() -> None:
    tracker = Tracker(TrackingConfig(), seed=1)
    before = tracked(tracker, range(6))
    good = tracker.kernel.save()
    broken = bytearray(good)
    broken[200:208] = np.array([np.nan]).tobytes()
    for state in (b"", good[:-1], b"x" * len(good), bytes(broken)):
        with pytest.raises(InputError, match="saved state"):
            tracker.kernel.restore(state)
    np.testing.assert_array_equal(tracked(tracker, range(6, 8)).id, before.id)


def test_a_weaker_detector_names_no_new_track_beside_a_confirmed_one_and_wears_it_down_slowly() -> None:
    tracker = Tracker(TrackingConfig(max_coast_s=5.0), seed=1)
    known = tracked(tracker, range(12)).id
    for step in range(12, 24):
        weak = detections(step)
        weak.boxes[:, :2] += [[0.0, 1.8], [0.0, 1.8]]
        weak.class_probabilities[:] = np.eye(8)[7]  # a pedestrian where the car is
        weak.scores[:] = 0.3
        tracks = tracker.step(weak, {}, {}, np.eye(4), weaker=True)
    assert set(map(bytes, tracks.id)) == set(map(bytes, known))
    assert (tracks.existence > 0.5).all()
    far = detections(24)
    far.boxes[:, 1] += 30.0
    for step in range(24, 30):
        far = replace(far, stamp_ns=10**9 + step * 10**8)
        tracks = tracker.step(far, {}, {}, np.eye(4), weaker=True)
    assert len(tracks) == 4, "what is new elsewhere is born"


def test_a_weaker_detector_does_not_drag_a_known_track_away_and_the_usual_one_finds_it_again() -> None:
    tracker = Tracker(TrackingConfig(max_coast_s=5.0), seed=1)
    known = tracked(tracker, range(25))
    for step in range(25, 40):
        weak = detections(step)
        weak.boxes[:, 0] -= 0.15 * (step - 24)  # the nearest cluster slides away, 1.5 m/s
        weak.scores[:] = 0.3
        tracks = tracker.step(weak, {}, {}, np.eye(4), weaker=True)
    truth = detections(39).boxes
    off_m = np.abs(tracks.boxes[:, None, :2] - truth[None, :, :2]).sum(axis=2).min(axis=1)
    assert (off_m < 1.5).all(), "the clusters are 2.25 m away"
    after = tracked(tracker, range(40, 43))
    assert {bytes(row) for row in after.id} == {bytes(row) for row in known.id}


def test_a_track_that_a_weaker_detector_cannot_see_outlives_the_coasting_limit_until_the_usual_one_looks_again() -> (
    None
):
    tracker = Tracker(TrackingConfig(max_coast_s=1.5), seed=1)
    known = tracked(tracker, range(25))
    for step in range(25, 45):  # 2 s
        tracker.step(Detections.empty(10**9 + step * 10**8, "base_link"), {}, {}, np.eye(4), weaker=True)
    after = tracked(tracker, range(45, 47))
    assert {bytes(row) for row in after.id} == {bytes(row) for row in known.id}


def test_a_weaker_detector_does_not_change_the_class_of_a_known_track() -> None:
    tracker = Tracker(TrackingConfig(), seed=1)
    before = tracked(tracker, range(25))
    for step in range(25, 40):
        weak = detections(step)
        weak.class_probabilities[:] = np.eye(8)[0]
        weak.scores[:] = 0.3
        after = tracker.step(weak, {}, {}, np.eye(4), weaker=True)
    np.testing.assert_array_equal(after.class_probabilities.argmax(axis=1), before.class_probabilities.argmax(axis=1))
