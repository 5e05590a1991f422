"""Arrays for moments in which no sensor set comes: the last tracks moved ahead as COASTING, then none, flagged STALE."""

from __future__ import annotations

import dataclasses

import numpy as np

from percept_ros.config import Config
from percept_ros.core.prediction import extrapolate, predict_classical
from percept_ros.health.ladder import Ladder
from percept_ros.nodes.names import LIDAR
from percept_ros.types import AbsenceReason, Detections, Forecasts, FrameResult, Mode, SensorSet, Tracks, TrackState

_MS = 1_000_000


class Pulse:
    """Keeps the output going without sensors. One thread; the clock is handed in.

    ``heard`` after every answered set, ``beat`` whenever ``due_ns`` has passed.
    """

    def __init__(self, config: Config, ladder: Ladder, started_ns: int) -> None:
        self._config, self._ladder = config, ladder
        self._period_ns = int(config.health.pulse_ms * _MS)
        self._last: FrameResult | None = None
        self._heard_ns = self._sent_ns = started_ns
        self._stale_since_ns: int | None = None

    @property
    def due_ns(self) -> int:
        """When the next beat is due, unless a set is answered before."""
        return self._sent_ns + self._period_ns

    def heard(self, result: FrameResult, now_ns: int) -> None:
        """A sensor set was answered."""
        self._last, self._heard_ns, self._sent_ns = result, now_ns, now_ns
        self._stale_since_ns = None

    def restart(self, now_ns: int) -> None:
        """Time jumped: what was is forgotten."""
        self._last, self._heard_ns, self._sent_ns, self._stale_since_ns = None, now_ns, now_ns, None

    def inherit(self, last: FrameResult) -> None:
        """Go on from what another process published."""
        self._last, self._heard_ns, self._stale_since_ns = last, last.sensors.stamp_ns, None

    def wait(self, now_ns: int) -> None:
        """Nothing is due here for a period: another process publishes."""
        self._sent_ns = now_ns

    def beat(self, now_ns: int) -> tuple[FrameResult, int]:
        """What to publish now, and by how many nanoseconds its poses were moved ahead."""
        self._sent_ns = now_ns
        standing = self._ladder.silence(now_ns - self._heard_ns, now_ns)
        if standing.mode is Mode.STALE and self._stale_since_ns is None:
            self._stale_since_ns = now_ns
        tracks = Tracks.empty(now_ns, self._config.frames.fixed)
        ahead_ns = 0
        if self._last is not None and standing.mode is not Mode.STALE:
            ahead_ns = max(0, now_ns - self._last.tracks.stamp_ns)
            tracks = _coasting(extrapolate(self._last.tracks, ahead_ns))
        return self._result(tracks, standing.mode, standing.cause), ahead_ns

    @property
    def given_up(self) -> bool:
        """Whether, after there had been frames, the output has been STALE for ``health.leave_active_s``."""
        if self._last is None or self._stale_since_ns is None:
            return False
        return self._sent_ns - self._stale_since_ns > self._config.health.leave_active_s * 1e9

    def _result(self, tracks: Tracks, mode: Mode, cause: str) -> FrameResult:
        last, config = self._last, self._config
        stamp_ns = tracks.stamp_ns if last is None else last.sensors.stamp_ns
        why = AbsenceReason.NEVER_SEEN if last is None else AbsenceReason.LATE
        absent = dict.fromkeys((LIDAR, *config.camera_order), why)
        sensors = SensorSet(stamp_ns, None, {}, absent, config.camera_order, {})
        forecasts = predict_classical(tracks, config.prediction) if len(tracks) else Forecasts.empty(0.1)
        detections = Detections.empty(stamp_ns, config.frames.base)
        model, sha256 = ("", "") if last is None else (last.model, last.artefact_sha256)
        return FrameResult(
            sensors, detections, {}, tracks, forecasts, mode, {}, model, sha256, shed=("detect",), cause=cause
        )


def _coasting(tracks: Tracks) -> Tracks:
    return dataclasses.replace(tracks, state=np.full(len(tracks), TrackState.COASTING, np.uint8))
