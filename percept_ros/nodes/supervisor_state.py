"""``~/state`` of the supervisor: every managed node, latched, on change and once a second, as DiagnosticArray."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from percept_ros.nodes.diagnostics import ERROR, HARDWARE, OK, WARN
from percept_ros.nodes.managed import ManagedNode
from percept_ros.nodes.qos import LATCHED_QOS

if TYPE_CHECKING:
    from percept_ros.nodes.supervisor import Supervisor

_PERIOD_S = 1.0


class SupervisorState:
    """Publishes what the supervisor knows. All calls from its executor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._publisher = supervisor.create_publisher(DiagnosticArray, "~/state", LATCHED_QOS)
        self._last: list[tuple[str, str]] = []
        supervisor.create_timer(_PERIOD_S, self.publish)

    def publish_changes(self) -> None:
        """Publish if a node is in another state than last time."""
        if [(node.name, node.label) for node in self._supervisor.managed] != self._last:
            self.publish()

    def publish(self) -> None:
        """Publish now."""
        self._last = [(node.name, node.label) for node in self._supervisor.managed]
        message = DiagnosticArray(status=[self._whole(), *map(self._of, self._supervisor.managed)])
        message.header.stamp = self._supervisor.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _whole(self) -> DiagnosticStatus:
        boss = self._supervisor
        respawned = len(boss.fleet.respawned) if boss.fleet is not None else 0
        values = {
            "goal": boss.goal.name,
            "last order": boss.last_order,
            "processes": "own" if boss.fleet is not None else "not ours",
            "respawned": respawned,
        }
        level = OK if boss.all_there else WARN
        return _status("supervisor", level, "all there" if boss.all_there else "on the way", values)

    def _of(self, node: ManagedNode) -> DiagnosticStatus:
        fleet = self._supervisor.fleet
        process = fleet.processes.get(node.name) if fleet is not None else None
        values = {
            "tries left": node.retry.limit - node.retry.used,
            "failures": node.failures,
            "recoveries": node.recoveries,
            "silent (s)": f"{node.silent_s(time.monotonic()):.1f}",
            "pid": process.pid if process is not None else "",
            "respawned": sum(one.name == node.name for one in fleet.respawned) if fleet is not None else 0,
        }
        there = node.state == self._supervisor.goal.value
        level = ERROR if node.spent else OK if there else WARN
        return _status(node.name, level, "recovering" if node.recovering else node.label, values)


def _status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=HARDWARE, values=pairs)
