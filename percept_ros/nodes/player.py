"""Plays a bag on real topics at its own pace: bytes go from the file to DDS as they are, only stamps are moved to now."""

from __future__ import annotations

import importlib
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from percept_ros.replay.bag_reader import BagReader

_SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_RELIABLE_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
_NS = 1_000_000_000
_LEAD_NS = 100_000_000
_SENSOR_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")
_LATCHED = ("sensor_msgs/msg/CameraInfo",)


class BagPlayer(Node):
    """Publishes the messages of a bag. Call ``play`` from a thread of its own."""

    def __init__(self, skip: tuple[str, ...] = ("/ground_truth/",), **options: Any) -> None:
        super().__init__("bag_player", **options)
        self._skip = skip
        self._topic_publishers: dict[str, Any] = {}

    def advertise(self, topics: dict[str, str]) -> None:
        """Make publishers for topic -> type; types that are not installed are said and skipped."""
        for topic, kind in topics.items():
            if topic.startswith(self._skip) or (found := message_class(kind)) is None:
                self.get_logger().info(f"{topic} ({kind}) is not played")
                continue
            self._topic_publishers[topic] = self.create_publisher(found, topic, topic_qos(topic, kind))

    def wait_for_listeners(self, limit_s: float, pause: threading.Event) -> bool:
        """Wait until every topic has a subscriber, at most ``limit_s``; False when some have none."""
        until = time.monotonic() + limit_s
        while any(publisher.get_subscription_count() == 0 for publisher in self._topic_publishers.values()):
            if time.monotonic() > until or pause.wait(0.05):
                return False
        return True

    def play(self, bag: BagReader, stop: threading.Event, on_message: Callable[[int], None] = lambda done: None) -> int:
        """Publish every message of ``bag`` at the pace of its log times, header stamps moved to now.

        Returns by how many nanoseconds stamps were moved (add it to a bag stamp to get the published one).
        """
        moved_ns = 0
        for done, message in enumerate(bag.raw_messages()):
            if done == 0:
                begin, first_ns = time.monotonic_ns() + _LEAD_NS, message.log_ns
                moved_ns = self.get_clock().now().nanoseconds + _LEAD_NS - first_ns
            wait_s = (begin + message.log_ns - first_ns - time.monotonic_ns()) / _NS
            if stop.wait(max(0.0, wait_s)):
                break
            if (publisher := self._topic_publishers.get(message.topic)) is not None:
                publisher.publish(moved_stamp(message.message, message.msgtype, moved_ns))
            on_message(done + 1)
        return moved_ns


def message_class(kind: str) -> Any | None:
    """Class of ``package/msg/Name``, or None when the package is not installed."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None


def moved_stamp(raw: bytes, kind: str, by_ns: int) -> bytes:
    """CDR bytes whose header stamp is moved. The stamp is the first field of every type that begins with a Header."""
    if kind == "tf2_msgs/msg/TFMessage":
        return _moved_transforms(raw, by_ns)
    sec, nanosec = struct.unpack_from("<iI", raw, 4)
    moved = sec * _NS + nanosec + by_ns
    return raw[:4] + struct.pack("<iI", moved // _NS, moved % _NS) + raw[12:]


def _moved_transforms(raw: bytes, by_ns: int) -> bytes:
    from rclpy.serialization import deserialize_message, serialize_message

    from percept_ros.nodes.convert import stamp_ns, time_message

    message = deserialize_message(raw, message_class("tf2_msgs/msg/TFMessage"))
    for edge in message.transforms:
        edge.header.stamp = time_message(stamp_ns(edge.header.stamp) + by_ns)
    return bytes(serialize_message(message))


def topic_qos(topic: str, kind: str) -> QoSProfile:
    """Quality of service that a player gives a topic."""
    if topic.endswith("/tf_static") or kind in _LATCHED:
        return _LATCHED_QOS
    return _SENSOR_QOS if kind in _SENSOR_TYPES else _RELIABLE_QOS
