"""Telemetry of a process that prepares sensor frames and hands them on: its times travel with the frame."""

from __future__ import annotations

import time

from percept_ros.observe.latency import StageTimer
from percept_ros.observe.telemetry import Telemetry
from percept_ros.observe.tier import CRITICAL_WAIT_NS
from percept_ros.observe.trace import new_text

_WAIT_BUCKET_NS, _WAIT_BUCKETS = 10_000_000, 50


class FrameSender:
    """One for each sensor. All calls from its worker thread: ``taken``, then ``text`` for every frame that came of it.

    began_ns: when the message at hand was taken up (monotonic).
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._pid, self._share = telemetry.identity.pid, telemetry.config.sample_share
        self._stages = StageTimer(telemetry.meter, telemetry.tier)
        waits = telemetry.meter.histogram(
            "percept_queue_wait_seconds",
            "time a message waited",
            "sla_tier",
            width_ns=_WAIT_BUCKET_NS,
            number=_WAIT_BUCKETS,
        )
        self._waits, self._critical = waits.labels("normal"), waits.labels("critical")
        self._frames = telemetry.meter.counter("percept_frames_sent_total", "frames handed on").labels()
        self._arrived_ns = self.began_ns = 0

    def taken(self, arrived_ns: int) -> None:
        """A message is taken up. arrived_ns: when it came (monotonic)."""
        self._arrived_ns, self.began_ns = arrived_ns, time.monotonic_ns()
        waited_ns = self.began_ns - arrived_ns
        (self._critical if waited_ns > CRITICAL_WAIT_NS else self._waits).observe(waited_ns)

    def text(self) -> str:
        """Trace field of the message that names the finished frame; "" when telemetry is off."""
        if not self._telemetry.enabled:
            return ""
        ended_ns = time.monotonic_ns()
        self._stages.add("prepare", ended_ns - self.began_ns)
        self._stages.tick(ended_ns)
        self._frames.add()
        return new_text(self._share, self._pid, self._arrived_ns, self.began_ns, ended_ns)
