"""Every missed budget is counted once, under the part that took the longest."""

from __future__ import annotations

from percept_ros.config import BudgetConfig
from percept_ros.nodes.budgets import BudgetMisses
from percept_ros.observe.meter import Meter

BUDGET = BudgetConfig(total_ms=100.0, front_end_ms=8.0, back_end_ms=50.0, detect_ms=40.0, track_ms=5.0)
WELL = {"detect": 20.0, "fuse": 1.0, "track": 2.0, "predict": 2.0}


def test_what_keeps_its_budgets_is_not_counted() -> None:
    misses = BudgetMisses(BUDGET)
    misses.frame(WELL, back_end_ms=30.0, latency_ms=90.0)
    misses.front_end(queue_ms=3.0, work_ms=5.0)
    assert not misses.counts


def test_slow_stage_misses_its_own_budget_that_of_the_back_end_and_the_total() -> None:
    misses = BudgetMisses(BUDGET)
    misses.frame({**WELL, "detect": 70.0}, back_end_ms=80.0, latency_ms=120.0)
    assert misses.counts == {("detect", "detect"): 1, ("back_end", "detect"): 1, ("total", "detect"): 1}


def test_late_sensors_are_not_blamed_on_the_back_end() -> None:
    misses = BudgetMisses(BUDGET)
    misses.frame(WELL, back_end_ms=30.0, latency_ms=130.0)
    assert misses.counts == {("total", "sensors"): 1}


def test_slow_publication_is_a_part_of_the_back_end() -> None:
    misses = BudgetMisses(BUDGET)
    misses.frame(WELL, back_end_ms=60.0, latency_ms=99.0)
    assert misses.counts == {("back_end", "publish"): 1}


def test_front_end_is_missed_by_waiting_or_by_work() -> None:
    misses = BudgetMisses(BUDGET)
    misses.front_end(queue_ms=9.0, work_ms=1.0)
    misses.front_end(queue_ms=1.0, work_ms=9.0)
    misses.front_end(queue_ms=1.0, work_ms=9.0)
    assert misses.of("front_end") == 3
    assert misses.said() == {"missed front_end by queue": 1, "missed front_end by work": 2}


def test_misses_are_among_the_metrics() -> None:
    misses, meter = BudgetMisses(BUDGET), Meter()
    misses.watch(meter)
    misses.frame({**WELL, "track": 6.0}, back_end_ms=40.0, latency_ms=80.0)
    (family,) = meter.collect()
    assert family.name == "percept_budget_misses_total"
    assert [(point.labels, point.value) for point in family.points] == [(("track", "track"), 1.0)]
