"""How fast the error budget of the service level is spent: fast and slow windows.

A burn rate of 1 spends the budget of 30 days in exactly 30 days. Each alert needs a long and a short window beyond its
rate, so that it is raised by what matters and ends soon after it is over.
Source: The Site Reliability Workbook (2018), chapter 5, multi-window multi-burn-rate alerts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_STEP_S = 10
PERIOD_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """Raised when the burn rate over both windows is above ``rate``."""

    name: str
    long_s: int
    short_s: int
    rate: float


ALERTS = (BurnAlert("fast", 3600, 300, 14.4), BurnAlert("slow", 6 * 3600, 1800, 6.0))


@dataclass(slots=True)
class _Step:
    number: int
    good: int = 0
    bad: int = 0


class BurnRate:
    """Counts frames in steps of 10 s over six hours, and over the 30 days of the budget by hour.

    objective: share of good frames, for example 0.99992. hours: (hour, good, bad) from before.
    """

    def __init__(self, objective: float = 0.99992, hours: list[tuple[int, int, int]] | None = None) -> None:
        self.objective = objective
        self._steps: deque[_Step] = deque(maxlen=max(alert.long_s for alert in ALERTS) // _STEP_S + 1)
        self._hours: dict[int, tuple[int, int]] = {hour: (good, bad) for hour, good, bad in hours or ()}

    def add(self, at_s: float, good: int, bad: int) -> None:
        """Count frames. at_s: seconds of the time of day's clock."""
        number = int(at_s // _STEP_S)
        if not self._steps or number > self._steps[-1].number:
            self._steps.append(_Step(number))
        self._steps[-1].good += good
        self._steps[-1].bad += bad
        hour = int(at_s // 3600)
        before = self._hours.get(hour, (0, 0))
        self._hours[hour] = (before[0] + good, before[1] + bad)
        for old in [h for h in self._hours if h < hour - PERIOD_S // 3600]:
            del self._hours[old]

    def rate(self, window_s: int, now_s: float) -> float:
        """Burn rate over the last ``window_s`` (at most six hours); 0 without frames."""
        first = int((now_s - window_s) // _STEP_S) + 1
        steps = [step for step in self._steps if step.number >= first]
        bad, total = sum(s.bad for s in steps), sum(s.good + s.bad for s in steps)
        return bad / total / (1.0 - self.objective) if total else 0.0

    def alerts(self, now_s: float) -> tuple[str, ...]:
        """Names of the alerts that stand."""
        return tuple(a.name for a in ALERTS if min(self.rate(a.long_s, now_s), self.rate(a.short_s, now_s)) > a.rate)

    @property
    def budget_left(self) -> float:
        """Share of the error budget of the last 30 days that is left; negative when it is overspent, 1 without frames."""
        good, bad = (sum(column) for column in zip(*self._hours.values(), strict=True)) if self._hours else (0, 0)
        allowed = (good + bad) * (1.0 - self.objective)
        return 1.0 - bad / allowed if allowed else 1.0
