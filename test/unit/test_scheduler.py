"""Scheduler: one outcome for each request, order, priorities, deadlines, back-pressure, drain, asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict

import pytest

from percept_ros.errors import DeadlineExceeded, EngineClosed, InferenceError, ResourceExhausted, WorkerDied
from percept_ros.inference.scheduler import Scheduler, SchedulerConfig, SchedulerCounters

WAIT_S = 30.0
OUTCOMES = [
    "completed",
    "failed",
    "rejected",
    "dropped_oldest",
    "dropped_newest",
    "deadline_entry",
    "deadline_queue",
    "deadline_late",
    "cancelled",
    "abandoned",
]


def settled(counters: SchedulerCounters) -> bool:
    counts = asdict(counters)
    return sum(counts[name] for name in OUTCOMES) == counters.submitted


class Gate:
    """A run that waits to be let through, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, items: Sequence[int], deadline_ns: int | None) -> list[int]:
        self.seen.append(list(items))
        self.entered.release()
        assert self.open.wait(WAIT_S)
        return [2 * item for item in items]

    def hold(self, scheduler: Scheduler[int, int], source: str | None = None) -> Future[int]:
        """Occupy one worker."""
        future = scheduler.submit(0, source=source)
        assert self.entered.acquire(timeout=WAIT_S)
        return future


def double(items: Sequence[int], deadline_ns: int | None) -> list[int]:
    return [2 * item for item in items]


def one_worker(gate: Gate, **settings: object) -> Scheduler[int, int]:
    return Scheduler(lambda: gate, SchedulerConfig(workers=1, **settings))  # type: ignore[arg-type]


def test_answers_come_through_futures() -> None:
    with Scheduler[int, int](lambda: double) as scheduler:
        futures = [scheduler.submit(i) for i in range(20)]
        assert [future.result(WAIT_S) for future in futures] == [2 * i for i in range(20)]
    assert scheduler.counters.completed == 20


def test_higher_priority_goes_first_then_oldest() -> None:
    gate = Gate()
    with one_worker(gate) as scheduler:
        gate.hold(scheduler)
        for item, priority in ((1, 0), (2, 5), (3, 0), (4, 5), (5, 9)):
            scheduler.submit(item, priority=priority)
        gate.open.set()
    assert gate.seen == [[0], [5], [2], [4], [1], [3]]


def test_order_within_a_source_beats_priority() -> None:
    gate = Gate()
    with one_worker(gate) as scheduler:
        gate.hold(scheduler)
        for item, source, priority in ((1, "a", 0), (2, "b", 1), (3, "a", 9), (4, "b", 0)):
            scheduler.submit(item, source=source, priority=priority)
        gate.open.set()
    assert gate.seen == [[0], [1], [3], [2], [4]]


def test_a_source_never_runs_twice_at_once() -> None:
    gate = Gate()
    with Scheduler[int, int](lambda: gate, SchedulerConfig(workers=4)) as scheduler:
        gate.hold(scheduler, "a")
        second = scheduler.submit(1, source="a")
        other = scheduler.submit(2, source="b")
        assert gate.entered.acquire(timeout=WAIT_S)
        assert gate.seen == [[0], [2]]
        gate.open.set()
        assert (second.result(WAIT_S), other.result(WAIT_S)) == (2, 4)


def test_micro_batches_across_sources() -> None:
    gate = Gate()
    with one_worker(gate, max_batch=4) as scheduler:
        gate.hold(scheduler)
        futures = [scheduler.submit(i, source=f"camera_{i % 3}") for i in range(1, 7)]
        gate.open.set()
        assert [f.result(WAIT_S) for f in futures] == [2, 4, 6, 8, 10, 12]
    assert gate.seen == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_batch_waits_for_more() -> None:
    gate = Gate()
    gate.open.set()
    settings = SchedulerConfig(workers=8, max_batch=3, max_wait_ms=1000.0)
    with Scheduler[int, int](lambda: gate, settings) as scheduler:
        futures = [scheduler.submit(i) for i in range(3)]
        wait(futures, WAIT_S)
    assert gate.seen == [[0, 1, 2]]


def test_deadline_on_entry_at_dequeue_and_on_completion() -> None:
    now = [1000]
    gate = Gate()
    with Scheduler[int, int](lambda: gate, SchedulerConfig(workers=1), clock=lambda: now[0]) as scheduler:
        entry = scheduler.submit(7, deadline_ns=1000)
        late = scheduler.submit(0, deadline_ns=1500)
        assert gate.entered.acquire(timeout=WAIT_S)
        queued = scheduler.submit(1, deadline_ns=1500)
        in_time = scheduler.submit(2, deadline_ns=5000)
        now[0] = 2000
        gate.open.set()
        for future in (entry, late, queued):
            with pytest.raises(DeadlineExceeded):
                future.result(WAIT_S)
        assert in_time.result(WAIT_S) == 4
    counters = scheduler.counters
    assert (counters.deadline_entry, counters.deadline_queue, counters.deadline_late) == (1, 1, 1)
    assert gate.seen == [[0], [2]]
    assert settled(counters)


