"""TF: tf2_ros where it is installed, else the package's own transform tree fed from /tf and /tf_static."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from percept_ros.core.transform_tree import TransformTree
from percept_ros.errors import CalibrationError, TransformError
from percept_ros.nodes.convert import se3, stamp_ns
from percept_ros.types import F64


class Transforms(Protocol):
    """Looks transforms up."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> F64:
        """(4, 4) ``target_SE3_source``. Raises TransformError."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


def open_transforms(node: Node) -> Transforms | None:
    """The best source of transforms on this machine; None when not even the message type is installed."""
    if find_spec("tf2_ros") is not None:
        try:
            return Tf2Transforms(node)
        except ImportError as exc:
            node.get_logger().warning(f"tf2_ros is installed but cannot be used ({exc}): /tf is read directly")
    if find_spec("tf2_msgs") is not None:
        return TopicTransforms(node)
    return None


class Tf2Transforms:
    """tf2_ros's buffer and listener."""

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._errors: tuple[type[Exception], ...] = (tf2_ros.TransformException,)
        self._buffer: Any = tf2_ros.Buffer(cache_time=Duration(seconds=10))
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def lookup(self, target: str, source: str, stamp_ns: int) -> F64:
        """See Transforms."""
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
        except self._errors as exc:
            raise TransformError(
                f"no transform from '{source}' to '{target}': {exc}; publish it on /tf or /tf_static"
            ) from exc
        return se3(found.transform)

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()


class TopicTransforms:
    """A TransformTree fed by two subscriptions."""

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._tree = node, TransformTree()
        self.refused = 0
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", self._on_moving, 100),
            node.create_subscription(TFMessage, "/tf_static", self._on_fixed, latched),
        ]

    def lookup(self, target: str, source: str, stamp_ns: int) -> F64:
        """See Transforms."""
        return self._tree.lookup(target, source, stamp_ns)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_fixed(self, message: Any) -> None:
        for edge in message.transforms:
            if (pose := self._pose(edge)) is not None:
                self._tree.set_fixed(edge.header.frame_id, edge.child_frame_id, pose)

    def _on_moving(self, message: Any) -> None:
        for edge in message.transforms:
            if (pose := self._pose(edge)) is not None:
                self._tree.add_moving(edge.header.frame_id, edge.child_frame_id, pose, stamp_ns(edge.header.stamp))

    def _pose(self, edge: Any) -> F64 | None:
        try:
            return se3(edge.transform)
        except CalibrationError as exc:
            self.refused += 1
            self._node.get_logger().warning(
                f"transform {edge.header.frame_id} -> {edge.child_frame_id} refused: {exc}", throttle_duration_sec=5.0
            )
            return None
