"""/diagnostics of a sensor node: rate, time from message to shared memory against its budget, drops by reason."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack

import numpy as np
from rclpy.node import Node

from percept_ros.config import BudgetConfig
from percept_ros.nodes.budgets import BudgetMisses
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Finding, drops_of

_WINDOW_S = 10.0
_SILENT_S = 1.0


class SensorReport:
    """Gathers what was delivered. ``delivered`` may be called from the worker."""

    def __init__(self, node: Node, topic: str, complaints: Complaints, budget: BudgetConfig) -> None:
        self._topic, self._complaints, self._budget_ms = topic, complaints, budget.front_end_ms
        self.budgets = BudgetMisses(budget)
        self._times: deque[tuple[float, float]] = deque(maxlen=2048)
        self._total = 0
        self._diagnostics = Diagnostics(node)
        self._diagnostics.add("frames", self.finding)

    def start(self, running: ExitStack) -> None:
        """Publish once a second until ``running`` unwinds."""
        self._diagnostics.start(running)

    def delivered(self, came_ns: int, taken_ns: int) -> None:
        """A frame whose message came at ``came_ns`` and was taken up at ``taken_ns`` (monotonic) is in shared memory."""
        now_ns = time.monotonic_ns()
        self.budgets.front_end((taken_ns - came_ns) * 1e-6, (now_ns - taken_ns) * 1e-6)
        self._times.append((now_ns * 1e-9, (now_ns - came_ns) * 1e-6))
        self._total += 1

    def finding(self) -> Finding:
        """How the sensor is."""
        now_s = time.monotonic()
        recent = [(at_s, spent_ms) for at_s, spent_ms in list(self._times) if now_s - at_s <= _WINDOW_S]
        p50, p99 = np.percentile([spent for _, spent in recent], (50, 99)) if recent else (0.0, 0.0)
        silent_s = now_s - recent[-1][0] if recent else float("inf")
        values: dict[str, object] = {
            "topic": self._topic,
            "rate (Hz)": f"{len(recent) / _WINDOW_S:.1f}",
            "frames": self._total,
            "front end P50 (ms)": f"{p50:.1f}",
            "front end P99 (ms)": f"{p99:.1f}",
            "front end budget (ms)": f"{self._budget_ms:.0f}",
        }
        if silent_s > _SILENT_S:
            level, text = ERROR, f"no frames from {self._topic}"
        elif p99 > self._budget_ms:
            level, text = WARN, "P99 over its budget"
        else:
            level, text = OK, "frames flow"
        return Finding(level, text, values | self.budgets.said() | drops_of(self._complaints.by_source))
