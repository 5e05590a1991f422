"""/diagnostics of one node, in the conventions of diagnostic_updater: name ``node: task``, hardware id, 1 Hz, at once on change.

Where ``diagnostic_updater`` is installed its own publisher does the sending. Never the channel that safety listens to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSProfile

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
HARDWARE = "percept_ros"
_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one task says: level, one line, and figures."""

    level: bytes
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class Diagnostics:
    """Tasks of one node, each a function that says how it is."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tasks: dict[str, Callable[[], Finding]] = {}
        self._levels: dict[str, bytes] = {}

    def add(self, task: str, say: Callable[[], Finding]) -> None:
        """Add a task; its full name is ``node: task``."""
        self._tasks[task] = say

    def open(self, running: ExitStack) -> None:
        """Have the publisher, until ``running`` unwinds; somebody else says when."""
        self._publisher = self._node.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        running.callback(self._node.destroy_publisher, self._publisher)

    def start(self, running: ExitStack) -> None:
        """Publish once a second until ``running`` unwinds."""
        self.open(running)
        timer = self._node.create_timer(_PERIOD_S, self.publish)
        running.callback(self._node.destroy_timer, timer)

    def start_for_good(self) -> None:
        """Publish once a second for as long as the node is there."""
        self.start(ExitStack())

    def publish(self) -> None:
        """Publish all tasks now."""
        message = DiagnosticArray(status=[self._status(task, say()) for task, say in self._tasks.items()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _status(self, task: str, found: Finding) -> DiagnosticStatus:
        name = f"{self._node.get_name()}: {task}"
        values = [KeyValue(key=key, value=str(value)) for key, value in found.values.items()]
        return DiagnosticStatus(
            level=found.level, name=name, message=found.message, hardware_id=HARDWARE, values=values
        )


def drops_of(counts: Mapping[str, int]) -> dict[str, Any]:
    """Drop counters as figures: ``dropped source/reason``."""
    return {f"dropped {name}": number for name, number in sorted(counts.items())}
