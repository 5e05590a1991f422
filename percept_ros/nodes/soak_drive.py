"""Plays a recorded drive in a loop on real topics, with the sensor faults of a plan; a process of its own.

    python -m percept_ros.nodes.soak_drive JOB.json

Starts at once without faults. A line ``go`` on standard input starts the plan with a fresh loop, and the answer ``start
NS`` tells that moment (monotonic clock). What was sent, and whether it was good, goes to ``evidence`` as JSON lines.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import rclpy
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from percept_ros.nodes.player import message_class, moved_stamp, topic_qos
from percept_ros.replay.bag_reader import BagReader
from percept_ros.runtime.realtime import raise_process, sleep_until
from percept_ros.soak.plan import BY_NAME, SENSOR, Plan
from percept_ros.soak.spoil import GOOD, Sending, SensorMessage, Spoiler, payload_of

_CLOUD = "sensor_msgs/msg/PointCloud2"
_LEAD_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class DriveJob:
    """What to play. sensors: topic -> sensor. period_ns: length of the loop. priority: SCHED_FIFO, 0 = none."""

    bag: str
    plan: str
    evidence: str
    sensors: dict[str, str]
    period_ns: int
    priority: int = 0


@dataclass(slots=True)
class Recorded:
    """One message of the loop. sensor: None for what is never spoilt (calibration, odometry, transforms)."""

    topic: str
    kind: str
    after_ns: int
    raw: bytes
    sensor: SensorMessage | None = None


@dataclass(slots=True)
class Loop:
    """The drive in memory. static: latched messages, sent once."""

    messages: list[Recorded] = field(default_factory=list)
    static: list[Recorded] = field(default_factory=list)
    first_ns: int = 0


def read_loop(job: DriveJob) -> tuple[Loop, dict[str, str]]:
    """All messages of the bag but the truth, and topic -> type."""
    loop = Loop()
    with BagReader(job.bag) as bag:
        topics = {topic: kind for topic, kind in bag.topics.items() if not topic.startswith("/ground_truth")}
        for message in bag.raw_messages():
            if message.topic not in topics:
                continue
            if not message.topic.endswith("/tf_static") and not loop.first_ns:
                loop.first_ns = message.log_ns
            item = Recorded(message.topic, message.msgtype, message.log_ns - loop.first_ns, bytes(message.message))
            if (sensor := job.sensors.get(message.topic)) is not None:
                item.sensor = _sensor_message(sensor, message.msgtype, item.raw)
            (loop.static if message.topic.endswith("/tf_static") else loop.messages).append(item)
    return loop, topics


def _sensor_message(sensor: str, kind: str, raw: bytes) -> SensorMessage:
    message: Any = deserialize_message(raw, message_class(kind))
    count, tail = len(message.data), int(kind == _CLOUD)
    return SensorMessage(sensor, raw, payload_of(raw, count, tail), int(getattr(message, "point_step", 0)))


class Drive:
    """Sends everything at its time. One thread."""

    def __init__(self, node: Node, job: DriveJob, evidence: TextIO) -> None:
        self._job, self._node, self._evidence = job, node, evidence
        self._loop, topics = read_loop(job)
        self._publishers = {
            topic: node.create_publisher(message_class(kind), topic, topic_qos(topic, kind))
            for topic, kind in topics.items()
        }
        plan = Plan.load(Path(job.plan))
        faults = [fault for fault in plan.faults if BY_NAME[fault.kind].place == SENSOR]
        self._spoiler = Spoiler(faults, plan.seed)
        self._topics = {sensor: topic for topic, sensor in job.sensors.items()}
        self._queue: list[tuple[int, int, Sending | Recorded]] = []
        self._count = 0
        self._go = threading.Event()
        self._zero_ns: int | None = None

    def run(self) -> None:
        """Until standard input ends."""
        ended = threading.Event()
        threading.Thread(target=self._listen, args=(ended,), daemon=True).start()
        for item in self._loop.static:
            self._publishers[item.topic].publish(moved_stamp(item.raw, item.kind, time.time_ns() - self._loop.first_ns))
        begin_ns = time.monotonic_ns() + _LEAD_NS
        while not ended.is_set():
            if self._go.is_set() and self._zero_ns is None:
                self._zero_ns = begin_ns
                print(f"start {begin_ns}", flush=True)
            begin_ns = self._play(begin_ns, ended)
        self._evidence.flush()

    def _listen(self, ended: threading.Event) -> None:
        for line in sys.stdin:
            if line.strip() == "go":
                self._go.set()
        ended.set()

    def _play(self, begin_ns: int, ended: threading.Event) -> int:
        """One loop; returns when the next begins. ``go`` cuts it short."""
        wall_ns = time.time_ns() - time.monotonic_ns()
        for item in self._loop.messages:
            due_ns = begin_ns + item.after_ns
            self._send_until(due_ns)
            if ended.is_set() or (self._go.is_set() and self._zero_ns is None):
                return time.monotonic_ns() + _LEAD_NS
            self._enter(item, due_ns, due_ns + wall_ns)
        return begin_ns + self._job.period_ns

    def _enter(self, item: Recorded, due_ns: int, stamp_ns: int) -> None:
        if item.sensor is None:
            moved = moved_stamp(item.raw, item.kind, stamp_ns - self._loop.first_ns - item.after_ns)
            self._push(due_ns, Recorded(item.topic, item.kind, 0, moved))
            return
        at_s = (due_ns - self._zero_ns) * 1e-9 if self._zero_ns is not None else -1.0
        for sending in self._spoiler.send(item.sensor, at_s, due_ns, stamp_ns):
            self._push(sending.due_ns, sending)

    def _push(self, due_ns: int, what: Sending | Recorded) -> None:
        self._count += 1
        heapq.heappush(self._queue, (due_ns, self._count, what))

    def _send_until(self, until_ns: int) -> None:
        while self._queue and self._queue[0][0] <= until_ns:
            due_ns, _, what = heapq.heappop(self._queue)
            sleep_until(due_ns)
            if isinstance(what, Recorded):
                self._publishers[what.topic].publish(what.raw)
            else:
                self._send(what)
        sleep_until(until_ns)

    def _send(self, what: Sending) -> None:
        if what.raw is not None:
            self._publishers[self._topics[what.sensor]].publish(what.raw)
        sent = {"sensor": what.sensor, "stamp_ns": what.stamp_ns, "sent_ns": time.monotonic_ns(), "state": what.state}
        if what.state != GOOD or what.fault >= 0:
            sent["fault"] = what.fault
        self._evidence.write(json.dumps(sent) + "\n")


def main(arguments: list[str]) -> int:
    """Run the job file."""
    job = DriveJob(**json.loads(Path(arguments[1]).read_text(encoding="utf-8")))
    rclpy.init()
    node = rclpy.create_node("soak_drive")
    with Path(job.evidence).open("w", encoding="utf-8", buffering=1 << 16) as evidence:
        drive = Drive(node, job, evidence)
        gc.collect()
        gc.freeze()
        gc.disable()
        if job.priority:
            raise_process(job.priority)
        print("ready", flush=True)
        drive.run()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(sys.argv))
