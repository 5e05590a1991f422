"""Streams and correctness cases of bench/sync.py."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _sync_peer import Peer, find_peer

from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.core.sync_types import SyncedSet, SyncSettings

MS = 1_000_000
START_NS = 10**15
SLOP_NS = 50 * MS
QUEUE = 20
Stream = list[tuple[int, int]]
"""(topic, stamp in ns) in order of arrival; topic 0 is the LiDAR."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is synchronised here."""

    sensor: str
    stamp_ns: int


def matched(topics: int, rounds: int) -> Stream:
    """Every topic at 10 Hz, 5 ms of jitter, cameras before the sweep."""
    chance = random.Random(topics)
    stream = []
    for i in range(rounds):
        stamp_ns = START_NS + i * 100 * MS
        stream += [(t, stamp_ns + chance.randrange(-5 * MS, 5 * MS)) for t in range(1, topics)] + [(0, stamp_ns)]
    return stream


class Ours:
    """The synchroniser under the same interface; the clock is the newest stamp."""

    def __init__(self, topics: int) -> None:
        self.names = ["lidar", *(f"camera{i}" for i in range(1, topics))]
        cameras = dict.fromkeys(self.names[1:], CameraTiming(SLOP_NS))
        self.sync: Synchroniser[Frame, Frame] = Synchroniser(
            SyncSettings(cameras, queue_depth=QUEUE, deadline_ns=60 * MS)
        )
        self.complete = self.partial = 0
        self.now_ns = 0

    def finish(self) -> None:
        """Release what still waits, as the deadline would."""
        self._count(self.sync.poll(self.now_ns + 60 * MS))

    def add(self, topic: int, stamp_ns: int) -> None:
        frame = Frame(self.names[topic], stamp_ns)
        self.now_ns = max(self.now_ns, stamp_ns)
        add = self.sync.add_image if topic else self.sync.add_cloud
        self._count(add(frame, self.now_ns))

    def _count(self, ready: list[SyncedSet[Frame, Frame]]) -> None:
        for synced in ready:
            if synced.complete:
                self.complete += 1
            else:
                self.partial += 1


def late_camera() -> dict[str, Any]:
    """10 Hz, two cameras, the second 150 ms late on the way and dead from the 26th sweep on; deadline 60 ms after the sweep."""
    sweeps, alive = 50, 25
    events = [(i * 100 + delay, topic, i * 100) for i in range(sweeps) for topic, delay in ((1, 20), (0, 30))]
    events += [(i * 100 + 150, 2, i * 100) for i in range(alive)]
    ours, found, waits = Ours(3), [], []
    peer = find_peer()[1](3, QUEUE, SLOP_NS, found.append)
    peer_waits = []
    for now_ms, topic, at_ms in sorted(events):
        stamp_ns, now_ns = START_NS + at_ms * MS, START_NS + now_ms * MS
        deadline_ns = ours.sync.next_deadline_ns
        ready = ours.sync.poll(deadline_ns) if deadline_ns is not None and deadline_ns <= now_ns else []
        add = ours.sync.add_image if topic else ours.sync.add_cloud
        ready += add(Frame(ours.names[topic], stamp_ns), now_ns)
        waits += [(s.released_ns - s.arrival_ns) / MS for s in ready]
        before = len(found)
        peer.add(topic, stamp_ns)
        peer_waits += [(now_ns - stamps[0]) / MS - 30 for stamps in found[before:]]
    return {
        "sweeps": sweeps,
        "sets": len(waits),
        "worst_wait_ms": max(waits),
        "peer_sets": len(found),
        "peer_worst_wait_ms": max(peer_waits, default=None),
        "late_frames_counted": ours.sync.drops.get("late", 0),
        "ok": len(waits) == sweeps and max(waits) <= 60.0,
    }


def time_jump() -> dict[str, Any]:
    """A bag of 20 s with sweeps at 10 Hz and a camera at 30 Hz, played twice."""
    sweeps = [(START_NS + i * 100 * MS, 0) for i in range(200)]
    frames = [(START_NS + i * 33 * MS, 1) for i in range(606)]
    found: list[list[int]] = []
    ours, peer = Ours(2), find_peer()[1](2, QUEUE, SLOP_NS, found.append)
    sets, peer_sets = [], []
    for _ in range(2):
        ours_before, peer_before, ours.now_ns = ours.complete, len(found), 0
        for stamp_ns, topic in sorted(sweeps + frames):
            ours.add(topic, stamp_ns)
            peer.add(topic, stamp_ns)
        sets.append(ours.complete - ours_before)
        peer_sets.append(len(found) - peer_before)
    right = sets[1] >= len(sweeps) - 1 and ours.sync.resets > 0
    return {"sets": sets, "peer_sets": peer_sets, "resets": ours.sync.resets, "ok": right}


def exception_in_callback() -> dict[str, Any]:
    """The receiver raises at its first set; are later messages taken?"""
    peer: Peer = find_peer()[1](2, QUEUE, SLOP_NS, _raise)
    ours, sets = Ours(2), 0
    for topic, stamp_ns in matched(2, 10):
        if not (stuck := _is_locked(peer.lock)):
            _quietly(lambda t=topic, s=stamp_ns: peer.add(t, s))
        try:
            add = ours.sync.add_image if topic else ours.sync.add_cloud
            for _ in add(Frame(ours.names[topic], stamp_ns), stamp_ns):
                sets += 1
                _raise([])
        except _ReceiverFailed:
            continue
    return {"sets": sets, "peer_deadlocks": stuck, "ok": sets == 10}


class _ReceiverFailed(Exception):
    pass


def _raise(_: list[int]) -> None:
    raise _ReceiverFailed


def _quietly(call: Callable[[], None]) -> None:
    try:
        call()
    except _ReceiverFailed:
        return


def _is_locked(lock: Any) -> bool:
    taken = lock.acquire(blocking=False)
    if taken:
        lock.release()
    return not taken
