"""Hands messages from ROS callbacks to the worker thread: bounded for each source, oldest dropped first, counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_GATHER_S = 0.004
"""How long messages may lie while others that belong to them are expected: one wake-up for several, as network cards do it."""


class Inbox:
    """Callbacks ``put`` and return at once; one worker ``take``s everything in order of arrival. Thread-safe."""

    def __init__(self, depth: int, on_drop: Callable[[str], None]) -> None:
        self._depth, self._on_drop = depth, on_drop
        self._wake = threading.Condition()
        self._items: deque[tuple[str, Any, int]] = deque()
        self._waiting: dict[str, int] = {}
        self._awaited: set[str] = set()
        self._open = True
        self.taken_ns: Sequence[int] = ()
        """When each message of the last ``take`` came, same order (monotonic)."""
        self.arrived_ns = 0
        """When the message that is being handled came; kept by the worker."""

    def put(self, source: str, message: Any) -> None:
        """Queue one message of ``source``."""
        dropped = False
        with self._wake:
            if self._waiting.get(source, 0) >= self._depth:
                self._remove_oldest(source)
                dropped = True
            self._items.append((source, message, time.monotonic_ns()))
            self._waiting[source] = self._waiting.get(source, 0) + 1
            if source not in self._awaited or len(self._awaited) == 1:
                self._wake.notify()
            self._awaited.discard(source)
        if dropped:
            self._on_drop(source)

    def take(self, timeout_s: float | None, awaited: AbstractSet[str] = frozenset()) -> list[tuple[str, Any]]:
        """All waiting messages; waits up to ``timeout_s`` for the first (None = until one comes or the inbox closes).

        awaited: sources that are worth a few milliseconds, so that their messages come out together; any other source, and the
        last of them, ends that wait.
        """
        with self._wake:
            self._awaited = {source for source in awaited if not self._waiting.get(source)}
            if self._awaited and self._open:
                self._wake.wait(_GATHER_S if timeout_s is None else min(timeout_s, _GATHER_S))
                self._awaited = set()
            if not self._items and self._open:
                self._wake.wait(timeout_s)
            taken = [(source, message) for source, message, _ in self._items]
            self.taken_ns = [at_ns for _, _, at_ns in self._items]
            self._items.clear()
            self._waiting.clear()
            return taken

    def close(self) -> None:
        """Wake the worker for good."""
        with self._wake:
            self._open = False
            self._wake.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items

    @property
    def is_open(self) -> bool:
        """Whether the worker should go on."""
        return self._open

    def _remove_oldest(self, source: str) -> None:
        for index, (name, _, _) in enumerate(self._items):
            if name == source:
                del self._items[index]
                self._waiting[source] -= 1
                return


def pause_s(until_ns: int | None, now_ns: int, longest_s: float = 0.5) -> float:
    """How long to wait for messages when something is due at ``until_ns``."""
    return longest_s if until_ns is None else min(longest_s, max(0.0, (until_ns - now_ns) * 1e-9))
