"""How finely a service is timed: every frame in nanoseconds, or 100 ms windows for slack tiers."""

from __future__ import annotations

from percept_ros.observe.meter import Histogram, Meter
from percept_ros.observe.tier import PRECISE_NS, Tier

_BUCKETS = 50


class StageTimer:
    """Durations of stages into ``percept_stage_seconds``. One writer thread.

    Precise tiers count every duration in buckets of 10 ms. Slack tiers keep the longest of each 100 ms window and count
    that, in buckets of 100 ms.
    """

    def __init__(self, meter: Meter, tier: Tier) -> None:
        self._precise, self._window_ns = tier.is_precise, PRECISE_NS
        text = "time in a stage"
        width_ns = tier.bucket_ns
        self._stages: Histogram = meter.histogram(
            "percept_stage_seconds", text, "stage", width_ns=width_ns, number=_BUCKETS
        )
        self._longest: dict[str, int] = {}
        self._window_end_ns = 0

    def add(self, stage: str, duration_ns: int) -> None:
        """One duration."""
        if self._precise:
            self._stages.labels(stage).observe(duration_ns)
        elif duration_ns > self._longest.get(stage, -1):
            self._longest[stage] = duration_ns

    def tick(self, now_ns: int) -> None:
        """End of a frame: count the window when it is over."""
        if self._precise or now_ns < self._window_end_ns:
            return
        for stage, duration_ns in self._longest.items():
            self._stages.labels(stage).observe(duration_ns)
        self._longest.clear()
        self._window_end_ns = now_ns + self._window_ns
