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


_ASK_AGAIN_S = 20.0


def wait_for(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Return as soon as ``condition`` holds; fail with ``what`` after ``limit_s``."""
    pause = threading.Event()
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s in vain for {what}"
        pause.wait(0.02)


def call(node: Any, kind: Any, name: str, request: Any, limit_s: float = 60.0) -> Any:
    """Call a service from outside and return its answer.

    Asks again after a while: DDS may match the way back later than the way there, and an answer sent before that is lost.
    """
    client = node.create_client(kind, name)
    wait_for(client.service_is_ready, f"service {name}", limit_s)
    futures: list[Any] = []
    asked_s = -_ASK_AGAIN_S

    def answered() -> bool:
        nonlocal asked_s
        if time.monotonic() - asked_s > _ASK_AGAIN_S:
            asked_s = time.monotonic()
            futures.append(client.call_async(request))
        return any(future.done() for future in futures)

    wait_for(answered, f"answer of {name}", limit_s)
    node.destroy_client(client)
    return next(future for future in futures if future.done()).result()
