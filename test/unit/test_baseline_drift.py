"""Drifting baselines: what is usual is learned, what is not is said, and nothing is lost by a restart or a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import SetupError
from percept_ros.health.baseline_monitor import BaselineEvent, BaselineMonitor
from percept_ros.health.baseline_store import BaselineStore
from percept_ros.health.burn_rate import BurnRate
from percept_ros.health.seasonal import DAY_S, fit_seasonal
from percept_ros.types import F64

INTERVAL_S = 900.0
A_DAY = 96


def usual(days: int, seed: int = 1, drift: float = 0.0) -> F64:
    at = np.arange(days * A_DAY) / A_DAY
    noise = np.random.default_rng(seed).normal(0, 1.0, len(at))
    values: F64 = 60.0 + 6.0 * np.sin(2 * np.pi * at) + drift * at + noise
    return values


def watch(monitor: BaselineMonitor, values: F64, first: int = 0) -> list[BaselineEvent]:
    events = []
    for slot, value in enumerate(values, first):
        event = monitor.add("latency", slot * INTERVAL_S, float(value))
        if event is not None:
            events.append(event)
    return events


def in_memory(**settings: object) -> BaselineMonitor:
    return BaselineMonitor(BaselineStore(":memory:"), **settings)  # type: ignore[arg-type]


def test_the_decomposition_finds_level_season_and_spread() -> None:
    values = usual(7)
    times = [(slot + 0.5) * INTERVAL_S for slot in range(len(values))]
    fitted = fit_seasonal(times, list(values), [1] * len(values), 4.0)
    assert fitted is not None
    assert fitted.level == pytest.approx(60.0, abs=0.5)
    assert fitted.sigma == pytest.approx(1.0, abs=0.1)
    assert fitted.expected(7.25 * DAY_S) == pytest.approx(66.0, abs=0.7)
    assert fitted.expected(7.75 * DAY_S) == pytest.approx(54.0, abs=0.7)


def test_too_few_days_give_no_baseline() -> None:
    assert fit_seasonal([], [], [], 4.0) is None
    assert fit_seasonal([0.0, 600.0], [1.0, 2.0], [1, 1], 4.0) is None


def test_a_gap_of_a_day_does_not_hurt() -> None:
    values = usual(7)
    kept = [slot for slot in range(len(values)) if not 3 * A_DAY <= slot < 4 * A_DAY]
    fitted = fit_seasonal(
        [(k + 0.5) * INTERVAL_S for k in kept], [float(values[k]) for k in kept], [1] * len(kept), 4.0
    )
    assert fitted is not None
    assert fitted.expected(7.25 * DAY_S) == pytest.approx(66.0, abs=0.8)


def test_a_shift_is_found_and_its_end_too() -> None:
    values = usual(9)
    values[8 * A_DAY : 8 * A_DAY + 12] += 4.0
    events = [event for event in watch(in_memory(), values) if event.at_s >= 8 * DAY_S]
    assert [event.kind for event in events[:2]] == ["raised", "cleared"]
    assert events[0].at_s < (8 * A_DAY + 3) * INTERVAL_S
    assert events[0].deviation > 1.9
    assert events[1].at_s < (8 * A_DAY + 16) * INTERVAL_S


def test_spikes_of_one_interval_raise_nothing() -> None:
    values = usual(9)
    spikes = range(8 * A_DAY, 9 * A_DAY, 16)
    values[list(spikes)] += 12.0
    raised = {round(event.at_s / INTERVAL_S) for event in watch(in_memory(), values) if event.kind == "raised"}
    after = {spike + later for spike in spikes for later in range(3)}
    assert not raised & after


def test_slow_drift_is_learned() -> None:
    events = watch(in_memory(), usual(14, drift=0.15))
    raised = [event for event in events if event.kind == "raised" and event.at_s > 7 * DAY_S]
    assert len(raised) <= 2, "a week of it is a whole sigma; chance raises one event a week"
    assert all(event.kind != "adopted" for event in events)


def test_a_lasting_step_is_raised_and_adopted_after_a_day() -> None:
    values = usual(11)
    values[8 * A_DAY :] += 8.0
    kinds = [event.kind for event in watch(in_memory(), values) if event.at_s >= 8 * DAY_S]
    assert kinds[:2] == ["raised", "adopted"]


def test_static_limits_until_a_baseline_is_known() -> None:
    monitor = in_memory(limits={"latency": 100.0})
    assert watch(monitor, np.array([50.0, 120.0, 50.0, 50.0])) == []
    events = watch(monitor, np.array([120.0, 130.0, 140.0]), first=4)
    assert [(event.kind, event.static) for event in events] == [("raised", True)]
    assert [event.kind for event in watch(monitor, np.array([50.0, 50.0, 50.0]), first=7)] == ["cleared"]


def test_clock_steps_and_nonsense_are_ignored() -> None:
    monitor = in_memory()
    watch(monitor, usual(1))
    assert monitor.add("latency", 0.0, 1.0) is None
    assert monitor.add("latency", 2 * DAY_S, float("nan")) is None


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    values = usual(8, seed=5)
    values[int(7.5 * A_DAY) : int(7.5 * A_DAY) + 20] += 5.0
    whole = watch(in_memory(), values)
    events = []
    for first in range(0, len(values), 2 * A_DAY + 7):
        store = BaselineStore(tmp_path / "b.db", durable=False)
        events += watch(BaselineMonitor(store), values[first : first + 2 * A_DAY + 7], first)
        store.close()
    assert events == whole
    assert events
    store = BaselineStore(tmp_path / "b.db")
    assert [event["kind"] for event in reversed(store.events())] == [event.kind for event in whole]
    store.close()


def test_a_kill_in_the_middle_of_a_write_loses_nothing_that_was_said(tmp_path: Path) -> None:
    file = tmp_path / "killed.db"
    for _ in range(2):
        command = [sys.executable, str(Path(__file__).with_name("baseline_writer.py")), str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [int(writer.stdout.readline()) for _ in range(25)]
            writer.send_signal(signal.SIGKILL)
            said += [int(line) for line in writer.stdout.read().split() if line.isdigit()]
        store = BaselineStore(file)
        assert store.moved_aside is None
        slots = [row.slot for row in store.intervals("latency")]
        store.close()
        assert set(said[:-1]) <= set(slots), "what was said to be written is there"
        assert slots == sorted(slots)
        assert slots == list(range(len(slots)))


def test_a_damaged_file_is_moved_aside(tmp_path: Path) -> None:
    file = tmp_path / "b.db"
    file.write_bytes(b"this is no data base" * 100)
    store = BaselineStore(file)
    assert store.moved_aside is not None
    assert store.moved_aside.exists()
    assert store.metrics() == []
    store.close()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="baseline file"):
        BaselineStore(tmp_path / "file" / "b.db")


def test_burn_rate_by_hand() -> None:
    burn = BurnRate(0.999)
    for step in range(360):  # one hour, 100 frames each 10 s, one of them bad
        burn.add(step * 10.0, 99, 1)
    assert burn.rate(3600, 3599.0) == pytest.approx(10.0)
    assert burn.alerts(3599.0) == ("slow",), "10 is above 6, not above 14.4"
    assert burn.budget_left == pytest.approx(1.0 - 10.0)
    for step in range(360, 390):  # five minutes of nothing but good frames
        burn.add(step * 10.0, 100, 0)
    assert burn.rate(300, 3899.0) == 0.0
    assert BurnRate().budget_left == 1.0


def test_the_budget_outlives_the_process(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path / "b.db")
    store.add_budget(5, 90, 10, 0)
    store.add_budget(5, 0, 5, 0)
    store.close()
    store = BaselineStore(tmp_path / "b.db")
    assert store.budget() == [(5, 90, 15)]
    assert BurnRate(0.9, store.budget()).budget_left == pytest.approx(1.0 - 15 / 10.5)
    store.close()
