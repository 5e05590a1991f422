"""Runs nodes until the process is told to stop, and ends cleanly: stop executors, close nodes, then shut down."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.experimental.events_executor import EventsExecutor

from percept_ros.runtime import realtime
from percept_ros.runtime.realtime import raise_process

PRIORITY_VARIABLE = "PERCEPT_REALTIME_PRIORITY"
"""Environment variable with the SCHED_FIFO priority of a node process from before DDS starts."""
_END_S = 4.0
_TURN_S = (
    0.2  # EventsExecutor.spin() of Jazzy never gives its queue back (its endless wait overflows); bounded turns do
)


def spin(make: Callable[[], Sequence[Any]], args: list[str] | None = None) -> int:
    """Initialise rclpy, make the nodes, spin them in one executor; returns the exit status."""
    if priority := int(os.environ.get(PRIORITY_VARIABLE, "0")):
        raise_process(priority, starting=True)
    rclpy.init(args=args)
    if priority:
        # the threads of DDS share locks in shared memory with every other process: one that is preempted while it holds
        # one would keep all the others waiting
        raise_process(priority, starting=True)
    nodes: Sequence[Any] = ()
    executor: Any = EventsExecutor()
    try:
        nodes = make()
        for node in nodes:
            executor.add_node(node)
        if priority:
            raise_process(priority)
        while rclpy.ok():
            executor.spin_once(_TURN_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # a second Ctrl-C (a launch file sends one more to its processes) must not break the tidy end
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        executor.shutdown()
        for node in reversed(nodes):
            if hasattr(node, "close"):
                node.close()
        end_within(_END_S)
        for node in reversed(nodes):
            node.destroy_node()
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()
    return 0


def end_within(limit_s: float) -> None:
    """Have this process end (status 1, with its traces) if it is still there after ``limit_s``; nothing of value may be held.

    DomainParticipant::set_listener of Fast DDS 2.14 spins with its lock held until no callback runs; one that discovers
    another participant meanwhile waits for that lock. It was seen to spin for 85 s, at real-time priority.
    """
    realtime.step_back_process()
    faulthandler.dump_traceback_later(limit_s, exit=True)
