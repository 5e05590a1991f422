"""Whether the clocks of the sensors agree: by how much each one's stamps moved against the others.

The least delay from stamp to arrival over a while is the transport alone; it moves when a sensor's clock moves. A busy
machine makes delays longer, so a longer one must last for three periods. What
moves for most sensors alike is the clock of this machine. Source: minimum filter of D. Mills, NTP (RFC 5905, clock filter).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

_LEAST = 8


@dataclass(slots=True)
class _Delays:
    """Least delays of one sensor: in the period at hand, in the last full ones, and usual. periods: full ones so far."""

    period: int = 0
    number: int = 0
    least_ns: float = math.inf
    recent_ns: deque[float] = field(default_factory=lambda: deque(maxlen=3))
    usual_ns: float = math.inf
    periods: int = 0


class ClockSkew:
    """Takes in every arrival; one thread. period_ns: length of one minimum. learn: periods that make the usual."""

    def __init__(self, period_ns: int = 2_000_000_000, learn: int = 2) -> None:
        self._period_ns, self._learn = period_ns, learn
        self._sensors: dict[str, _Delays] = {}

    def arrived(self, sensor: str, stamp_ns: int, now_ns: int) -> None:
        """One message of ``sensor``, stamped ``stamp_ns``, is here."""
        seen = self._sensors.setdefault(sensor, _Delays())
        period = now_ns // self._period_ns
        if period != seen.period:
            self._close(seen)
            seen.period, seen.number, seen.least_ns = period, 0, math.inf
        seen.number += 1
        seen.least_ns = min(seen.least_ns, float(now_ns - stamp_ns))

    def _close(self, seen: _Delays) -> None:
        if seen.number < _LEAST:
            return
        if seen.periods < self._learn:
            seen.usual_ns = min(seen.usual_ns, seen.least_ns)
        seen.recent_ns.append(seen.least_ns)
        seen.periods += 1

    def skew_ns(self) -> dict[str, float]:
        """Sensor -> how far its clock moved against the others, positive = behind; only those that speak and are known."""
        newest = max((seen.period for seen in self._sensors.values()), default=0)
        moved = {
            name: min(seen.recent_ns) - seen.usual_ns
            for name, seen in self._sensors.items()
            if seen.periods > self._learn and newest - seen.period <= 1
        }
        if len(moved) < 2:
            return {}
        common = statistics.median(moved.values()) if len(moved) > 2 else min(moved.values(), key=abs)
        return {name: value - common for name, value in moved.items()}
