"""Whether the clocks of the sensors agree: by how much each one's stamps moved against the others.

The least delay from stamp to arrival over a while is the transport alone; it moves when a sensor's clock moves. Nothing
arrives sooner than transport allows, so a clock that runs ahead shows within three messages, and four right ones say that it
does no more. A busy machine makes delays longer, so a longer one must last for six seconds, and a single short one ends it.
What moves for most sensors alike is the clock of this machine. Source: minimum filter of D. Mills, NTP (RFC 5905, clock filter).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

_LEAST = 8
_PERIODS = 3
"""Periods that a longer delay must last."""
_NOW_NS = 600_000_000
_NOW_COUNT = 4
"""What a sensor does now: messages of the last 0.6 s, at least four."""
_RANK = 3
"""Stamps ahead of what is possible that count: one or two may be broken messages."""


@dataclass(slots=True)
class _Delays:
    """Delays of one sensor. newest: (arrival, delay) of the last messages. bins: (half period, least delay, messages), the
    last three periods. usual_ns: least delay while learning; learned: full periods so far."""

    newest: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=32))
    bins: deque[tuple[int, float, int]] = field(default_factory=lambda: deque(maxlen=2 * _PERIODS))
    period: int = 0
    number: int = 0
    usual_ns: float = math.inf
    learned: int = 0

    def now_ns(self) -> float:
        """The third-least delay of what came just now."""
        newest_ns = self.newest[-1][0]
        count = sum(at_ns > newest_ns - _NOW_NS for at_ns, _ in self.newest)
        recent = [delay for _, delay in self.newest][-max(count, _NOW_COUNT) :]
        return float(sorted(recent)[min(_RANK, len(recent)) - 1])

    def lasting_ns(self) -> float:
        """The least delay of the last three periods; nothing unusual while they are not full."""
        full = len(self.bins) == 2 * _PERIODS and sum(number for *_, number in self.bins) >= _PERIODS * _LEAST
        together = full and self.bins[-1][0] - self.bins[0][0] <= 2 * _PERIODS
        return min(least for _, least, _ in self.bins) if together else self.usual_ns


class ClockSkew:
    """Takes in every arrival; one thread. period_ns: length of one minimum. learn: periods that make the usual."""

    def __init__(self, period_ns: int = 2_000_000_000, learn: int = 2) -> None:
        self._period_ns, self._learn = period_ns, learn
        self._sensors: dict[str, _Delays] = {}

    def arrived(self, sensor: str, stamp_ns: int, now_ns: int) -> None:
        """One message of ``sensor``, stamped ``stamp_ns``, is here."""
        seen, delay_ns = self._sensors.setdefault(sensor, _Delays()), now_ns - stamp_ns
        if seen.newest and now_ns < seen.newest[-1][0]:  # the clock of this machine went back
            seen.newest.clear()
            seen.bins.clear()
        seen.newest.append((now_ns, delay_ns))
        if seen.learned < self._learn:
            self._learn_usual(seen, delay_ns, now_ns // self._period_ns)
            return
        half = 2 * now_ns // self._period_ns
        if seen.bins and seen.bins[-1][0] == half:
            _, least_ns, number = seen.bins.pop()
            seen.bins.append((half, min(least_ns, delay_ns), number + 1))
        else:
            seen.bins.append((half, delay_ns, 1))

    def _learn_usual(self, seen: _Delays, delay_ns: int, period: int) -> None:
        if period != seen.period:
            seen.learned += seen.number >= _LEAST
            seen.period, seen.number = period, 0
        seen.number += 1
        seen.usual_ns = min(seen.usual_ns, delay_ns)

    def skew_ns(self) -> dict[str, float]:
        """Sensor -> how far its clock moved against the others, positive = behind; only those that speak and are known."""
        newest_ns = max((seen.newest[-1][0] for seen in self._sensors.values()), default=0)
        moved = {
            name: self._moved_ns(seen)
            for name, seen in self._sensors.items()
            if seen.learned >= self._learn and newest_ns - seen.newest[-1][0] <= self._period_ns
        }
        if len(moved) < 2:
            return {}
        common = statistics.median(moved.values()) if len(moved) > 2 else min(moved.values(), key=abs)
        return {name: value - common for name, value in moved.items()}

    def _moved_ns(self, seen: _Delays) -> float:
        ahead_ns = seen.now_ns() - seen.usual_ns
        return ahead_ns if ahead_ns < 0 else max(0.0, seen.lasting_ns() - seen.usual_ns)
