"""Subscriptions as filters: message_filters.Subscriber where it is installed, else an equivalent of its interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile


class Filter(Protocol):
    """What message_filters calls a simple filter."""

    sub: Any

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> Any:
        """Call ``callback(message, *args)`` for every message."""
        ...


class Subscriber:
    """One subscription that calls every registered callback; errors of one callback do not stop the others."""

    def __init__(self, node: Node, message_type: type, topic: str, qos_profile: QoSProfile, **options: Any) -> None:
        self._callbacks: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.sub: Any = node.create_subscription(message_type, topic, self._signal, qos_profile, **options)

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> None:
        """See Filter."""
        self._callbacks.append((callback, args))

    def _signal(self, message: Any) -> None:
        for callback, args in self._callbacks:
            callback(message, *args)


def subscribe(
    node: Node, message_type: type, topic: str, qos: QoSProfile, callback: Callable[..., None], *, raw: bool = False
) -> Filter:
    """A filter on ``topic`` that calls ``callback(message)``; incompatible QoS is logged with what to do.

    raw: messages come as the bytes that DDS carries.
    """
    events = SubscriptionEventCallbacks(incompatible_qos=lambda event: _report(node, topic, event))
    made: Filter = _subscriber_class()(node, message_type, topic, qos_profile=qos, event_callbacks=events, raw=raw)
    made.registerCallback(callback)
    return made


def _subscriber_class() -> Any:
    try:
        import message_filters
    except ImportError:
        return Subscriber
    return message_filters.Subscriber


def unsubscribe(node: Node, made: Filter) -> None:
    """End a filter's subscription."""
    node.destroy_subscription(made.sub)


def _report(node: Node, topic: str, event: Any) -> None:
    node.get_logger().error(
        f"{topic}: a publisher's QoS does not fit (policy {event.last_policy_kind.name}, {event.total_count} so far):"
        " no message of it arrives; publish with best effort or reliable, volatile, keep last"
    )