def test_reject_raises_resource_exhausted() -> None:
    gate = Gate()
    with one_worker(gate, queue=2) as scheduler:
        gate.hold(scheduler)
        kept = [scheduler.submit(i) for i in (1, 2)]
        with pytest.raises(ResourceExhausted, match="queue of 2") as caught:
            scheduler.submit(3)
        assert caught.value.retry_after_s > 0
        gate.open.set()
        assert [f.result(WAIT_S) for f in kept] == [2, 4]
    assert scheduler.counters.rejected == 1


@pytest.mark.parametrize(("policy", "victim"), [("drop_oldest", 1), ("drop_newest", 3)])
def test_drop_policies(policy: str, victim: int) -> None:
    gate = Gate()
    with one_worker(gate, queue=2, policy=policy) as scheduler:
        gate.hold(scheduler)
        futures = {i: scheduler.submit(i, source="camera") for i in (1, 2, 3)}
        with pytest.raises(ResourceExhausted, match=policy.replace("drop_", "dropped_")):
            futures.pop(victim).result(WAIT_S)
        gate.open.set()
        assert [f.result(WAIT_S) for f in futures.values()] == [2 * i for i in futures]
    assert settled(scheduler.counters)


def test_drop_oldest_spares_the_more_urgent() -> None:
    gate = Gate()
    with one_worker(gate, queue=2, policy="drop_oldest") as scheduler:
        gate.hold(scheduler)
        urgent = scheduler.submit(1, priority=9)
        plain = scheduler.submit(2)
        newest = scheduler.submit(3)
        with pytest.raises(ResourceExhausted):
            plain.result(WAIT_S)
        all_urgent = scheduler.submit(4, priority=9)
        with pytest.raises(ResourceExhausted):
            newest.result(WAIT_S)
        with pytest.raises(ResourceExhausted):
            scheduler.submit(5).result(WAIT_S)
        gate.open.set()
        assert (urgent.result(WAIT_S), all_urgent.result(WAIT_S)) == (2, 8)


def test_inline_above_ninety_percent_runs_in_the_caller() -> None:
    gate, ran_in = Gate(), []

    def make() -> object:
        def run(items: Sequence[int], deadline_ns: int | None) -> list[int]:
            if threading.current_thread() is threading.main_thread():
                ran_in.append(list(items))
                return [2 * item for item in items]
            return gate(items, deadline_ns)

        return run

    config = SchedulerConfig(workers=1, queue=10, policy="inline")
    with Scheduler[int, int](make, config) as scheduler:  # type: ignore[arg-type]
        gate.hold(scheduler)
        waiting = [scheduler.submit(i) for i in range(1, 10)]
        assert not any(future.done() for future in waiting)
        assert scheduler.submit(99).result(0) == 198
        assert ran_in == [[99]]
        gate.open.set()
        assert [f.result(WAIT_S) for f in waiting] == [2 * i for i in range(1, 10)]
    assert scheduler.counters.inline == 1


def test_inline_keeps_the_order_of_a_source() -> None:
    order: list[int] = []
    config = SchedulerConfig(workers=2, queue=2, policy="inline")

    def note(items: Sequence[int], deadline_ns: int | None) -> list[int]:
        order.extend(items)
        return list(items)

    with Scheduler[int, int](lambda: note, config) as scheduler:
        futures = [scheduler.submit(i, source="camera") for i in range(200)]
        assert [f.result(WAIT_S) for f in futures] == list(range(200))
    assert order == list(range(200))
    assert settled(scheduler.counters)


def test_a_bad_request_fails_alone() -> None:
    gate = Gate()

    def run(items: Sequence[int], deadline_ns: int | None) -> list[int]:
        if 2 in items:
            raise InferenceError("two is bad")
        return gate(items, deadline_ns)

    with Scheduler[int, int](lambda: run, SchedulerConfig(workers=1, max_batch=8)) as scheduler:
        gate.hold(scheduler)
        futures = [scheduler.submit(i) for i in (1, 2, 3)]
        gate.open.set()
        assert (futures[0].result(WAIT_S), futures[2].result(WAIT_S)) == (2, 6)
        with pytest.raises(InferenceError, match="two"):
            futures[1].result(WAIT_S)
    assert (scheduler.counters.split, scheduler.counters.failed) == (1, 1)


def test_a_dead_worker_fails_the_batch_once() -> None:
    calls = []

    def run(items: Sequence[int], deadline_ns: int | None) -> list[int]:
        calls.append(items)
        raise WorkerDied("gone")

    with Scheduler[int, int](lambda: run, SchedulerConfig(workers=1, max_batch=8, max_wait_ms=1000.0)) as scheduler:
        futures = [scheduler.submit(i) for i in range(8)]
        for future in futures:
            with pytest.raises(WorkerDied):
                future.result(WAIT_S)
    assert len(calls) == 1


