"""The bytes laid down by wire.py are what rclpy reads back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from wire_reference import write_tracks

from percept_ros.types import (
    AbsenceReason,
    Detections,
    Forecasts,
    FrameResult,
    Mode,
    ObjectClass,
    PredictionMethod,
    SensorSet,
    Tracks,
    TrackState,
)
from percept_ros.wire import ArrayHeader, CdrWriter, _write_tracks, encode_track_array

serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")


def tracks_and_forecasts(n: int, rng: np.random.Generator) -> tuple[Tracks, Forecasts]:
    probabilities = rng.dirichlet(np.ones(8), n) if n else np.zeros((0, 8))
    spd = np.tile(np.eye(6), (n, 1, 1)) * rng.uniform(0.1, 2.0, (n, 1, 1))
    tracks = Tracks(
        1_700_000_000_123_456_789, "odom", rng.integers(0, 256, (n, 16), dtype=np.uint8),
        np.full(n, TrackState.CONFIRMED, np.uint8), probabilities, rng.uniform(0, 1, n), rng.normal(0, 10, (n, 7)),
        rng.normal(0, 3, (n, 2)), rng.normal(0, 1, (n, 2)), rng.normal(0, 0.1, n), spd, spd * 2,
        rng.integers(0, 10**10, n), rng.integers(0, 10**9, n), rng.integers(0, 8, n).astype(np.uint32),
        rng.integers(0, 2, n).astype(np.bool_),
    )  # fmt: skip
    forecasts = Forecasts(
        0.1, rng.normal(0, 5, (n, 2, 30, 3)), np.full((n, 2), 0.5), rng.uniform(0.1, 2, (n, 2, 30)),
        rng.integers(1, 31, n), np.full(n, PredictionMethod.CTRV, np.uint8),
    )  # fmt: skip
    return tracks, forecasts


def frame(tracks: Tracks, forecasts: Forecasts) -> FrameResult:
    sensors = SensorSet(tracks.stamp_ns, None, {}, {"front": AbsenceReason.LATE}, ("front",), {})
    return FrameResult(
        sensors,
        Detections.empty(tracks.stamp_ns, "base_link"),
        {},
        tracks,
        forecasts,
        Mode.REDUCED,
        {},
        "geometric",
        "ab",
    )


@pytest.mark.parametrize("n", [0, 1, 7])
def test_bytes_are_read_back_by_rclpy(n: int) -> None:
    from percept_ros.msg import ObstacleTrackArray

    tracks, forecasts = tracks_and_forecasts(n, np.random.default_rng(n))
    raw = encode_track_array(frame(tracks, forecasts), ArrayHeader(5, 42, "t" * 32, 7))
    message = serialization.deserialize_message(raw, ObstacleTrackArray)
    assert len(serialization.serialize_message(message)) == len(raw)  # padding bytes are left unset by rclpy
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert message.header.frame_id == "odom"
    assert (message.mode, message.sequence, message.model_id) == (ObstacleTrackArray.MODE_REDUCED, 42, "geometric")
    assert list(message.absent_sensors) == ["front: late"]
    assert len(message.tracks) == n


def test_fields_of_a_track_arrive_where_they_belong() -> None:
    from percept_ros.msg import ObstacleTrack, ObstacleTrackArray

    tracks, forecasts = tracks_and_forecasts(1, np.random.default_rng(3))
    track = serialization.deserialize_message(
        encode_track_array(frame(tracks, forecasts), ArrayHeader(5, 0)), ObstacleTrackArray
    ).tracks[0]
    assert bytes(track.track_id.uuid) == tracks.id[0].tobytes()
    position = track.pose.pose.position
    assert np.allclose([position.x, position.y, position.z], tracks.boxes[0, :3])
    q = track.pose.pose.orientation
    assert np.isclose(np.cos(2 * np.arctan2(q.z, q.w) - tracks.boxes[0, 6]), 1.0)
    assert np.allclose([track.twist.twist.linear.x, track.twist.twist.linear.y], tracks.velocity_mps[0])
    assert np.allclose(np.reshape(track.twist.covariance, (6, 6)), tracks.twist_covariance[0])
    assert np.allclose([track.dimensions.x, track.dimensions.y, track.dimensions.z], tracks.boxes[0, 3:6])
    assert track.state == ObstacleTrack.CONFIRMED
    assert track.sensors == int(tracks.sensors[0])
    assert track.classification[0].label == int(tracks.class_ids[0])
    path = track.predicted_paths[1]
    assert len(path.path) == len(path.sigma) == int(forecasts.steps[0])
    assert np.isclose(path.path[0].position.x, forecasts.paths[0, 1, 0, 0])
    assert path.time_step.nanosec == 100_000_000


def test_message_numbers_agree_with_the_types() -> None:
    from percept_ros.msg import ObjectClassification, ObstacleTrack, ObstacleTrackArray, PredictedPath

    assert all(getattr(ObjectClassification, c.name) == c for c in ObjectClass)
    assert all(getattr(ObstacleTrackArray, f"MODE_{m.name}") == m for m in Mode)
    assert all(getattr(PredictedPath, f"METHOD_{m.name}") == m for m in PredictionMethod)
    assert all(getattr(ObstacleTrack, s.name) == s for s in TrackState if s is not TrackState.DELETED)


@pytest.mark.parametrize("seed", range(6))
def test_compiled_pass_lays_down_what_the_reference_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracks, forecasts = tracks_and_forecasts(int(rng.integers(1, 40)), rng)
    probabilities = np.where(rng.uniform(size=tracks.class_probabilities.shape) < 0.4, 0.0, tracks.class_probabilities)
    probabilities[0] = 0.0
    method = rng.integers(0, 5, len(tracks)).astype(np.uint8)
    rows = len(tracks) - int(rng.integers(0, 2))
    forecasts = Forecasts(
        0.1, forecasts.paths[:rows], forecasts.confidence[:rows], forecasts.sigma_m[:rows],
        forecasts.steps[:rows], method[:rows],
    )  # fmt: skip
    tracks = dataclasses.replace(tracks, class_probabilities=probabilities)
    for start in ("", "a", "abcde"):
        mine, theirs = CdrWriter(), CdrWriter()
        for writer, write in ((mine, _write_tracks), (theirs, write_tracks)):
            writer.text(start)
            write(writer, tracks, forecasts)
            writer.pack("I", 4, 7)
        got, expected = mine.finish(), theirs.finish()
        assert len(got) == len(expected)
        differ = np.flatnonzero(np.frombuffer(got, np.uint8) != np.frombuffer(expected, np.uint8))
        assert len(differ) < 0.01 * len(got)  # the last digit of a sine may differ


def test_steps_beyond_the_paths_are_refused() -> None:
    tracks, forecasts = tracks_and_forecasts(2, np.random.default_rng(1))
    forecasts = dataclasses.replace(forecasts, steps=np.array([3, 31]))
    with pytest.raises(ValueError, match="cannot be laid down"):
        encode_track_array(frame(tracks, forecasts), ArrayHeader(5, 0))
