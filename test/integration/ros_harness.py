"""What the ROS tests share: a domain of their own, a spinning node, waiting for conditions instead of sleeping."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"


@contextmanager
def ros_node(name: str = "probe") -> Iterator[Any]:
    """A node that spins in a thread, in a DDS domain of this test process, on this machine only."""
    from percept_ros.nodes.realtime import isolate_dds

    isolate_dds()
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init()
    node = rclpy.create_node(name)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join(5.0)
        node.destroy_node()
        rclpy.try_shutdown()


def wait_for(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Return as soon as ``condition`` holds; fail with ``what`` after ``limit_s``."""
    pause = threading.Event()
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s in vain for {what}"
        pause.wait(0.02)


def call(node: Any, kind: Any, name: str, request: Any, limit_s: float = 60.0) -> Any:
    """Call a service from outside and return its answer."""
    client = node.create_client(kind, name)
    wait_for(client.service_is_ready, f"service {name}", limit_s)
    future = client.call_async(request)
    wait_for(future.done, f"answer of {name}", limit_s)
    node.destroy_client(client)
    return future.result()
