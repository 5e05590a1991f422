"""Service levels: the tier of a service sets its latency limit and how finely it is timed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from percept_ros.errors import ConfigError

PRECISE_NS = 100_000_000
"""Tiers whose limit is at most this long are timed frame by frame; longer ones are down-sampled to it."""
CRITICAL_WAIT_NS = 200_000_000
"""A frame that waited longer in a queue is marked ``sla_tier="critical"``."""
_FORM = re.compile(r"P(\d+(?:\.\d+)?)-(\d+)ms")


@dataclass(frozen=True, slots=True)
class Tier:
    """``percentile`` percent of all frames are published within ``limit_ns`` of their oldest sensor stamp."""

    name: str
    percentile: float
    limit_ns: int

    @property
    def is_precise(self) -> bool:
        """Whether every frame is timed in nanoseconds; otherwise 100 ms windows are kept."""
        return self.limit_ns <= PRECISE_NS

    @property
    def bucket_ns(self) -> int:
        """Width of latency buckets."""
        return 10_000_000 if self.is_precise else PRECISE_NS

    def broken_by(self, latency_ns: int) -> bool:
        """Whether a frame of this latency violates the service level."""
        return latency_ns > self.limit_ns

    @staticmethod
    def parse(text: str) -> Tier:
        """A tier such as ``P99-100ms``. Raises ConfigError."""
        found = _FORM.fullmatch(text)
        if found is None or not 0 < float(found[1]) < 100 or int(found[2]) == 0:
            raise ConfigError(f"observe.sla_tier '{text}' is not a tier: expected for example P99-100ms")
        return Tier(text, float(found[1]), int(found[2]) * 1_000_000)
