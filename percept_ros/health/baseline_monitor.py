"""Drifting baselines of slow figures: raises an event when one leaves what is usual for it, otherwise learns.

Each interval's figure is compared with its seasonal baseline (health/seasonal.py). An event is raised when the mean of the
last M deviations is beyond ``sigma`` and N of them lie on that side beyond half of it. A deviation counts as at most 3.5
sigma, and one beyond 6 as 2.4, so that one spike cannot raise an event. While an event stands nothing is learned; when the figure comes back
it is cleared, and when it stays for a day the new level is adopted. Until four days are known, a static limit takes the
baseline's place. No clock is read: intervals are handed in with their time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from percept_ros.health.baseline_store import BaselineStore, Row
from percept_ros.health.seasonal import DAY_S, Seasonal, fit_seasonal

_CLIP, _SPIKE, _SPIKE_WEIGHT, _USUAL = 3.5, 6.0, 2.4, 3.0
_PRACTICALLY = 0.95
"""The error of the baseline itself takes about this share from a true deviation."""
_LIFT = 1.0
"""A lasting difference is taken up by the level at this rate a day, between and beside the fits."""
_WINDOW_DAYS, _MEMORY_DAYS = 7, 28
_REFIT_S = 3 * 3600.0
_ADOPT_S = DAY_S


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """interval_s: over which a figure is averaged. n, m, sigma: see above. trend_days: window of the trend."""

    interval_s: float = 900.0
    sigma: float = 2.0
    n: int = 2
    m: int = 3
    trend_days: float = 6.0


@dataclass(frozen=True, slots=True)
class BaselineEvent:
    """kind: raised, cleared or adopted. deviation: mean of the last deviations, sigma (NaN under a static limit)."""

    metric: str
    kind: str
    at_s: float
    value: float
    expected: float
    deviation: float
    static: bool = False


@dataclass(slots=True)
class _Metric:
    name: str
    rows: deque[Row]
    model: Seasonal | None = None
    fitted_slot: int = -1
    recent: list[float] = field(default_factory=list)
    raised_slot: int | None = None
    raised_static: bool = False
    lift: float = 0.0

    def state(self) -> dict[str, Any]:
        model = self.model
        return {
            "model": None if model is None else [model.level, list(model.season), model.sigma],
            "fitted_slot": self.fitted_slot,
            "recent": self.recent,
            "raised_slot": self.raised_slot,
            "raised_static": self.raised_static,
            "lift": self.lift,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        model = state["model"]
        self.model = None if model is None else Seasonal(model[0], tuple(model[1]), model[2])
        self.fitted_slot, self.recent = state["fitted_slot"], list(state["recent"])
        self.raised_slot, self.raised_static = state["raised_slot"], state["raised_static"]
        self.lift = state["lift"]


class BaselineMonitor:
    """All metrics of one service; one thread. Goes on where ``store`` left off.

    limits: static upper limits by metric, for the first days. on_event: called after the event is stored.
    """

    def __init__(
        self,
        store: BaselineStore,
        settings: BaselineSettings | None = None,
        *,
        limits: Mapping[str, float] | None = None,
        on_event: Callable[[BaselineEvent], None] = lambda event: None,
    ) -> None:
        self.settings = settings or BaselineSettings()
        self._store, self._limits, self._on_event = store, dict(limits or {}), on_event
        self._kept = int(_WINDOW_DAYS * DAY_S / self.settings.interval_s)
        self._refit = max(1, int(_REFIT_S / self.settings.interval_s))
        self._adopt = int(_ADOPT_S / self.settings.interval_s)
        self._metrics: dict[str, _Metric] = {}
        for name in store.metrics():
            self._metric(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric that was ever seen."""
        return tuple(self._metrics)

    @property
    def raised(self) -> tuple[str, ...]:
        """Metrics with a standing event."""
        return tuple(name for name, metric in list(self._metrics.items()) if metric.raised_slot is not None)

    def deviation(self, metric: str) -> float:
        """Mean of the last M deviations of a metric, sigma; 0 while unknown."""
        known = self._metrics.get(metric)
        return float(np.mean(known.recent)) if known is not None and known.recent else 0.0

    def expected(self, metric: str, at_s: float) -> float | None:
        """What is usual for a metric in the interval that begins at ``at_s``, None while that is unknown."""
        known = self._metrics.get(metric)
        if known is None or known.model is None:
            return None
        return known.model.expected(at_s + 0.5 * self.settings.interval_s) + known.lift

    def add(self, name: str, at_s: float, value: float) -> BaselineEvent | None:
        """Take in the figure of the interval that began at ``at_s``; the event that it raises or ends, if any."""
        if not np.isfinite(value):
            return None
        metric = self._metric(name)
        slot = int(at_s // self.settings.interval_s)
        if metric.rows and slot <= metric.rows[-1].slot:
            return None  # the clock went back, or this interval is known
        expected, z = self._compare(metric, at_s, value)
        since = metric.raised_slot
        event = self._judge(metric, slot, at_s, value, expected, z)
        usual = metric.raised_slot is None and (z is None or abs(z) < _USUAL)
        if usual and z is not None:
            metric.lift += _LIFT * self.settings.interval_s / DAY_S * (value - expected)
        row = Row(slot, value, value if usual else expected, z, int(usual))
        with self._store.transaction():
            metric.rows.append(row)
            self._store.put_interval(name, row, slot - self._kept)
            if event is not None and event.kind == "adopted" and since is not None:
                self._adopt_level(metric, since)
            self._learn(metric, slot)
            self._store.put_state(name, metric.state())
            if event is not None:
                content = {"value": value, "expected": expected, "deviation": event.deviation, "static": event.static}
                self._store.put_event(at_s, name, event.kind, content)
        if event is not None:
            self._on_event(event)
        return event

    def _metric(self, name: str) -> _Metric:
        known = self._metrics.get(name)
        if known is None:
            known = self._metrics[name] = _Metric(name, deque(self._store.intervals(name), maxlen=self._kept))
            state = self._store.state(name)
            if state is not None:
                known.restore(state)
        return known

    def _compare(self, metric: _Metric, at_s: float, value: float) -> tuple[float, float | None]:
        """What was expected and the clipped deviation (None under a static limit)."""
        if metric.model is None:
            return self._limits.get(metric.name, value), None
        expected = metric.model.expected(at_s + 0.5 * self.settings.interval_s) + metric.lift
        return expected, _bounded((value - expected) / metric.model.sigma)

    def _judge(
        self, metric: _Metric, slot: int, at_s: float, value: float, expected: float, z: float | None
    ) -> BaselineEvent | None:
        static = z is None
        beyond = 0.0 if not static else _CLIP * (metric.name in self._limits and value > expected)
        metric.recent = [*metric.recent, beyond if z is None else z][-self.settings.m :]
        mean = float(np.mean(metric.recent))
        kind = self._verdict(metric, slot, mean)
        if kind == "":
            return None
        metric.raised_slot = slot if kind == "raised" else None
        metric.raised_static = static
        return BaselineEvent(metric.name, kind, at_s, value, expected, float("nan") if static else mean, static)

    def _verdict(self, metric: _Metric, slot: int, mean: float) -> str:
        set_ = self.settings
        if metric.raised_slot is None:
            return "raised" if len(metric.recent) == set_.m and _departs(metric.recent, mean, set_) else ""
        if abs(mean) < set_.sigma / 2:
            return "cleared"
        return "adopted" if slot - metric.raised_slot >= self._adopt else ""

    def _adopt_level(self, metric: _Metric, from_slot: int) -> None:
        """The level since ``from_slot`` became usual: the learned past moves to it."""
        gaps = np.array([row.value - row.learned for row in metric.rows if row.slot >= from_slot])
        middle = float(np.median(gaps))
        reach = 3.0 * metric.model.sigma if metric.model is not None else np.inf
        by = float(np.mean(np.clip(gaps, middle - reach, middle + reach)))
        metric.rows = deque((_adopted(row, by, from_slot) for row in metric.rows), maxlen=self._kept)
        self._store.adopt(metric.name, by, from_slot)
        metric.recent, metric.fitted_slot, metric.lift = [], -1, 0.0

    def _learn(self, metric: _Metric, slot: int) -> None:
        if metric.raised_slot is not None and metric.model is not None:
            return
        if metric.fitted_slot >= 0 and slot - metric.fitted_slot < self._refit:
            return
        times = [(row.slot + 0.5) * self.settings.interval_s for row in metric.rows]
        learned = [row.learned for row in metric.rows]
        usual = [row.usual for row in metric.rows]
        whole = len(metric.rows) >= self._kept - self._adopt // 4
        fresh = _REFIT_S / (_MEMORY_DAYS * DAY_S) if whole else 1.0
        fitted = fit_seasonal(times, learned, usual, self.settings.trend_days, metric.model, fresh)
        if fitted is not None:
            if metric.model is None:
                metric.recent = []
            metric.model = fitted
        metric.fitted_slot = slot


def _adopted(row: Row, by: float, from_slot: int) -> Row:
    if row.slot < from_slot:
        return row._replace(learned=row.learned + by)
    return row._replace(learned=row.value, usual=1)


def _departs(recent: list[float], mean: float, set_: BaselineSettings) -> bool:
    """N of M on the same side beyond half of ``sigma``, and the mean of all M practically beyond it."""
    side = 1.0 if mean > 0 else -1.0
    strong = sum(side * z > set_.sigma / 2 for z in recent)
    return strong >= set_.n and abs(mean) > _PRACTICALLY * set_.sigma


def _bounded(z: float) -> float:
    """A deviation as it counts: at most 3.5, and what is beyond 6 (a spike, until others follow) as 2.4."""
    if abs(z) > _SPIKE:
        return float(np.copysign(_SPIKE_WEIGHT, z))
    return float(np.clip(z, -_CLIP, _CLIP))
