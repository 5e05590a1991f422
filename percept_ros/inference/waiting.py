"""The waiting line of the scheduler: priorities between sources, strict order within a source. No threads, no clock."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True, eq=False)
class Task(Generic[Item]):
    """One request. number: order of submission. source: tasks of one source are never reordered nor run at once."""

    item: Item
    number: int
    source: Hashable
    priority: int
    deadline_ns: int | None
    submitted_ns: int
    future: Future[Any] = field(default_factory=Future)


class WaitingLine(Generic[Item]):
    """Tasks that wait, and the sources that are busy.

    ``take`` gives the most urgent tasks whose source is free (highest priority, then oldest) and makes their sources
    busy until ``release``. A source is as urgent as its most urgent task, so an urgent task pulls its predecessors on.
    """

    def __init__(self) -> None:
        self._by_age: dict[int, Task[Item]] = {}
        self._waiting_by_priority: Counter[int] = Counter()
        self._lines: dict[Hashable, deque[Task[Item]]] = {}
        self._busy: set[Hashable] = set()
        self._heap: list[tuple[int, int, Hashable]] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def is_free(self, source: Hashable) -> bool:
        """Whether nothing of ``source`` waits or runs."""
        return source not in self._busy and source not in self._lines

    def claim(self, source: Hashable) -> None:
        """Make a free source busy without a waiting task."""
        self._busy.add(source)

    def push(self, task: Task[Item]) -> None:
        """Put a task at the end of its source's line."""
        self._by_age[task.number] = task
        self._waiting_by_priority[task.priority] += 1
        line = self._lines.setdefault(task.source, deque())
        line.append(task)
        if task.source not in self._busy and (len(line) == 1 or task.priority > line[-2].priority):
            self._offer(task.source, task.priority)

    def take(self, limit: int) -> list[Task[Item]]:
        """At most ``limit`` tasks, in order; several of one source only one after the other."""
        taken: list[Task[Item]] = []
        while self._heap and len(taken) < limit:
            source = heapq.heappop(self._heap)[2]
            line = self._lines.get(source)
            if line is None or source in self._busy:
                continue  # an entry outlived its task
            task = self._pop(line)
            taken.append(task)
            if source in self._lines:
                self._offer(source)
        self._busy.update(task.source for task in taken)
        return taken

    def release(self, tasks: list[Task[Item]]) -> None:
        """The sources of ``tasks`` are free again."""
        for source in {task.source for task in tasks}:
            self._busy.discard(source)
            if source in self._lines:
                self._offer(source)

    def drop_oldest(self, priority: int) -> Task[Item] | None:
        """Take out the oldest of the least urgent tasks, or None when all are more urgent than ``priority``."""
        lowest = min(self._waiting_by_priority, default=priority + 1)
        if lowest > priority:
            return None
        victim = next(task for task in self._by_age.values() if task.priority == lowest)
        line = self._lines[victim.source]
        line.remove(victim)
        self._forget(victim, line)
        return victim

    def drop_all(self) -> list[Task[Item]]:
        """Take out everything that waits, oldest first."""
        tasks = list(self._by_age.values())
        self._by_age.clear()
        self._waiting_by_priority.clear()
        self._lines.clear()
        self._heap.clear()
        return tasks

    def _offer(self, source: Hashable, priority: int | None = None) -> None:
        line = self._lines[source]
        urgency = max(task.priority for task in line) if priority is None else priority
        heapq.heappush(self._heap, (-urgency, line[0].number, source))
        if len(self._heap) > 4 * len(self._by_age) + 64:  # entries of dropped tasks must not pile up
            self._heap.clear()
            for name, waiting in self._lines.items():
                if name not in self._busy:
                    self._heap.append((-max(t.priority for t in waiting), waiting[0].number, name))
            heapq.heapify(self._heap)

    def _pop(self, line: deque[Task[Item]]) -> Task[Item]:
        task = line.popleft()
        self._forget(task, line)
        return task

    def _forget(self, task: Task[Item], line: deque[Task[Item]]) -> None:
        del self._by_age[task.number]
        self._waiting_by_priority[task.priority] -= 1
        if not self._waiting_by_priority[task.priority]:
            del self._waiting_by_priority[task.priority]
        if not line:
            del self._lines[task.source]
