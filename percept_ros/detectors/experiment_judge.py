"""Judges the canary of an experiment by what the groups did, and stops it; what there is to tell of an experiment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from percept_ros.detectors.experiment_log import ExperimentLog, Record
from percept_ros.detectors.experiment_plan import remember_stop
from percept_ros.detectors.experiment_setup import Setup
from percept_ros.inference.experiment_canary import CanaryTest


class Judge:
    """Hears of every answer and of every comparison, from any thread.

    plan_file: where the plan is now; a stop is noted beside it. tell: told when a canary is stopped.
    """

    def __init__(self, log: ExperimentLog, plan_file: Callable[[], Path], tell: Callable[[str], None]) -> None:
        self._log, self._plan_file, self._tell = log, plan_file, tell
        self._lock = threading.Lock()

    def answered(self, setup: Setup, record: Record) -> None:
        """A group answered a frame, or failed on it."""
        self._log.add(record)
        setup.answered[record.group] = setup.answered.get(record.group, 0) + record.ok
        canary = setup.canary
        if canary is None:
            return
        with self._lock:
            before = canary.stopped
            if record.group == canary.plan.group:
                canary.answered(record.ok, record.ms)
            elif record.group == setup.plan.control and record.ok and not record.fallback:
                canary.control(record.ms)
        self._tell_stop(setup, canary, before)

    def compared(self, setup: Setup, record: Record) -> None:
        """A shadow was compared: where it is the control group on a frame of the canary, the canary is judged by it."""
        canary = setup.canary
        if canary is None or {record.group, record.against} != {canary.plan.group, setup.plan.control}:
            return
        with self._lock:
            before = canary.stopped
            canary.compared(record.disagreement)
        self._tell_stop(setup, canary, before)

    def _tell_stop(self, setup: Setup, canary: CanaryTest, before: bool) -> None:
        if canary.stopped and not before:
            remember_stop(self._plan_file(), setup.plan, canary.reason)
            self._tell(
                f"canary '{canary.plan.group}' is stopped, its frames go back to '{setup.plan.control}': {canary.reason}"
            )


def experiment_state(setup: Setup, log: ExperimentLog, trouble: str) -> dict[str, Any]:
    """Everything worth knowing about an experiment, as plain values. trouble: why a newer plan is not in use."""
    return {
        "experiment": setup.plan.name,
        "plan_sha256": setup.plan.sha256,
        "control": setup.plan.control,
        "groups": {name: list(arm.models) for name, arm in setup.arms.items()},
        "shadow": list(setup.shadow.groups) if setup.shadow else [],
        "answered": dict(setup.answered),
        "notes": dict(setup.notes),
        "trouble": trouble,
        "frames": {"/".join(key): count for key, count in sorted(log.counts.items())},
        "canary": _canary_state(setup.canary) if setup.canary else None,
    }


def _canary_state(test: CanaryTest) -> dict[str, Any]:
    canary = test.state
    return {
        "group": canary.group,
        "stopped": canary.stopped,
        "reason": canary.reason,
        "rounds_passed": canary.rounds,
        "frames": canary.frames,
        "rates": canary.rates,
        "log_likelihood_ratio": canary.llr,
        "bounds": list(canary.bounds),
    }
