"""One thread a process that fires actions at deadlines, so that a running call can be cut off."""

from __future__ import annotations

import functools
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable


class Alarm:
    """One armed deadline."""

    __slots__ = ("_action", "_lock", "fired")

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action
        self._lock = threading.Lock()
        self.fired = False

    def disarm(self) -> bool:
        """Call it off; after this the action is not run any more. Returns whether it had fired."""
        with self._lock:
            self._action = None
            return self.fired

    def fire(self) -> None:
        """Run the action unless called off."""
        with self._lock:
            if self._action is not None:
                self.fired = True
                self._action()
                self._action = None


class Watchdog:
    """Fires alarms in order of their deadlines. Actions must be short and must not raise."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._queue: list[tuple[int, int, Alarm]] = []
        self._order = itertools.count()
        threading.Thread(target=self._run, name="deadline-watchdog", daemon=True).start()

    def arm(self, deadline_ns: int, action: Callable[[], None]) -> Alarm:
        """Run ``action`` at ``deadline_ns`` of the monotonic clock unless disarmed before."""
        alarm = Alarm(action)
        with self._wake:
            heapq.heappush(self._queue, (deadline_ns, next(self._order), alarm))
            if self._queue[0][2] is alarm:
                self._wake.notify()
        return alarm

    def _run(self) -> None:
        while True:
            self._next().fire()

    def _next(self) -> Alarm:
        with self._wake:
            while True:
                while self._queue and self._queue[0][2]._action is None:
                    heapq.heappop(self._queue)
                if not self._queue:
                    self._wake.wait()
                elif (left_ns := self._queue[0][0] - time.monotonic_ns()) > 0:
                    self._wake.wait(left_ns * 1e-9)
                else:
                    return heapq.heappop(self._queue)[2]


@functools.cache
def _watchdog(pid: int) -> Watchdog:
    return Watchdog()


def arm(deadline_ns: int, action: Callable[[], None]) -> Alarm:
    """``Watchdog.arm`` of the process-wide watchdog."""
    return _watchdog(os.getpid()).arm(deadline_ns, action)
