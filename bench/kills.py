"""kill -9 of writers, readers, workers and their parents at random moments: no leak, no torn frame, no deadlock.

A writer fills a ring of two slots as fast as it can, readers check every byte of every frame that they accept, a host
calls a worker with a warm spare and checks each answer. One of them is killed, must come back and make progress.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from percept_ros.errors import DeadlineExceeded, InputError, WorkerDied
from percept_ros.runtime import segment
from percept_ros.runtime.ring import RingReader, RingWriter
from percept_ros.runtime.standby import Standby, WorkerLimits

SHAPE = (4, 128, 128)
WRITTEN, ACCEPTED, REFUSED, TORN, ANSWERED, WRONG, PID, SPARE = range(8)
SHARES = {"writer": 0.42, "reader": 0.42, "worker": 0.14, "host": 0.02}
WAIT_S = 60.0


class Actors:
    """The three kinds of process and the counters that they share."""

    def __init__(self) -> None:
        sys.path.append(str(Path(__file__).resolve().parent))
        self.ring = f"kills-{os.getpid()}"
        self.counts = np.frombuffer(mmap.mmap(-1, 4096), np.int64)
        self.pids: dict[str, int] = {}
        self.roles: dict[str, Callable[[], None]] = {"writer": self.write, "reader": self.read, "host": self.serve}

    def start(self, name: str) -> None:
        """Fork the process ``name``."""
        if (pid := os.fork()) == 0:
            self.run(name)
        self.pids[name] = pid

    def run(self, name: str) -> NoReturn:
        """The child: works until it is killed."""
        try:
            self.roles[name]()
        finally:
            os._exit(3)

    def write(self) -> None:
        """Every value of a frame is its number."""
        writer = RingWriter(self.ring, slots=2)
        while True:
            number = int(self.counts[WRITTEN]) + 1
            with writer.open_tensor(SHAPE, number) as slot:
                slot.array[...] = number % 9973
            self.counts[WRITTEN] = number

    def read(self) -> None:
        """Accept a frame only if the ring says that it stayed whole; then it must be whole."""
        reader = RingReader()
        while True:
            try:
                handle = reader.latest(self.ring)
                if handle is None:
                    continue
                frame = reader.view(handle)
                low, high = float(frame.array.min()), float(frame.array.max())
                accepted = frame.still_valid()
            except InputError:
                accepted = False
            if accepted:
                self.counts[ACCEPTED] += 1
                self.counts[TORN] += not low == high == handle.stamp_ns % 9973
            else:
                self.counts[REFUSED] += 1

    def serve(self) -> None:
        """Call the worker, replace it when it dies."""
        standby = Standby("_echo_service:Echo", {}, WorkerLimits(spare_delay_s=0.0))
        standby.load()
        question = np.arange(1000.0)
        while True:
            self.counts[PID : SPARE + 1] = (*standby.pids, 0, 0)[:2]
            try:
                meta, (answer,) = standby.call(b"m", [question], deadline_ns=time.monotonic_ns() + 2_000_000_000)
            except (WorkerDied, DeadlineExceeded):
                continue
            self.counts[WRONG] += meta != b"m" or not np.array_equal(answer, question)
            self.counts[ANSWERED] += 1


def run(*, kills: int = 300, seed: int = 0) -> dict[str, Any]:
    """Kill ``kills`` times and watch."""
    actors, chance, done = Actors(), random.Random(seed), Counter[str]()
    stuck, gaps_ms = 0, []
    for name in actors.roles:
        actors.start(name)
    try:
        stuck += sum(not progresses(actors, name) for name in actors.roles)
        for _ in range(kills):
            victim = chance.choices(list(SHARES), list(SHARES.values()))[0]
            time.sleep(chance.uniform(0.0, 0.02))
            start = time.perf_counter()
            kill(actors, victim)
            done[victim] += 1
            stuck += not progresses(actors, "host" if victim == "worker" else victim)
            if victim == "worker":
                gaps_ms.append((time.perf_counter() - start) * 1e3)
    finally:
        orphans = end(actors)
    stale = segment.names(actors.ring)
    segment.remove_stale()
    leaked = segment.names(actors.ring)
    counts = actors.counts
    result: dict[str, Any] = {
        "kills": sum(done.values()),
        "kills_by_kind": dict(done),
        "torn_accepted": int(counts[TORN]),
        "wrong_answers": int(counts[WRONG]),
        "deadlocks": stuck,
        "leaked_segments": len(leaked),
        "segments_before_clean_up": len(stale),
        "orphans": orphans,
        "frames_written": int(counts[WRITTEN]),
        "frames_accepted": int(counts[ACCEPTED]),
        "frames_refused": int(counts[REFUSED]),
        "answers": int(counts[ANSWERED]),
        "worker_gap_median_ms": float(np.median(gaps_ms)) if gaps_ms else 0.0,
        "worker_gap_worst_ms": float(max(gaps_ms, default=0.0)),
    }
    bad = ("torn_accepted", "wrong_answers", "deadlocks", "leaked_segments", "orphans")
    result["ok"] = not any(result[key] for key in bad)
    return result


def kill(actors: Actors, victim: str) -> None:
    """End one process at once; the orchestrator restarts its own, the host its worker."""
    if victim != "worker":
        os.kill(actors.pids[victim], signal.SIGKILL)
        os.waitpid(actors.pids[victim], 0)
        actors.start(victim)
        return
    pid = int(actors.counts[random.choice((PID, SPARE))])
    if pid and segment.process_start(pid) is not None:
        os.kill(pid, signal.SIGKILL)


def progresses(actors: Actors, name: str) -> bool:
    """Whether the process ``name`` gets something done within a minute."""
    counter = {"writer": WRITTEN, "reader": ACCEPTED, "host": ANSWERED}[name]
    before, give_up = int(actors.counts[counter]), time.monotonic() + WAIT_S
    while int(actors.counts[counter]) < before + 2:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.0005)
    return True


def end(actors: Actors) -> int:
    """Kill everything; returns how many workers outlived their parent."""
    workers = [int(pid) for pid in actors.counts[PID : SPARE + 1] if pid]
    for pid in actors.pids.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    give_up = time.monotonic() + 10.0
    while any(segment.process_start(pid) for pid in workers) and time.monotonic() < give_up:
        time.sleep(0.01)
    return sum(segment.process_start(pid) is not None for pid in workers)
