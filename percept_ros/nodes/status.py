"""How well perception is doing: PerceptionStatus on change and at 1 Hz, and /diagnostics beside it."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from contextlib import ExitStack

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from percept_ros.config import BudgetConfig
from percept_ros.msg import PerceptionStatus
from percept_ros.nodes.complaints import Complaints
from percept_ros.types import FrameResult, Mode

STATUS_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=2),
)
_WINDOW_S = 10.0
_STAGE_FRAMES = 200
_LEVEL = {Mode.FULL: DiagnosticStatus.OK, Mode.STALE: DiagnosticStatus.ERROR}


class StatusBoard:
    """Gathers what each frame says and publishes it. ``frame`` may be called from the pipeline's thread."""

    def __init__(self, node: Node, complaints: Complaints, budget: BudgetConfig) -> None:
        self._node, self._complaints, self._budget_ms = node, complaints, budget.total_ms
        self._budget = {s: getattr(budget, f"{s}_ms") for s in ("detect", "fuse", "track", "predict")}
        self._latencies: deque[tuple[float, float]] = deque(maxlen=4096)
        self._stages: dict[str, deque[float]] = {}
        self._stage_misses: Counter[str] = Counter()
        self._last: FrameResult | None = None
        self.mode, self.cause, self.ego_motion, self.health = Mode.STALE, "no frame yet", "none", 1.0
        self.frames = self.misses = 0
        self.breakers: tuple[str, ...] = ()

    def start(self, running: ExitStack) -> None:
        """Publish once now and then at 1 Hz."""
        self._status = self._node.create_publisher(PerceptionStatus, "~/status", STATUS_QOS)
        running.callback(self._node.destroy_publisher, self._status)
        self._diagnostics = self._node.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        running.callback(self._node.destroy_publisher, self._diagnostics)
        timer = self._node.create_timer(1.0, self.publish)
        running.callback(self._node.destroy_timer, timer)
        self.publish()

    def frame(self, result: FrameResult, latency_ms: float) -> None:
        """Take in one published frame; publishes the status at once when the mode changed."""
        self._latencies.append((time.monotonic(), latency_ms))
        self.frames += 1
        self.misses += latency_ms > self._budget_ms
        self._last = result
        for stage, spent_ns in result.stage_ns.items():
            self._stages.setdefault(stage, deque(maxlen=_STAGE_FRAMES)).append(spent_ns * 1e-6)
            self._stage_misses[stage] += spent_ns * 1e-6 > self._budget.get(stage, math.inf)
        if result.mode is not self.mode:
            self.enter(result.mode, result.cause)

    def enter(self, mode: Mode, cause: str) -> None:
        """Change the mode and say so."""
        self.mode, self.cause = mode, cause
        self.publish()

    def publish(self) -> None:
        """Publish status and diagnostics as they are now."""
        message = self._message()
        self._status.publish(message)
        self._diagnostics.publish(self._diagnostic(message))

    def _message(self) -> PerceptionStatus:
        recent = self._recent_ms()
        message = PerceptionStatus(mode=int(self.mode), cause=self.cause, health=float(self.health))
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
        message.stage_misses = [int(self._stage_misses[stage]) for stage in spent]
        message.frames, message.deadline_misses = self.frames, int(self.misses)
        return message

    def _recent_ms(self) -> list[float]:
        since = time.monotonic() - _WINDOW_S
        return [latency for at, latency in list(self._latencies) if at >= since]

    def _diagnostic(self, status: PerceptionStatus) -> DiagnosticArray:
        level = _LEVEL.get(self.mode, DiagnosticStatus.WARN)
        entry = DiagnosticStatus(level=level, name=f"{self._node.get_name()}: perception", hardware_id="percept_ros")
        entry.message = f"{self.mode.name}: {self.cause}" if self.cause else self.mode.name
        values = {
            "rate (Hz)": f"{status.frame_rate_hz:.1f}",
            "latency P50 (ms)": f"{status.latency_p50_ms:.1f}",
            "latency P99 (ms)": f"{status.latency_p99_ms:.1f}",
            "latency budget (ms)": f"{self._budget_ms:.0f}",
            "deadline misses": str(status.deadline_misses),
            "model": status.model_id,
            "ego motion": status.ego_motion,
            "absent sensors": ", ".join(status.absent_sensors),
        }
        values.update({f"dropped {k}": str(v) for k, v in zip(status.drop_reasons, status.drop_counts, strict=True)})
        entry.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[entry])
        message.header.stamp = status.header.stamp
        return message
