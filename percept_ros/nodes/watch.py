"""Looks at a running system from outside: status of perception, states of the nodes, and the Steer service."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from percept_ros.errors import PerceptError, SetupError
from percept_ros.msg import PerceptionStatus
from percept_ros.nodes.main import quick_discovery
from percept_ros.nodes.qos import LATCHED_QOS
from percept_ros.nodes.status import STATUS_QOS
from percept_ros.nodes.steer import ask
from percept_ros.srv import Steer
from percept_ros.types import Mode

_LOOK_S = 0.05
STEER_LIMIT_S = 60.0


class Watch:
    """A node that listens to ``NAMESPACE/fusion/status`` and ``NAMESPACE/supervisor/state``. A context manager."""

    def __init__(self, namespace: str) -> None:
        self._namespace = "/" + namespace.strip("/")
        self.status: Any = None
        self.state: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        quick_discovery()
        rclpy.init(args=[])
        self._stack.callback(rclpy.try_shutdown)
        self._node = rclpy.create_node("percept_status", use_global_arguments=False, enable_rosout=False)
        self._stack.callback(self._node.destroy_node)
        prefix = self._namespace
        self._node.create_subscription(PerceptionStatus, f"{prefix}/fusion/status", self._on_status, STATUS_QOS)
        self._node.create_subscription(DiagnosticArray, f"{prefix}/supervisor/state", self._on_state, LATCHED_QOS)
        self._client: Any = self._node.create_client(Steer, f"{prefix}/supervisor/steer")
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        thread = threading.Thread(target=executor.spin, name="watch", daemon=True)
        thread.start()
        self._stack.callback(thread.join, 5.0)
        self._stack.callback(executor.shutdown)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait(self, limit_s: float) -> bool:
        """Wait until both topics were heard, at most ``limit_s``; returns whether anything was heard."""
        pause, deadline_s = threading.Event(), time.monotonic() + limit_s
        while (self.status is None or self.state is None) and time.monotonic() < deadline_s:
            pause.wait(_LOOK_S)
        return self.status is not None or self.state is not None

    def steer(self, command: str, argument: str, limit_s: float) -> str:
        """Have the supervisor carry out a command. Raises SetupError when there is none, PerceptError when it refuses."""
        if not self._client.wait_for_service(limit_s):
            raise SetupError(f"no supervisor serves {self._client.srv_name}: start the nodes, or give --namespace")
        return ask(self._client, command, argument, STEER_LIMIT_S)

    def snapshot(self) -> dict[str, Any]:
        """What was heard last, as one plain object. Raises SetupError when nothing was."""
        if self.status is None and self.state is None:
            raise SetupError(
                f"nobody publishes in {self._namespace}: start the nodes, or give --namespace (and the same ROS_DOMAIN_ID)"
            )
        return {
            "namespace": self._namespace,
            "perception": perception(self.status) if self.status is not None else None,
            "supervisor": _supervisor(self.state),
            "nodes": _nodes(self.state),
        }

    def _on_status(self, message: Any) -> None:
        self.status = message

    def _on_state(self, message: Any) -> None:
        self.state = message


def perception(status: Any) -> dict[str, Any]:
    """A PerceptionStatus as plain values."""
    return {
        "mode": Mode(status.mode).name,
        "cause": status.cause,
        "health": round(float(status.health), 3),
        "degraded": bool(status.degraded),
        "complete_share": round(float(status.complete_share), 3),
        "checks": dict(zip(status.checks, (round(float(v), 3) for v in status.check_scores), strict=True)),
        "concerns": list(status.concerns),
        "model": status.model_id,
        "ego_motion": status.ego_motion,
        "sensors_present": list(status.sensors_present),
        "absent_sensors": list(status.absent_sensors),
        "breakers": list(status.breakers),
        "shadow": list(status.shadow),
        "rate_hz": round(float(status.frame_rate_hz), 2),
        "frames": int(status.frames),
        "latency_ms": {name: round(float(getattr(status, f"latency_{name}_ms")), 2) for name in ("p50", "p99", "p999")},
        "stages_ms": {
            name: {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "misses": int(misses)}
            for name, p50, p99, misses in zip(
                status.stages, status.stage_p50_ms, status.stage_p99_ms, status.stage_misses, strict=True
            )
        },
        "deadline_misses": int(status.deadline_misses),
        "drops": dict(zip(status.drop_reasons, map(int, status.drop_counts), strict=True)),
    }


def _supervisor(state: Any) -> dict[str, str] | None:
    if state is None or not state.status:
        return None
    first = state.status[0]
    return {"state": first.message, **{pair.key.replace(" ", "_"): pair.value for pair in first.values}}


def _nodes(state: Any) -> dict[str, dict[str, str]]:
    if state is None:
        return {}
    return {
        one.name: {"state": one.message, **{pair.key.replace(" ", "_"): pair.value for pair in one.values}}
        for one in state.status[1:]
    }


def steer_once(namespace: str, command: str, argument: str, limit_s: float) -> tuple[bool, str]:
    """Send one Steer request; returns whether it was accepted, and the answer. Raises SetupError without a supervisor."""
    with Watch(namespace) as watch:
        try:
            return True, watch.steer(command, argument, limit_s)
        except SetupError:
            raise
        except PerceptError as exc:
            return False, str(exc)
