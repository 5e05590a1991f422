"""A worker with a warm spare: when one dies, hangs or leaks, the other answers the next call.

The spare has the model loaded already, so a replacement costs one frame, not a start-up. A worker that misses its
deadline steps back and the spare takes over; if it answers after all it becomes the spare, if it stays silent it is
killed and a new one is started in the background.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from percept_ros.errors import DeadlineExceeded, PerceptError, WorkerDied
from percept_ros.runtime import spawn
from percept_ros.runtime.worker import Arrays, Context, State, Worker


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """When a worker is given up.

    start_s: loading may take this long. hang_s: silence after a missed deadline. rss_mb: resident memory.
    spare: keep a second loaded worker. spare_delay_s: start it this long after load, to leave the start-up alone.
    """

    start_s: float = 30.0
    hang_s: float = 0.5
    rss_mb: int = 4096
    spare: bool = True
    spare_delay_s: float = 2.0


@dataclass(slots=True)
class StandbyCounters:
    """What happened. deaths: ended by themselves; hangs, leaks: killed for it; promoted: the spare took over."""

    calls: int = 0
    deaths: int = 0
    hangs: int = 0
    leaks: int = 0
    deadline_misses: int = 0
    promoted: int = 0
    started: int = 0


class Standby:
    """Runs calls on a worker, replaces it when it fails. All calls from one thread."""

    def __init__(self, target: str, config: Mapping[str, Any], limits: WorkerLimits | None = None) -> None:
        self.target, self.config = target, config
        self.limits = limits or WorkerLimits()
        self.counters = StandbyCounters()
        self._worker: Worker | None = None
        self._spare: Worker | None = None
        self._spare_from_ns = 0
        self._closed = False
        self.last_worker: Worker | None = None
        self._begun: Worker | None = None

    def start(self) -> None:
        """Start the first worker without waiting for it, so that the caller can do other things meanwhile."""
        if self._worker is None:
            self._worker = self._start()

    def load(self) -> bytes:
        """Wait until the first worker is loaded; returns its description.

        Raises what loading raised, WorkerDied, or WorkerDied after ``start_s``.
        """
        self.start()
        assert self._worker is not None
        if not self._worker.wait_ready(int(self.limits.start_s * 1e9)):
            self._worker.kill()
            raise WorkerDied(f"worker ({self.target}) did not load within {self.limits.start_s} s")
        self._spare_from_ns = time.monotonic_ns() + int(self.limits.spare_delay_s * 1e9)
        self._tend_spare()
        return self._worker.description

    def wait_spare(self, timeout_s: float) -> bool:
        """Whether the spare is ready, started now if need be and waited for."""
        if not self.limits.spare:
            return False
        if self._spare is None or self._spare.state is State.DEAD:
            self._spare = self._start()
        return self._spare_ready(int(timeout_s * 1e9))

    def call(
        self,
        meta: bytes,
        arrays: Arrays,
        *,
        deadline_ns: int | None = None,
        context: Context | None = None,
        note: bytes = b"",
    ) -> tuple[bytes, list[npt.NDArray[Any]]]:
        """Run one call on the worker. The arrays returned are views, valid until the next call.

        Raises WorkerDied (the next call goes to the spare), DeadlineExceeded, or what the service raised.
        """
        self.counters.calls += 1
        self.last_worker = None
        worker = self.last_worker = self._ready_worker(deadline_ns)
        return self._guarded(
            worker, lambda: worker.call(meta, arrays, deadline_ns=deadline_ns, context=context, note=note)
        )

    def begin(
        self, meta: bytes, arrays: Arrays, *, deadline_ns: int | None = None, context: Context | None = None
    ) -> bool:
        """Send a call whose answer ``finish`` fetches, unless the worker is not ready this moment; whether it was sent."""
        worker = self._worker
        if self._closed or worker is None or worker.state is not State.READY:
            return False
        try:
            worker.begin(meta, arrays, deadline_ns=deadline_ns, context=context)
        except WorkerDied:
            self.counters.deaths += 1
            return False
        self.counters.calls += 1
        self._begun = worker
        return True

    def finish(self) -> tuple[bytes, list[npt.NDArray[Any]]] | None:
        """The answer of the call that was begun, as ``call`` gives it; None when another call was made since."""
        worker, self._begun = self._begun, None
        if worker is None or not worker.awaits:
            return None
        self.last_worker = worker
        return self._guarded(worker, worker.finish)

    def _guarded(
        self, worker: Worker, step: Callable[[], tuple[bytes, list[npt.NDArray[Any]]]]
    ) -> tuple[bytes, list[npt.NDArray[Any]]]:
        """Run the step of a call that may fail; count what happens, and replace the worker when it must be."""
        try:
            return step()
        except WorkerDied:
            self.counters.deaths += 1
            raise
        except DeadlineExceeded:
            self.counters.deadline_misses += 1
            raise
        finally:
            self._check_memory(worker)
            self._step_back(worker)
            self._tend_spare()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the living workers, the active one first."""
        return tuple(w.pid for w in (self._worker, self._spare) if w is not None and w.state is not State.DEAD)

    def close(self) -> None:
        """End both workers. Safe to call twice."""
        self._closed = True
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.close()
        self._worker = self._spare = None

    def _start(self) -> Worker:
        self.counters.started += 1
        return Worker(self.target, self.config)

    def _ready_worker(self, deadline_ns: int | None) -> Worker:
        if self._closed or self._worker is None:
            raise WorkerDied(f"worker ({self.target}) is used before load or after close")
        self._look(self._worker)
        self._step_back(self._worker)
        worker = self._worker
        if worker.state is State.LATE:
            raise DeadlineExceeded(f"worker {worker.pid} ({self.target}) still works on an earlier call")
        if worker.state is State.DEAD:
            if deadline_ns is not None and not spawn.ready():
                raise WorkerDied(f"worker {worker.pid} ({self.target}) has ended, another is being started")
            worker = self._worker = self._start()
        wait_ns = int(self.limits.start_s * 1e9) if deadline_ns is None else deadline_ns - time.monotonic_ns()
        if not worker.wait_ready(max(0, wait_ns)):
            raise WorkerDied(f"worker {worker.pid} ({self.target}) is still loading after the last one ended")
        return worker

    def _look(self, worker: Worker) -> None:
        was_alive = worker.state is not State.DEAD
        worker.look()
        self.counters.deaths += was_alive and worker.state is State.DEAD

    def _step_back(self, worker: Worker) -> None:
        """Put the spare in front of a worker that is dead or late."""
        if worker.state is State.LATE and time.monotonic_ns() - worker.late_since_ns > self.limits.hang_s * 1e9:
            self.counters.hangs += 1
            worker.kill()
        if worker.state in (State.LATE, State.DEAD) and worker is self._worker and self._spare_ready(0):
            self._worker, self._spare = self._spare, worker
            self.counters.promoted += 1

    def _spare_ready(self, timeout_ns: int) -> bool:
        if self._spare is None:
            return False
        self._look(self._spare)
        try:
            return self._spare.state is not State.LATE and self._spare.wait_ready(timeout_ns)
        except PerceptError:
            return False

    def _tend_spare(self) -> None:
        """Start a spare when there is none that lives."""
        if not self.limits.spare or self._closed or time.monotonic_ns() < self._spare_from_ns:
            return
        if self._spare is not None:
            self._step_back(self._spare)
        if (self._spare is None or self._spare.state is State.DEAD) and spawn.ready():
            if self._worker is not None and self._worker.state is State.DEAD:
                self._worker = self._start()
            else:
                self._spare = self._start()

    def _check_memory(self, worker: Worker) -> None:
        """Replace a worker that grew too large, once a spare can take over (or there is none)."""
        if worker.state is not State.READY or worker.rss_bytes <= self.limits.rss_mb * 1_000_000:
            return
        if not self.limits.spare or self._spare_ready(0):
            self.counters.leaks += 1
            worker.kill()
