"""How well drifting baselines find shifts: synthetic months with seasons, drift, steps and spikes.

Each series has a daily rhythm, slow drift, noise of known sigma, spikes of one interval, one lasting step,
and shifts of exactly 3 sigma that last two hours, at random times from the second week on. A shift is found when an event
is raised within three intervals of its beginning. A false alarm is an event outside every shift, step and spike-free
interval that follows them. A restart in the middle must change nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.health.baseline_monitor import BaselineEvent, BaselineMonitor, BaselineSettings
from percept_ros.health.baseline_store import BaselineStore

DAY_S = 86_400.0
WITHIN = 3
SHIFT_SIGMA, SHIFT_INTERVALS = 3.0, 12
START_S = 1_700_006_400.0
_WARM_DAYS, _GAP_DAYS = 8.0, 0.9


@dataclass(frozen=True, slots=True)
class Series:
    """values: (intervals,). shifts: first interval of each shift. step: first interval of the lasting step."""

    values: np.ndarray
    shifts: tuple[int, ...]
    step: int
    spikes: tuple[int, ...]


def make_series(days: int, interval_s: float, seed: int, weekly: float = 0.0) -> Series:
    """One synthetic metric, in milliseconds. weekly: largest amplitude of a weekly rhythm, sigma."""
    rng = np.random.default_rng(seed)
    count = int(days * DAY_S / interval_s)
    at = np.arange(count) * interval_s / DAY_S
    sigma = 1.0
    amplitude, phase = rng.uniform(2.0, 12.0), rng.uniform(0, 2 * np.pi)
    season = amplitude * np.sin(2 * np.pi * at + phase) + 0.4 * amplitude * np.sin(4 * np.pi * at + 2 * phase)
    weekend = rng.uniform(0.0, weekly) * np.sin(2 * np.pi * at / 7 + phase)
    drift = rng.uniform(-0.12, 0.12) * at
    values = 60.0 + season + weekend + drift + rng.normal(0, sigma, count)
    a_day = int(DAY_S / interval_s)
    spikes = tuple(int(i) for i in rng.choice(np.arange(count), size=days // 2, replace=False))
    values[list(spikes)] += rng.uniform(6.0, 15.0, len(spikes))
    step = int((days * 0.6) * a_day)
    values[step:] += rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 8.0)
    shifts = []
    at_slot = int(_WARM_DAYS * a_day)
    while at_slot < count - SHIFT_INTERVALS - a_day:
        if not step - a_day // 4 < at_slot < step + 2 * a_day:
            shifts.append(at_slot)
            values[at_slot : at_slot + SHIFT_INTERVALS] += SHIFT_SIGMA * sigma * rng.choice([-1.0, 1.0])
        at_slot += int(a_day * (_GAP_DAYS + rng.uniform(0.0, 0.6)))
    return Series(values, tuple(shifts), step, spikes)


def watch(series: Series, settings: BaselineSettings, file: Path, restart: bool) -> list[BaselineEvent]:
    """Events of one series; with ``restart`` the monitor is closed and opened again every five days."""
    events: list[BaselineEvent] = []
    store = BaselineStore(file, durable=False)
    monitor = BaselineMonitor(store, settings, on_event=events.append)
    every = int(5 * DAY_S / settings.interval_s)
    for slot, value in enumerate(series.values):
        if restart and slot and slot % every == 0:
            store.close()
            store = BaselineStore(file, durable=False)
            monitor = BaselineMonitor(store, settings, on_event=events.append)
        monitor.add("latency_ms", START_S + slot * settings.interval_s, float(value))
    store.close()
    return events


def judge(series: Series, events: list[BaselineEvent], interval_s: float, days: int) -> dict[str, Any]:
    """Shifts found in time, delays, false alarms."""
    raised = sorted(round((e.at_s - START_S) / interval_s) for e in events if e.kind == "raised")
    a_day = int(DAY_S / interval_s)
    delays = []
    for first in series.shifts:
        found = [slot - first for slot in raised if first <= slot < first + SHIFT_INTERVALS]
        delays.append(min(found) + 1 if found else None)
    step = [slot - series.step for slot in raised if series.step <= slot < series.step + a_day]
    excused = [(first, first + SHIFT_INTERVALS + 3) for first in series.shifts]
    excused.append((series.step, series.step + 2 * a_day))
    false = [slot for slot in raised if not any(low <= slot < high for low, high in excused)]
    false = [slot for slot in false if slot >= 4 * a_day]
    return {
        "delays": delays,
        "step_delay": min(step) + 1 if step else None,
        "false": len(false),
        "weeks": (days - 4) / 7.0,
        "by_spike": sum(any(0 <= slot - spike < 3 for spike in series.spikes) for slot in false),
    }


def run(
    *, days: int = 60, series: int = 4, interval_s: float = 900.0, seed: int = 1000, weekly: float = 0.0
) -> dict[str, Any]:
    """Watch ``series`` metrics for ``days`` days each, the first one also with restarts."""
    settings = BaselineSettings(interval_s=interval_s)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(series):
            made = make_series(days, interval_s, seed + index, weekly)
            events = watch(made, settings, Path(folder) / f"{index}.db", restart=False)
            results.append(judge(made, events, interval_s, days))
            if index == 0:
                again = watch(made, settings, Path(folder) / "again.db", restart=True)
                same = events == again
    return summarise(results, same)


def summarise(results: list[dict[str, Any]], same: bool) -> dict[str, Any]:
    """Shares over all series."""
    delays = [delay for result in results for delay in result["delays"]]
    in_time = [delay for delay in delays if delay is not None and delay <= WITHIN]
    found = [delay for delay in delays if delay is not None]
    weekly = [result["false"] / result["weeks"] for result in results]
    share = len(in_time) / len(delays)
    return {
        "shifts": len(delays),
        "found_within_3": share,
        "found_share": len(found) / len(delays),
        "median_delay_intervals": float(np.median(found)) if found else None,
        "steps_found": sum(result["step_delay"] is not None for result in results),
        "series": len(results),
        "false_alarms_per_week": float(np.mean(weekly)),
        "false_alarms_per_week_worst": float(np.max(weekly)),
        "false_by_spike": sum(result["by_spike"] for result in results),
        "restart_same": same,
        "ok": share >= 0.95 and float(np.mean(weekly)) <= 1.0 and same,
    }


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Figures beside their limits."""
    return ["figure", "measured", "limit"], [
        ["3 sigma shifts found within 3 intervals", result["found_within_3"], 0.95],
        ["false alarms a week and metric", result["false_alarms_per_week"], 1.0],
        ["a restart changes nothing", result["restart_same"], True],
    ]
