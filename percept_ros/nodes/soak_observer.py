"""Watches the tracks from outside and writes down what came, when, and whether it was valid; a process of its own.

    python -m percept_ros.nodes.soak_observer JOB.json

Trusts nothing: bytes are read by soak/array_reader.py. Prints ``mode N`` when the mode changes. Ends with standard input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from percept_ros.msg import ObstacleTrackArray, PerceptionStatus
from percept_ros.nodes.status import STATUS_QOS
from percept_ros.runtime.realtime import TaskTiming, apply, raise_process, sleep_until
from percept_ros.soak.array_reader import SeenArray, read_array

_CLOCK_PRIORITY = 90
_CLOCK_NS = 10_000_000
_STALL_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class ObserverJob:
    """tracks, status: topics. seen: file of JSON lines. priority: SCHED_FIFO, 0 = none."""

    tracks: str
    status: tuple[str, ...]
    seen: str
    priority: int = 0


class Observer(Node):
    """One line for each array and each change of the status."""

    def __init__(self, job: ObserverJob, seen: TextIO, stalls: SimpleQueue[dict[str, int]]) -> None:
        """stalls: filled by other threads, written here: a text file takes no lines from two threads at once."""
        super().__init__("soak_observer")
        self._seen, self._mode, self._stalls = seen, -1, stalls
        self._said: dict[str, tuple[int, str]] = {}
        self.create_subscription(ObstacleTrackArray, job.tracks, self._on_tracks, QoSProfile(depth=50), raw=True)
        for topic in job.status:
            self.create_subscription(
                PerceptionStatus, topic, lambda message, topic=topic: self._on_status(topic, message), STATUS_QOS
            )

    def _on_tracks(self, raw: bytes) -> None:
        at_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        try:
            array = read_array(raw)
        except ValueError as exc:
            self._write({"at_ns": at_ns, "wall_ns": wall_ns, "invalid": str(exc)})
            return
        self._write({"at_ns": at_ns, "wall_ns": wall_ns, **_plain(array)})
        if array.mode != self._mode:
            self._mode = array.mode
            print(f"mode {array.mode} {at_ns}", flush=True)

    def _on_status(self, topic: str, message: PerceptionStatus) -> None:
        said = (int(message.mode), str(message.cause))
        if self._said.get(topic) != said:
            self._said[topic] = said
            entry = {"status": topic, "at_ns": time.monotonic_ns(), "mode": said[0], "cause": said[1]}
            self._write({**entry, "health": float(message.health)})

    def write_stalls(self) -> None:
        """Write down what the watchers of the processors saw."""
        while not self._stalls.empty():
            self._write(self._stalls.get())

    def _write(self, entry: Mapping[str, object]) -> None:
        self._seen.write(json.dumps(entry) + "\n")


def _plain(array: SeenArray) -> dict[str, object]:
    tracks = [
        [t.id, t.state, *(round(v, 3) for v in (t.x_m, t.y_m, t.vx_mps, t.vy_mps, t.existence, t.age_s, t.since_s))]
        for t in array.tracks
    ]
    return {
        "stamp_ns": array.stamp_ns,
        "oldest_ns": array.oldest_ns,
        "publish_ns": array.publish_ns,
        "mode": array.mode,
        "absent": list(array.absent),
        "model": array.model,
        "sequence": array.sequence,
        "tracks": tracks,
    }


def main(arguments: list[str]) -> int:
    """Run the job file."""
    tree = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    job = ObserverJob(tree["tracks"], tuple(tree["status"]), tree["seen"], tree["priority"])
    rclpy.init()
    executor = EventsExecutor()
    with Path(job.seen).open("w", encoding="utf-8", buffering=1 << 16) as seen:
        stalls: SimpleQueue[dict[str, int]] = SimpleQueue()
        node = Observer(job, seen, stalls)
        executor.add_node(node)
        gc.collect()
        gc.freeze()
        gc.disable()
        if job.priority:
            raise_process(job.priority)
        ended = threading.Event()
        for processor in sorted(os.sched_getaffinity(0)):
            threading.Thread(target=_watch_machine, args=(processor, stalls, job.priority), daemon=True).start()
        threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
        print("ready", flush=True)
        try:
            while not ended.is_set():
                executor.spin_once(0.2)
                node.write_stalls()
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        node.write_stalls()
        executor.shutdown()
        node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _watch_machine(processor: int, stalls: SimpleQueue[dict[str, int]], priority: int) -> None:
    """Write down when not even the most urgent thread of ``processor`` ran: the machine stood still, not a node."""
    refused = apply(TaskTiming(priority=_CLOCK_PRIORITY if priority else 0, processors=(processor,)))
    next_ns = time.monotonic_ns()
    while not refused:
        next_ns += _CLOCK_NS
        sleep_until(next_ns)
        now_ns = time.monotonic_ns()
        if now_ns - next_ns > _STALL_NS:
            stalls.put({"stall": processor, "from_ns": next_ns, "at_ns": now_ns})
            next_ns = now_ns


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
