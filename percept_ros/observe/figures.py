"""Figures of an interval, from the meter at its beginning and at its end: what drifting baselines look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from percept_ros.observe.meter import Family

STAGE = "stage/"
"""Prefix of the figures that are mean times of stages."""
_END_TO_END, _STAGES, _WAITS = "percept_end_to_end_seconds", "percept_stage_seconds", "percept_queue_wait_seconds"

Totals = Mapping[str, tuple[float, float]]


def totals(families: Sequence[Family]) -> dict[str, tuple[float, float]]:
    """Figure -> (sum, count) so far; gauges come as (value, -1)."""
    found: dict[str, tuple[float, float]] = {}

    def add(name: str, total: float, count: float) -> None:
        before = found.get(name, (0.0, 0.0))
        found[name] = (before[0] + total, before[1] + count)

    for family in families:
        for point in family.points:
            if family.name == _STAGES:
                add(f"{STAGE}{point.labels[0]}", point.total, point.value)
            elif family.name == _END_TO_END:
                add("end_to_end", point.total, point.value)
            elif family.name == _WAITS:
                add("queue_wait", point.total, point.value)
            elif family.name == "percept_drops_total":
                add("drops", point.value, 0.0)
            elif family.name == "percept_process_resident_bytes":
                found[f"resident/{point.labels[0]}"] = (point.value, -1.0)
    return found


def figures(before: Totals, after: Totals, seconds: float) -> dict[str, float]:
    """Mean times in milliseconds, drops a minute, resident memory in megabytes; without what did not happen."""
    made: dict[str, float] = {}
    for name, (total, count) in after.items():
        old_total, old_count = before.get(name, (0.0, 0.0))
        if count < 0:
            made[name] = total * 1e-6
        elif name == "drops":
            made[name] = (total - old_total) * 60.0 / seconds
        elif count > old_count:
            made[name] = 1e3 * (total - old_total) / (count - old_count)
    return made


def violations(families: Sequence[Family]) -> tuple[int, int]:
    """(good, bad): frames so far within the service level, and beyond it."""
    counts = {"true": 0, "false": 0}
    for family in families:
        if family.name == _END_TO_END:
            for point in family.points:
                counts[point.labels[0]] += int(point.value)
    return counts["false"], counts["true"]
