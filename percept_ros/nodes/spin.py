"""Runs nodes until the process is told to stop, and ends cleanly: stop executors, close nodes, then shut down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor


def spin(make: Callable[[], Sequence[Any]], args: list[str] | None = None) -> int:
    """Initialise rclpy, make the nodes, spin them in one executor; returns the exit status."""
    rclpy.init(args=args)
    nodes: Sequence[Any] = ()
    executor: Any = SingleThreadedExecutor()
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
