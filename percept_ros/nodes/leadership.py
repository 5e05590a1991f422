"""Leader and standby of the fusion output: who may publish, and how the other goes on with the same tracks.

The leader answers every sensor set. The standby hears the same handles and keeps the newest set; when the leader has been
silent for ``fusion.takeover_ms`` it takes the lease, restores the leader's tracker, and answers with the geometric
detector, which its mode says. The leader takes the lease back with its next set, tracks included.
"""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

from percept_ros.config import Config
from percept_ros.core.tracking import TrackerState
from percept_ros.errors import InputError
from percept_ros.nodes.pulse import Pulse
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.lease import Lease
from percept_ros.types import Detections, Forecasts, FrameResult, SensorSet

_REHEARSALS = 3
_REHEARSE_SETS = 20
"""An idle standby runs every so many sets through its pipeline."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What one process leaves to the other. fresh_ns: when something was last detected anew, on the node's clock."""

    tracker: TrackerState
    last: FrameResult
    fresh_ns: int | None


class Leadership:
    """One for a fusion process. ``standby``: takes over only when the leader is silent. One thread."""

    def __init__(self, lease: Lease | None, config: Config, pipeline: Pipeline, pulse: Pulse, standby: bool) -> None:
        self._lease, self._pipeline, self._pulse, self.standby = lease, pipeline, pulse, standby
        self._takeover_ns = int(config.fusion.takeover_ms * 1e6)
        self._fresh_ns = int(config.tracking.max_coast_s * 1e9)
        self._idle_sets, self._led = 0, False
        self._rehearsals, self._quick_ns, self._is_quick = 0, self._takeover_ns // 3, False

    @property
    def leads(self) -> bool:
        """Whether this process may publish now."""
        return self._lease is None or self._lease.held

    @property
    def wait_s(self) -> float:
        """How long to wait at most before ``overdue`` is worth asking; infinite for who leads."""
        if self._lease is None or self._lease.held or not self._lease.used:
            return float("inf")
        return max(0.0, (self._takeover_ns - self._lease.silent_ns()) * 1e-9)

    def overdue(self) -> bool:
        """Whether the one who leads has been silent for too long (or nobody ever led, and this is no standby)."""
        if self._lease is None or self._lease.held:
            return False
        if not self._lease.used:
            return not self.standby
        return self._lease.silent_ns() > self._takeover_ns

    def take(self) -> None:
        """Become the one who publishes and go on with the tracks of the one before."""
        assert self._lease is not None
        self._led = True
        state = self._lease.take(self._fresh_ns)
        if state is not None:
            self._restore(pickle.loads(state))

    def may_answer(self, stamp_ns: int) -> bool:
        """Whether the set with ``stamp_ns`` is to be answered here; a leader that was passed over takes the lease back."""
        if self.leads:
            return True
        self._idle_sets += 1
        if self.standby or self.rehearses():
            return False
        self.take()
        last_ns = self._pipeline.tracker.stamp_ns
        return last_ns is None or last_ns < stamp_ns

    def rehearses(self) -> bool:
        """Whether a set that is not answered should be run through and thrown away, so that the first answer is quick.

        A leader that comes back while the standby publishes has time for a few, until one was quick; an idle standby does it
        now and then.
        """
        if self.standby:
            return self._idle_sets <= _REHEARSALS or self._idle_sets % _REHEARSE_SETS == 0
        assert self._lease is not None
        covered = self._lease.used and self._lease.silent_ns() < self._takeover_ns
        return covered and not self._led and not self._is_quick and self._rehearsals < _REHEARSALS

    def rehearsed(self, took_ns: int) -> bool:
        """A set was run through in ``took_ns``; returns whether the same set may be run through once more at once."""
        self._rehearsals += 1
        self._is_quick = took_ns < self._quick_ns
        return not self.standby and self.rehearses()

    def state(self, result: FrameResult) -> bytes | None:
        """What to leave behind with ``result``; None without a lease."""
        if self._lease is None:
            return None
        light = dataclasses.replace(
            result,
            sensors=_without_data(result.sensors),
            detections=Detections.empty(result.tracks.stamp_ns, result.detections.frame_id),
            detections_2d={},
            forecasts=Forecasts.empty(result.forecasts.step_s),
        )
        saved = Saved(self._pipeline.tracker.save(), light, self._pipeline.ladder.standing.fresh_ns)
        return pickle.dumps(saved, pickle.HIGHEST_PROTOCOL)

    def _restore(self, saved: Saved) -> None:
        try:
            self._pipeline.tracker.restore(saved.tracker)
        except InputError:  # of another build: go on without its tracks
            self._pipeline.tracker.reset()
            return
        self._pipeline.ladder.inherit(saved.fresh_ns)
        self._pulse.inherit(saved.last)


def _without_data(sensors: SensorSet) -> SensorSet:
    return dataclasses.replace(sensors, cloud=None, cameras={}, base_SE3={})


def standby_config(config: Config) -> tuple[Config, int]:
    """The configuration of a standby: the last model of the chain, in its own process; and that model's rank."""
    chain = config.detector.chain
    detector: Any = dataclasses.replace(config.detector, chain=chain[-1:], camera_model="", isolation="thread")
    prediction = dataclasses.replace(config.prediction, model="")
    return dataclasses.replace(config, detector=detector, prediction=prediction), max(1, len(chain) - 1)
