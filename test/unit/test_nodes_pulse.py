"""Output without sensors: coasting tracks that move, then an empty STALE array, then leaving Active."""

from __future__ import annotations

import dataclasses

import numpy as np
from test_wire import frame, tracks_and_forecasts

from percept_ros.config import HealthConfig, load_config
from percept_ros.health.ladder import Ladder, Observation
from percept_ros.nodes.pulse import Pulse
from percept_ros.types import Mode, TrackState

MS = 1_000_000
CONFIG = load_config(None, {"health": {"pulse_ms": 150.0, "coast_limit_ms": 1000.0, "leave_active_s": 2.0}})


def started() -> tuple[Pulse, Ladder, int]:
    tracks, forecasts = tracks_and_forecasts(3, np.random.default_rng(0))
    tracks = dataclasses.replace(tracks, yaw_rate_radps=np.zeros(3))
    begin_ns = tracks.stamp_ns
    ladder = Ladder(HealthConfig(coast_limit_ms=1000.0))
    ladder.frame(Observation(True, 0, 0), begin_ns)
    pulse = Pulse(CONFIG, ladder, begin_ns)
    pulse.heard(frame(tracks, forecasts), begin_ns)
    return pulse, ladder, begin_ns


def test_tracks_coast_ahead_and_then_the_array_is_empty_and_stale() -> None:
    pulse, _, begin_ns = started()
    assert pulse.due_ns == begin_ns + 150 * MS
    result, ahead_ns = pulse.beat(begin_ns + 150 * MS)
    assert (result.mode, ahead_ns) == (Mode.COASTING, 150 * MS)
    assert set(result.tracks.state.tolist()) == {TrackState.COASTING}
    assert result.tracks.stamp_ns == begin_ns + 150 * MS
    assert not result.sensors.stamps_ns
    assert pulse.due_ns == begin_ns + 300 * MS
    result, ahead_ns = pulse.beat(begin_ns + 1100 * MS)
    assert (result.mode, ahead_ns, len(result.tracks)) == (Mode.STALE, 0, 0)
    assert "no sensor set for 1100 ms" in result.cause
    assert not pulse.given_up
    pulse.beat(begin_ns + 3200 * MS)
    assert pulse.given_up


def test_without_any_frame_it_is_stale_and_stays_active() -> None:
    pulse = Pulse(CONFIG, Ladder(), 0)
    for second in range(1, 20):
        result, _ = pulse.beat(second * 1000 * MS)
        assert result.mode is Mode.STALE
        assert len(result.tracks) == 0
    assert not pulse.given_up


def test_a_set_ends_the_silence() -> None:
    pulse, ladder, begin_ns = started()
    pulse.beat(begin_ns + 1500 * MS)
    tracks, forecasts = tracks_and_forecasts(3, np.random.default_rng(0))
    ladder.frame(Observation(True, 0, 0), begin_ns + 1600 * MS)
    pulse.heard(frame(tracks, forecasts), begin_ns + 1600 * MS)
    assert ladder.standing.mode is Mode.FULL
    assert pulse.due_ns == begin_ns + 1750 * MS
    assert pulse.beat(begin_ns + 1750 * MS)[0].mode is Mode.COASTING
