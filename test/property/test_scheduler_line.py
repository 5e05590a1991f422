"""The waiting line under arbitrary sequences of operations: bounded bookkeeping, order within a source, no loss."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.inference.waiting import Task, WaitingLine

PUSH = st.tuples(st.just("push"), st.sampled_from("abc"), st.integers(0, 3))
TAKE = st.tuples(st.just("take"), st.integers(1, 4), st.just(0))
RELEASE = st.tuples(st.just("release"), st.just(0), st.just(0))
DROP = st.tuples(st.just("drop"), st.integers(0, 3), st.just(0))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(PUSH, PUSH, TAKE, RELEASE, DROP), max_size=80))
def test_every_task_leaves_once_and_in_order_of_its_source(operations: list[tuple[str, str | int, int]]) -> None:
    line: WaitingLine[int] = WaitingLine()
    running: list[list[Task[int]]] = []
    left: list[Task[int]] = []
    pushed = 0
    for name, first, second in operations:
        if name == "push":
            line.push(Task(pushed, pushed, first, second, None, 0))
            pushed += 1
        elif name == "take":
            batch = line.take(int(first))
            busy = {task.source for other in running for task in other}
            assert not busy & {task.source for task in batch}
            running += [batch] if batch else []
            left += batch
        elif name == "release" and running:
            line.release(running.pop(0))
        elif name == "drop" and (victim := line.drop_oldest(int(first))) is not None:
            assert victim.priority <= int(first)
            left.append(victim)
        assert len(line) + len(left) == pushed
        assert len(line._heap) <= 4 * len(line) + 68
    for batch in running:
        line.release(batch)
    while batch := line.take(3):
        left += batch
        line.release(batch)
    assert sorted(task.number for task in left) == list(range(pushed))
    for source in "abc":
        numbers = [task.number for task in left if task.source == source]
        drops = sum(name == "drop" for name, _, _ in operations)
        assert drops or numbers == sorted(numbers)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 5), max_size=40))
def test_anonymous_tasks_leave_by_priority_then_age(priorities: list[int]) -> None:
    line: WaitingLine[int] = WaitingLine()
    heap: list[tuple[int, int]] = []
    for number, priority in enumerate(priorities):
        line.push(Task(number, number, ("", number), priority, None, 0))
        heapq.heappush(heap, (-priority, number))
    order = [line.take(1)[0].number for _ in priorities]
    assert order == [heapq.heappop(heap)[1] for _ in priorities]
