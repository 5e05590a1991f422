"""Garbage collection when there is time for it, never in the middle of a frame.

``CPython`` frees almost everything by reference count; its cyclic collector only finds cycles, and pauses all threads
while it looks. A frame makes no cycles, so the collector is switched off on the hot path, what was there at start-up is
frozen out of its sight, and a bounded collection runs in the slack between frames.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_KEPT_PAUSES = 4096
_GENERATIONS = 3
_FIRST_GUESS_NS = (200_000, 1_000_000, 5_000_000)


@dataclass(frozen=True, slots=True)
class GcStatistics:
    """Pauses so far. collections: by generation. unreachable: objects in cycles that were found."""

    collections: tuple[int, int, int]
    worst_pause_ns: int
    total_pause_ns: int
    unreachable: int
    forced: int
    frozen: int


class GcControl:
    """Owns the collector of this process between ``engage`` and ``release`` (also a context manager).

    most_pending: young objects after which a collection is due whatever the slack (a bound for the case that something
    does make cycles).
    """

    def __init__(self, *, most_pending: int = 200_000, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._most_pending, self._clock = most_pending, clock
        self._expected_ns = list(_FIRST_GUESS_NS)
        self._counts = [0] * _GENERATIONS
        self._pauses_ns: deque[int] = deque(maxlen=_KEPT_PAUSES)
        self._started_ns = self._worst_ns = self._total_ns = self._unreachable = self._forced = 0
        self._was_enabled = True
        self._engaged = False

    def engage(self) -> None:
        """Collect once, freeze what lives (call it after warm-up), and switch automatic collection off."""
        if not self._engaged:
            self._was_enabled, self._engaged = gc.isenabled(), True
            gc.collect()
            gc.freeze()
            gc.disable()
            gc.callbacks.append(self._observe)

    def release(self) -> None:
        """Give the collector back as it was. Safe to call twice."""
        if self._engaged:
            self._engaged = False
            gc.callbacks.remove(self._observe)
            gc.unfreeze()
            if self._was_enabled:
                gc.enable()

    def slack(self, available_ns: int) -> int:
        """Call between frames with the time until the next: collects the oldest generation that fits.

        Returns the pause in nanoseconds, 0 when nothing was due or nothing fits. With more than ``most_pending`` young
        objects the youngest generation is collected even if it does not fit (counted as forced).
        """
        young, middle, old = gc.get_count()
        if young == 0:
            return 0
        due = 2 if old >= 10 else 1 if middle >= 10 else 0
        for generation in range(due, -1, -1):
            if self._expected_ns[generation] <= available_ns:
                return self._collect(generation)
        if young > self._most_pending:
            self._forced += 1
            return self._collect(0)
        return 0

    @property
    def pauses_ns(self) -> tuple[int, ...]:
        """The newest pauses, whoever caused them."""
        return tuple(self._pauses_ns)

    @property
    def statistics(self) -> GcStatistics:
        """Counts and times since ``engage``."""
        young, middle, old = self._counts
        totals = (self._worst_ns, self._total_ns, self._unreachable, self._forced)
        return GcStatistics((young, middle, old), *totals, gc.get_freeze_count())

    def __enter__(self) -> GcControl:
        self.engage()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _collect(self, generation: int) -> int:
        start_ns = self._clock()
        gc.collect(generation)
        pause_ns = self._clock() - start_ns
        # Expect a little more than the worst seen lately, and forget slowly.
        self._expected_ns[generation] = max(int(pause_ns * 1.25), int(self._expected_ns[generation] * 0.9))
        return pause_ns

    def _observe(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._started_ns = self._clock()
            return
        pause_ns = self._clock() - self._started_ns
        self._counts[info["generation"]] += 1
        self._unreachable += info["collected"] + info["uncollectable"]
        self._total_ns += pause_ns
        self._worst_ns = max(self._worst_ns, pause_ns)
        self._pauses_ns.append(pause_ns)


_shared = GcControl()
_lock = threading.Lock()
_holders = 0


@contextmanager
def collect_in_slack() -> Iterator[Callable[[int], int]]:
    """Take part in holding this process's collector; yields ``slack``. It runs by itself again when the last one leaves.

    Several nodes of one process may hold it, each calling ``slack`` between its frames.
    """
    global _holders
    with _lock:
        _holders += 1
        _shared.engage()
    try:
        yield _slack
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _shared.release()


def _slack(available_ns: int) -> int:
    """``GcControl.slack`` by one thread at a time; who finds another one collecting goes on."""
    if not _lock.acquire(blocking=False):
        return 0
    try:
        return _shared.slack(available_ns)
    finally:
        _lock.release()