def test_wrong_number_of_answers_and_exit_are_errors_not_ends() -> None:
    def run(items: Sequence[int], deadline_ns: int | None) -> list[int]:
        if items[0] == 1:
            raise SystemExit(3)
        return [] if items[0] == 2 else list(items)

    with Scheduler[int, int](lambda: run, SchedulerConfig(workers=1)) as scheduler:
        with pytest.raises(SystemExit):
            scheduler.submit(1).result(WAIT_S)
        with pytest.raises(InferenceError, match="gave 0 answers"):
            scheduler.submit(2).result(WAIT_S)
        assert scheduler.submit(3).result(WAIT_S) == 3


def test_cancelled_requests_do_not_run() -> None:
    gate = Gate()
    with one_worker(gate) as scheduler:
        gate.hold(scheduler)
        assert scheduler.submit(1).cancel()
        gate.open.set()
    assert gate.seen == [[0]]
    assert scheduler.counters.cancelled == 1
    assert settled(scheduler.counters)


def test_drain_finishes_what_waits_and_refuses_the_rest() -> None:
    gate = Gate()
    scheduler = one_worker(gate)
    gate.hold(scheduler)
    waiting = scheduler.submit(1, source="a")
    gate.open.set()
    assert scheduler.close(WAIT_S)
    assert waiting.result(0) == 2
    with pytest.raises(EngineClosed):
        scheduler.submit(2)
    assert scheduler.close()


def test_drain_that_runs_out_of_time_abandons() -> None:
    gate = Gate()
    scheduler = one_worker(gate)
    running = gate.hold(scheduler)
    waiting = scheduler.submit(1)
    assert not scheduler.drain(0.0)
    with pytest.raises(EngineClosed):
        waiting.result(WAIT_S)
    gate.open.set()
    assert running.result(WAIT_S) == 0
    assert scheduler.close()
    assert settled(scheduler.counters)


def test_callbacks_may_submit_again() -> None:
    with Scheduler[int, int](lambda: double, SchedulerConfig(workers=1)) as scheduler:
        chained: Future[int] = Future()

        def again(future: Future[int]) -> None:
            scheduler.submit(future.result()).add_done_callback(lambda f: chained.set_result(f.result()))

        scheduler.submit(1).add_done_callback(again)
        assert chained.result(WAIT_S) == 4


@pytest.mark.parametrize("policy", ["reject", "drop_oldest", "drop_newest", "inline"])
def test_two_thousand_in_flight_from_threads(policy: str) -> None:
    config = SchedulerConfig(queue=50, workers=8, policy=policy, max_batch=16)
    outcomes: list[str] = []
    with Scheduler[int, int](lambda: double, config) as scheduler:

        def call(first: int) -> None:
            futures = []
            for item in range(first, first + 100):
                try:
                    futures.append((item, scheduler.submit(item, source=item % 7)))
                except ResourceExhausted:
                    outcomes.append("rejected")
            for item, future in futures:
                try:
                    assert future.result(WAIT_S) == 2 * item
                    outcomes.append("answered")
                except ResourceExhausted:
                    outcomes.append("dropped")

        threads = [threading.Thread(target=call, args=(100 * i,)) for i in range(25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert len(outcomes) == 2500
    assert settled(scheduler.counters)
    assert scheduler.counters.submitted == 2500
    if policy == "inline":
        assert outcomes.count("answered") == 2500


@pytest.mark.parametrize("policy", ["reject", "inline"])
def test_two_thousand_in_flight_from_asyncio(policy: str) -> None:
    config = SchedulerConfig(queue=2500 if policy == "reject" else 50, workers=2, policy=policy, max_batch=16)

    async def flood() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*(scheduler.answer(i) for i in range(2000))), WAIT_S)

    with Scheduler[int, int](lambda: double, config) as scheduler:
        assert asyncio.run(flood()) == [2 * i for i in range(2000)]
    assert settled(scheduler.counters)


def test_asyncio_cancel_takes_the_request_out() -> None:
    gate = Gate()

    async def give_up() -> None:
        task = asyncio.create_task(scheduler.answer(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with one_worker(gate) as scheduler:
        gate.hold(scheduler)
        asyncio.run(give_up())
        gate.open.set()
    assert gate.seen == [[0]]


def test_engine_deadline_is_the_latest_of_the_batch() -> None:
    seen: list[int | None] = []
    gate = Gate()

    def run(items: Sequence[int], deadline_ns: int | None) -> list[int]:
        seen.append(deadline_ns)
        return gate(items, deadline_ns)

    far_ns = time.monotonic_ns() + 10**12
    with Scheduler[int, int](lambda: run, SchedulerConfig(workers=1, max_batch=4)) as scheduler:
        gate.hold(scheduler)
        scheduler.submit(1, deadline_ns=far_ns)
        scheduler.submit(2, deadline_ns=far_ns + 5)
        gate.open.set()
    assert seen == [None, far_ns + 5]
