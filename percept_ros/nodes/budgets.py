"""Missed time budgets: each is counted, under the part of the path that took the longest.

Parts of the whole path: ``sensors`` (oldest stamp until the set is released: exposure spread, front end, transport, waiting
for the last sensor), the stages of the pipeline, ``publish``. Of the front end: ``queue`` and ``work``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from percept_ros.config import BudgetConfig
from percept_ros.observe.meter import Meter, Samples

STAGES = ("detect", "fuse", "track", "predict")
"""Stages that have a budget of their own."""


class BudgetMisses:
    """Counts misses by budget (total, back_end, front_end, or a stage) and guilty part. One writer thread."""

    def __init__(self, budget: BudgetConfig) -> None:
        self.limits_ms = {stage: float(getattr(budget, f"{stage}_ms")) for stage in STAGES}
        self.limits_ms |= {"total": budget.total_ms, "back_end": budget.back_end_ms, "front_end": budget.front_end_ms}
        self.counts: Counter[tuple[str, str]] = Counter()

    def frame(self, stage_ms: Mapping[str, float], back_end_ms: float, latency_ms: float) -> None:
        """One published set. back_end_ms: from its release to publication. latency_ms: from its oldest stamp."""
        parts = {**stage_ms, "publish": max(0.0, back_end_ms - sum(stage_ms.values()))}
        for stage in STAGES:
            self._judge(stage, stage_ms.get(stage, 0.0), {stage: 0.0})
        self._judge("back_end", back_end_ms, parts)
        self._judge("total", latency_ms, {**parts, "sensors": max(0.0, latency_ms - back_end_ms)})

    def front_end(self, queue_ms: float, work_ms: float) -> None:
        """One frame of a sensor is in shared memory: how long its message waited, and how long the work on it took."""
        self._judge("front_end", queue_ms + work_ms, {"queue": queue_ms, "work": work_ms})

    def of(self, budget: str) -> int:
        """Misses of one budget."""
        return sum(number for (missed, _), number in list(self.counts.items()) if missed == budget)

    def said(self) -> dict[str, object]:
        """Figures for /diagnostics: ``missed BUDGET by PART``."""
        return {f"missed {budget} by {part}": n for (budget, part), n in sorted(self.counts.items())}

    def watch(self, meter: Meter) -> None:
        """Have the counts among the metrics."""

        def read() -> Samples:
            return [(key, float(number)) for key, number in list(self.counts.items())]

        meter.counter("percept_budget_misses_total", "missed time budgets", "budget", "part", read=read)

    def _judge(self, budget: str, spent_ms: float, parts: Mapping[str, float]) -> None:
        if spent_ms > self.limits_ms[budget]:
            self.counts[budget, max(parts, key=lambda part: parts[part])] += 1
