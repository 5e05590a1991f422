"""Circuit breaker: stops calling what keeps failing or is too slow, and probes whether it is well again.

closed -> open: of the last ``window`` calls a share failed or was slow, or ``streak`` failed in a row.
open -> half-open: after the open time, which doubles with each relapse. half-open -> closed: ``probes`` good calls in a
row; -> open: one bad call. Source: M. Nygard, Release It!, "Circuit Breaker". No clock is read; one thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """State of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens and closes. least_calls: fewer calls in the window decide nothing. slow_ns: 0 = never slow."""

    window: int = 20
    least_calls: int = 6
    failure_share: float = 0.5
    slow_share: float = 0.8
    slow_ns: int = 0
    streak: int = 3
    open_ns: int = 500_000_000
    longest_open_ns: int = 10_000_000_000
    probes: int = 2


class Breaker:
    """One breaker. Ask ``allows`` before a call, tell ``record`` after it."""

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self.state = BreakerState.CLOSED
        self.trips = 0
        self._calls: deque[tuple[bool, int]] = deque(maxlen=self.settings.window)
        self._until_ns = 0
        self._relapses = 0
        self._good_probes = 0

    def allows(self, now_ns: int) -> bool:
        """Whether a call may be made now; an open breaker whose time is over becomes half-open."""
        if self.state is BreakerState.OPEN and now_ns >= self._until_ns:
            self.state, self._good_probes = BreakerState.HALF_OPEN, 0
        return self.state is not BreakerState.OPEN

    def record(self, ok: bool, duration_ns: int, now_ns: int) -> None:
        """Take in how a call went."""
        self._calls.append((ok, duration_ns))
        if self.state is BreakerState.HALF_OPEN:
            self._probed(ok and not self._is_slow(duration_ns), now_ns)
        elif self.state is BreakerState.CLOSED and self._bad():
            self._trip(now_ns)

    def trip(self, now_ns: int) -> None:
        """Open it at once (a wrong known answer)."""
        if self.state is not BreakerState.OPEN:
            self._trip(now_ns)

    def typical_ns(self) -> int | None:
        """90th percentile of the good calls in the window, None before the first."""
        good = sorted(spent for ok, spent in self._calls if ok)
        return good[int(0.9 * (len(good) - 1))] if good else None

    def _probed(self, good: bool, now_ns: int) -> None:
        if not good:
            self._relapses += 1
            self._trip(now_ns)
            return
        self._good_probes += 1
        if self._good_probes >= self.settings.probes:
            self.state, self._relapses = BreakerState.CLOSED, 0
            self._calls.clear()

    def _trip(self, now_ns: int) -> None:
        rule = self.settings
        self.state = BreakerState.OPEN
        self.trips += 1
        self._until_ns = now_ns + min(rule.open_ns << min(self._relapses, 16), rule.longest_open_ns)

    def _is_slow(self, duration_ns: int) -> bool:
        return 0 < self.settings.slow_ns < duration_ns

    def _bad(self) -> bool:
        rule, calls = self.settings, self._calls
        if len(calls) >= rule.streak and not any(ok for ok, _ in list(calls)[-rule.streak :]):
            return True
        if len(calls) < rule.least_calls:
            return False
        failed = sum(not ok for ok, _ in calls)
        slow = sum(ok and self._is_slow(spent) for ok, spent in calls)
        return failed >= rule.failure_share * len(calls) or slow >= rule.slow_share * len(calls)
