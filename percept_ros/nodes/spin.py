"""Runs nodes until the process is told to stop, and ends cleanly: stop executors, close nodes, then shut down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.experimental.events_executor import EventsExecutor


def spin(make: Callable[[], Sequence[Any]], args: list[str] | None = None, *, events: bool = True) -> int:
    """Initialise rclpy, make the nodes, spin them in one executor; returns the exit status."""
    rclpy.init(args=args)
    nodes: Sequence[Any] = ()
    executor: Any = EventsExecutor() if events else SingleThreadedExecutor()
    try:
        nodes = make()
        for node in nodes:
            executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
        for node in reversed(nodes):
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
