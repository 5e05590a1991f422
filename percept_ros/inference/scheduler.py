"""Bounded queue, worker pool, micro-batches, deadlines and back-pressure in front of a model.

Every request gets a future and exactly one outcome, and every outcome is counted. Requests of one source are run and
answered in the order in which they came. User code never runs under the scheduler's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from enum import Enum
from typing import Generic, Protocol, TypeVar

from percept_ros.errors import DeadlineExceeded, EngineClosed, InferenceError, ResourceExhausted, WorkerDied
from percept_ros.inference.scheduler_config import SchedulerConfig, SchedulerCounters
from percept_ros.inference.waiting import Item, Task, WaitingLine

__all__ = ["Run", "Scheduler", "SchedulerConfig", "SchedulerCounters"]

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Item_contra = TypeVar("Item_contra", contravariant=True)


class Run(Protocol[Item_contra, Answer_co]):
    """Runs one batch: one answer for each item. ``deadline_ns`` (monotonic clock): after it nobody wants the answers."""

    def __call__(self, items: Sequence[Item_contra], deadline_ns: int | None) -> Sequence[Answer_co]: ...


class _Verdict(Enum):
    QUEUED = 0
    INLINE = 1
    EXPIRED = 2
    DROPPED = 3


class Scheduler(Generic[Item, Answer]):
    """Runs requests on a pool of threads.

    make_run: called here once for each worker and once for inline work, so that each can own an engine; give
    ``lambda: function`` for one that is safe to share. clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        make_run: Callable[[], Run[Item, Answer]],
        config: SchedulerConfig | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.config = config or SchedulerConfig()
        self._clock = clock
        self._runs = [make_run() for _ in range(self.config.workers + (self.config.policy == "inline"))]
        self._inline_limit = self.config.inline_share * self.config.queue
        self._counters = SchedulerCounters()
        self._line: WaitingLine[Item] = WaitingLine()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)  # workers without a batch
        self._more = threading.Condition(self._lock)  # the worker that fills up a batch
        self._changed = threading.Condition(self._lock)  # drain, and callers that wait for room
        self._collecting = self._closing = False
        self._running = 0
        self._inline_lock = threading.RLock()
        names = [f"percept-scheduler-{i}" for i in range(self.config.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(run,), name=name, daemon=True)
            for name, run in zip(names, self._runs, strict=False)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, item: Item, *, source: Hashable = None, priority: int = 0, deadline_ns: int | None = None
    ) -> Future[Answer]:
        """Queue one request; its outcome comes through the future.

        source: requests of one source keep their order; None = no order. Higher priority goes first.
        Raises ResourceExhausted (policy ``reject``, queue full) and EngineClosed (after ``drain`` or ``close``).
        The future raises DeadlineExceeded, ResourceExhausted (dropped), EngineClosed (abandoned), or what the run raised.
        """
        with self._lock:
            task = self._new_task(item, source, priority, deadline_ns)
            verdict, dropped = self._admit(task)
        if dropped is not None:
            name = "dropped_newest" if dropped is task else "dropped_oldest"
            self._fail(dropped, name, ResourceExhausted(f"the queue of {self.config.queue} requests is full ({name})"))
        if verdict is _Verdict.EXPIRED:
            self._fail(task, "deadline_entry", DeadlineExceeded("the deadline had passed at submission"))
        elif verdict is _Verdict.INLINE:
            self._submit_inline(task)
        return task.future

    async def answer(
        self, item: Item, *, source: Hashable = None, priority: int = 0, deadline_ns: int | None = None
    ) -> Answer:
        """``submit`` for asyncio: inline work leaves the event loop free; cancelling takes a waiting request out."""

        def enter() -> Future[Answer]:
            return self.submit(item, source=source, priority=priority, deadline_ns=deadline_ns)

        blocks = self.config.policy == "inline" and len(self._line) >= self._inline_limit
        future = await asyncio.to_thread(enter) if blocks else enter()
        return await asyncio.wrap_future(future)

    @property
    def counters(self) -> SchedulerCounters:
        """A snapshot of all counts."""
        with self._lock:
            return replace(self._counters)

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._line)

    def drain(self, timeout_s: float = 5.0) -> bool:
        """Take nothing more in and finish what is there. Returns False when time ran out: the rest is then abandoned."""
        with self._lock:
            self._closing = True
            self._wake_all()
            done = self._changed.wait_for(lambda: not len(self._line) and not self._running, timeout_s)
            left = [] if done else self._line.drop_all()
            self._wake_all()
        for task in left:
            self._fail(task, "abandoned", EngineClosed("the scheduler was closed before the request ran"))
        return done

    def close(self, timeout_s: float = 5.0) -> bool:
        """``drain``, then end the threads. Safe to call twice."""
        done = self.drain(timeout_s)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        return done

    def __enter__(self) -> Scheduler[Item, Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Admission (under the lock)

    def _new_task(self, item: Item, source: Hashable, priority: int, deadline_ns: int | None) -> Task[Item]:
        if self._closing:
            raise EngineClosed("the scheduler is closed")
        self._counters.submitted += 1
        number = self._counters.submitted
        return Task(item, number, ("", number) if source is None else source, priority, deadline_ns, self._clock())

    def _admit(self, task: Task[Item]) -> tuple[_Verdict, Task[Item] | None]:
        if self._is_past(task):
            return _Verdict.EXPIRED, None
        policy, depth = self.config.policy, len(self._line)
        if policy == "inline" and depth >= self._inline_limit:
            self._counters.inline += 1
            self._running += 1
            return _Verdict.INLINE, None
        if depth < self.config.queue:
            self._push(task)
            return _Verdict.QUEUED, None
        if policy == "reject":
            self._counters.rejected += 1
            raise ResourceExhausted(f"the queue of {self.config.queue} requests is full")
        victim = self._line.drop_oldest(task.priority) if policy == "drop_oldest" else None
        if victim is None:
            return _Verdict.DROPPED, task
        self._push(task)
        return _Verdict.QUEUED, victim

    def _push(self, task: Task[Item]) -> None:
        self._line.push(task)
        self._wake_one()

    def _wake_one(self) -> None:
        (self._more if self._collecting else self._idle).notify()

    def _wake_all(self) -> None:
        for condition in (self._idle, self._more, self._changed):
            condition.notify_all()

    def _is_past(self, task: Task[Item]) -> bool:
        return task.deadline_ns is not None and self._clock() >= task.deadline_ns

    # Work

    def _work(self, run: Run[Item, Answer]) -> None:
        while batch := self._next_batch():
            with contextlib.suppress(SystemExit):  # the futures have it; a run cannot end the pool
                self._execute(run, batch)

    def _next_batch(self) -> list[Task[Item]]:
        """The next tasks to run together, waited for; empty when the work is over."""
        with self._lock:
            batch: list[Task[Item]] = []
            while self._collecting or not (batch := self._line.take(self.config.max_batch)):
                if self._closing and not len(self._line):
                    return []
                self._idle.wait()
            self._running += len(batch)
            if self.config.max_wait_ms > 0:
                self._collect(batch)
            self._counters.batches += 1
            if len(self._line):
                self._idle.notify()
            self._changed.notify_all()
            return batch

    def _collect(self, batch: list[Task[Item]]) -> None:
        """Fill ``batch`` up until it is full or its first task has waited long enough."""
        until_ns = batch[0].submitted_ns + int(self.config.max_wait_ms * 1e6)
        until_ns = min([until_ns, *(task.deadline_ns for task in batch if task.deadline_ns is not None)])
        self._collecting = True
        while len(batch) < self.config.max_batch and not self._closing and (left_ns := until_ns - self._clock()) > 0:
            self._more.wait(left_ns / 1e9)
            extra = self._line.take(self.config.max_batch - len(batch))
            self._running += len(extra)
            batch += extra
        self._collecting = False

    def _execute(self, run: Run[Item, Answer], batch: list[Task[Item]]) -> None:
        try:
            if live := [task for task in batch if self._begin(task)]:
                self._answer(run, live)
        finally:
            with self._lock:
                self._line.release(batch)
                self._running -= len(batch)
                self._wake_one()
                self._changed.notify_all()

    def _begin(self, task: Task[Item]) -> bool:
        if self._is_past(task):
            self._fail(task, "deadline_queue", DeadlineExceeded("the deadline passed while the request waited"))
            return False
        if not task.future.set_running_or_notify_cancel():
            self._count("cancelled")
            return False
        return True

    def _answer(self, run: Run[Item, Answer], live: list[Task[Item]]) -> None:
        deadlines = [task.deadline_ns for task in live if task.deadline_ns is not None]
        try:
            answers = run([task.item for task in live], max(deadlines) if len(deadlines) == len(live) else None)
            if len(answers) != len(live):
                raise InferenceError(f"a run over {len(live)} items gave {len(answers)} answers")
        except BaseException as exc:
            self._run_failed(run, live, exc)
            if not isinstance(exc, Exception):
                raise
            return
        for task, answer in zip(live, answers, strict=True):
            self._finish(task, answer)

    def _run_failed(self, run: Run[Item, Answer], live: list[Task[Item]], error: BaseException) -> None:
        """One bad request must not fail its neighbours: run a failed batch again one by one."""
        hopeless = (WorkerDied, DeadlineExceeded, EngineClosed, ResourceExhausted)
        if len(live) > 1 and isinstance(error, Exception) and not isinstance(error, hopeless):
            self._count("split")
            for task in live:
                self._answer(run, [task])
            return
        for task in live:
            self._count("failed")
            task.future.set_exception(error)

    def _finish(self, task: Task[Item], answer: Answer) -> None:
        if self._is_past(task):
            self._count("deadline_late")
            task.future.set_exception(DeadlineExceeded("the answer came after the deadline"))
        else:
            self._count("completed")
            task.future.set_result(answer)

    def _fail(self, task: Task[Item], outcome: str, error: Exception) -> None:
        """End a task that never ran."""
        if task.future.set_running_or_notify_cancel():
            self._count(outcome)
            task.future.set_exception(error)
        else:
            self._count("cancelled")

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self._counters, name, getattr(self._counters, name) + 1)

    # Inline work, in the caller's thread

    def _submit_inline(self, task: Task[Item]) -> None:
        """Work the queue off until ``task`` has run here or found room in it."""
        while batch := self._inline_batch(task):
            with self._inline_lock:
                self._execute(self._runs[-1], batch)
            if batch[0] is task:
                return
        if batch is None:
            self._fail(task, "deadline_queue", DeadlineExceeded("the deadline passed while the caller waited for room"))

    def _inline_batch(self, task: Task[Item]) -> list[Task[Item]] | None:
        """``task`` itself when nothing of its source is before it, else others; empty when it was queued, None when expired."""
        with self._lock:
            while not self._is_past(task):
                if self._line.is_free(task.source):
                    self._line.claim(task.source)
                    return [task]
                if len(self._line) < self.config.queue:
                    self._running -= 1
                    self._push(task)
                    return []
                if batch := self._line.take(self.config.max_batch):
                    self._running += len(batch)
                    return batch
                self._changed.wait(None if task.deadline_ns is None else (task.deadline_ns - self._clock()) / 1e9)
            self._running -= 1
            self._changed.notify_all()
            return None
