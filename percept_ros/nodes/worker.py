"""The worker thread of a node: takes messages from the inbox and handles them one after the other."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from percept_ros.nodes.component import Component
from percept_ros.nodes.inbox import Inbox

_JOIN_S = 10.0
SLACK_NS = 5_000_000
"""What a worker may give to the garbage collector after it handled everything that had come."""


def run_worker(
    node: Component, name: str, inbox: Inbox, handle: Callable[[str, Any], None], running: ExitStack
) -> threading.Thread:
    """Start a thread that calls ``handle(source, message)`` for everything in ``inbox`` until ``running`` unwinds.

    An exception that ``handle`` lets out is a fault of the node: it is logged and the node goes through on_error.
    """

    def work() -> None:
        while inbox.is_open:
            taken = inbox.take(None)
            for (source, message), arrived_ns in zip(taken, inbox.taken_ns, strict=True):
                inbox.arrived_ns = arrived_ns
                handle(source, message)
            node.slack(SLACK_NS)

    return start_thread(node, name, inbox, work, running)


def start_thread(
    node: Component, name: str, inbox: Inbox, work: Callable[[], None], running: ExitStack
) -> threading.Thread:
    """Run ``work`` in a thread that ends when ``inbox`` closes; its exceptions become faults of the node."""

    def guarded() -> None:
        try:
            work()
        except Exception as exc:
            if not node.context.ok():
                return  # the process is ending: ROS is shut down already, nothing can be published any more
            node.get_logger().error(f"{node.get_name()}: {exc}\n{traceback.format_exc()}")
            node.fault(exc)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    running.callback(_end, thread, inbox)
    thread.start()
    return thread


def _end(thread: threading.Thread, inbox: Inbox) -> None:
    inbox.close()
    if thread is not threading.current_thread():
        thread.join(_JOIN_S)
