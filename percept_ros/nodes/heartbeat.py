"""Sign of life of a node: a topic whose liveliness it asserts itself, and a bond where the bond messages are installed.

``~/heartbeat`` has liveliness MANUAL_BY_TOPIC: whoever subscribes with the same lease is told by DDS when the node is silent,
also when its process still exists but hangs. nav2's lifecycle manager listens to bonds instead (topic ``/bond``, id = node name).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Empty

LEASE_S = 2.0
_PERIOD_S = 0.4
_BOND_PERIOD_S, _BOND_TIMEOUT_S = 0.1, 4.0
HEARTBEAT_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
    liveliness_lease_duration=Duration(seconds=LEASE_S),
)


class Heartbeat:
    """Beats from the node's executor for as long as ``alive`` says so."""

    def __init__(self, node: Node, alive: Callable[[], bool]) -> None:
        self._node, self._alive = node, alive
        self._publisher = node.create_publisher(Empty, "~/heartbeat", HEARTBEAT_QOS)
        self._timer = node.create_timer(_PERIOD_S, self._beat)

    def _beat(self) -> None:
        if self._alive():
            self._publisher.publish(Empty())


class Bond:
    """Our half of a bond, without the library: status messages while the node is active. Source: bond_core, bond/msg/Status."""

    def __init__(self, node: Node, alive: Callable[[], bool]) -> None:
        self._node, self._alive = node, alive
        self._status = _status_class()
        self._instance = uuid.uuid4().hex
        self._publisher = node.create_publisher(self._status, "/bond", QoSProfile(depth=100)) if self._status else None
        self._timer: Any = None

    def start(self) -> None:
        """Form the bond (on activation)."""
        if self._publisher is not None and self._timer is None:
            self._timer = self._node.create_timer(_BOND_PERIOD_S, lambda: self._say(active=True))

    def stop(self) -> None:
        """Break the bond on purpose (on deactivation). Safe to call twice."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._say(active=False)

    def _say(self, *, active: bool) -> None:
        if self._publisher is None or (active and not self._alive()):
            return
        message = self._status(id=self._node.get_name(), instance_id=self._instance, active=active)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.heartbeat_timeout, message.heartbeat_period = _BOND_TIMEOUT_S, _BOND_PERIOD_S
        self._publisher.publish(message)


def _status_class() -> Any:
    return import_module("bond.msg").Status if find_spec("bond") is not None else None
