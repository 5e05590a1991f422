"""How well perception is doing: PerceptionStatus on change and at 1 Hz, and /diagnostics beside it."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from percept_ros.config import BudgetConfig, HealthConfig
from percept_ros.health.semantic import Verdict
from percept_ros.msg import PerceptionStatus
from percept_ros.nodes.budgets import BudgetMisses
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Finding, drops_of
from percept_ros.types import FrameResult, Mode

STATUS_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=2),
)
_WINDOW_S = 10.0
_PATIENCE_NS = 300_000_000
_STAGE_FRAMES = 200
_LEVEL = {Mode.FULL: OK, Mode.STALE: ERROR}


class StatusBoard:
    """Gathers what each frame says and publishes it. ``frame`` may be called from the pipeline's thread.

    Filling its messages takes milliseconds, so once a second it only asks to be told when there is time (``turn``).
    """

    def __init__(self, node: Node, complaints: Complaints, budget: BudgetConfig, health: HealthConfig) -> None:
        self._node, self._complaints = node, complaints
        self.budgets = BudgetMisses(budget)
        self._budget_ms = budget.total_ms
        self._unhealthy_below = health.unhealthy_below
        self._latencies: deque[tuple[float, float]] = deque(maxlen=4096)
        self._stages: dict[str, deque[float]] = {}
        self._last: FrameResult | None = None
        self.mode, self.cause, self.ego_motion = Mode.STALE, "no frame yet", "none"
        self.verdict = Verdict()
        self.frames = 0
        self.breakers: tuple[str, ...] = ()
        self.shadow: tuple[str, ...] = ()
        self._asked_ns = 0
        self._diagnostics = Diagnostics(node)
        for task, say in (("perception", self._perception), ("latency", self._latency), ("health", self._health)):
            self._diagnostics.add(task, say)

    def start(self, running: ExitStack) -> None:
        """Publish once now and then at 1 Hz, as ``turn`` permits."""
        self._status = self._node.create_publisher(PerceptionStatus, "~/status", STATUS_QOS)
        running.callback(self._node.destroy_publisher, self._status)
        self._diagnostics.open(running)
        timer = self._node.create_timer(1.0, self.tick)
        running.callback(self._node.destroy_timer, timer)
        self.publish()

    def tick(self) -> None:
        """A second is over: ask for a moment, or publish now when none was found since the last one."""
        if self._asked_ns:
            self.publish()
        self._asked_ns = time.monotonic_ns()

    def turn(self, answered: bool) -> None:
        """Publish, if asked for, when a set was answered just now or none has come for a while. From the pipeline's thread."""
        if self._asked_ns and (answered or time.monotonic_ns() - self._asked_ns > _PATIENCE_NS):
            self.publish()

    def frame(self, result: FrameResult, latency_ms: float, back_end_ms: float) -> None:
        """Take in one published frame; publishes the status at once when the mode changed.

        latency_ms: since its oldest stamp. back_end_ms: since its set was released.
        """
        self._latencies.append((time.monotonic(), latency_ms))
        self.frames += 1
        self._last = result
        stage_ms = {stage: spent_ns * 1e-6 for stage, spent_ns in result.stage_ns.items()}
        self.budgets.frame(stage_ms, back_end_ms, latency_ms)
        for stage, spent_ms in {**stage_ms, "back_end": back_end_ms}.items():
            self._stages.setdefault(stage, deque(maxlen=_STAGE_FRAMES)).append(spent_ms)
        if result.mode is not self.mode:
            self.enter(result.mode, result.cause)

    def enter(self, mode: Mode, cause: str) -> None:
        """Change the mode and say so."""
        self.mode, self.cause = mode, cause
        self.publish()

    def publish(self) -> None:
        """Publish status and diagnostics as they are now."""
        self._asked_ns = 0
        self.publish_status()
        self._diagnostics.publish()

    def publish_status(self) -> None:
        """Publish the status as it is now."""
        self._newest = self._message()
        self._status.publish(self._newest)

    def _message(self) -> PerceptionStatus:
        recent = self._recent_ms()
        message = PerceptionStatus(mode=int(self.mode), cause=self._why())
        self._tell_health(message)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.ego_motion, message.breakers = self.ego_motion, list(self.breakers)
        if self._last is not None:
            message.model_id = self._last.model
            cloud = self._last.sensors.cloud
            message.sensors_present = [*([cloud.sensor] if cloud else []), *sorted(self._last.sensors.cameras)]
            message.absent_sensors = [f"{n}: {r.name.lower()}" for n, r in self._last.sensors.absent.items()]
        drops = self._complaints.by_source
        message.drop_reasons, message.drop_counts = list(drops), list(drops.values())
        if len(recent):
            percentiles = [float(v) for v in np.percentile(recent, (50, 99, 99.9))]
            message.latency_p50_ms, message.latency_p99_ms, message.latency_p999_ms = percentiles
            message.frame_rate_hz = len(recent) / _WINDOW_S
        spent = {stage: np.percentile(list(times), (50, 99)) for stage, times in list(self._stages.items())}
        message.stages = list(spent)
        message.stage_p50_ms = [float(v[0]) for v in spent.values()]
        message.stage_p99_ms = [float(v[1]) for v in spent.values()]
        message.stage_misses = [self.budgets.of(stage) for stage in spent]
        message.frames, message.deadline_misses = self.frames, self.budgets.of("total")
        return message

    def _why(self) -> str:
        """The cause; while nothing at all can be used, also what was refused last."""
        refused = self._complaints.newest if self.mode is Mode.STALE else ""
        return "; ".join(text for text in (self.cause, refused) if text)

    def _recent_ms(self) -> list[float]:
        since = time.monotonic() - _WINDOW_S
        return [latency for at, latency in list(self._latencies) if at >= since]

    def _tell_health(self, message: PerceptionStatus) -> None:
        verdict = self.verdict
        message.health, message.degraded = float(verdict.score), bool(verdict.degraded)
        message.complete_share = float(verdict.complete_share)
        message.checks = list(verdict.checks)
        message.check_scores = [float(value) for value in verdict.checks.values()]
        message.concerns, message.shadow = list(verdict.concerns), list(self.shadow)

    def _perception(self) -> Finding:
        status = self._newest
        values: dict[str, object] = {
            "mode": self.mode.name,
            "rate (Hz)": f"{status.frame_rate_hz:.1f}",
            "frames": status.frames,
            "model": status.model_id,
            "ego motion": status.ego_motion,
            "sensors": ", ".join(status.sensors_present),
            "absent sensors": ", ".join(status.absent_sensors),
            "breakers": ", ".join(status.breakers),
        }
        text = f"{self.mode.name}: {status.cause}" if status.cause else self.mode.name
        return Finding(_LEVEL.get(self.mode, WARN), text, values | drops_of(self._complaints.by_source))

    def _latency(self) -> Finding:
        status = self._newest
        over = status.latency_p99_ms > self._budget_ms
        values: dict[str, object] = {
            "P50 (ms)": f"{status.latency_p50_ms:.1f}",
            "P99 (ms)": f"{status.latency_p99_ms:.1f}",
            "P99.9 (ms)": f"{status.latency_p999_ms:.1f}",
            "budget (ms)": f"{self._budget_ms:.0f}",
            "deadline misses": status.deadline_misses,
        }
        for stage, p50, p99 in zip(status.stages, status.stage_p50_ms, status.stage_p99_ms, strict=True):
            limit = self.budgets.limits_ms.get(stage)
            values[f"{stage} P50/P99 (ms)"] = f"{p50:.1f}/{p99:.1f}" + (f" of {limit:.0f}" if limit else "")
        values |= self.budgets.said()
        return Finding(WARN if over else OK, "P99 over its budget" if over else "within budget", values)

    def _health(self) -> Finding:
        verdict = self.verdict
        unhealthy = verdict.score < self._unhealthy_below
        level = ERROR if unhealthy else WARN if verdict.degraded or any(": failed" in s for s in self.shadow) else OK
        text = "unhealthy" if unhealthy else "degraded" if verdict.degraded else "healthy"
        values: dict[str, object] = {"score": f"{verdict.score:.2f}", "complete": f"{verdict.complete_share:.2f}"}
        values |= {f"check {name}": f"{value:.2f}" for name, value in verdict.checks.items()}
        values |= {f"shadow {number}": said for number, said in enumerate(self.shadow)}
        return Finding(level, "; ".join((text, *verdict.concerns)), values)
