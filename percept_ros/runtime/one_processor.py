"""A stretch of work whose own new threads do not overtake it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def one_processor() -> Iterator[None]:
    """This thread and those that it starts share one processor until the end: a new thread runs only while this one waits.

    For the first node of a process: Fast DDS (2.14 to 3.6, RTPSParticipantImpl::enable) announces a participant before it
    listens; an answer that comes between the two is dropped, and said again only after three seconds. With a processor to
    itself the listening thread took the answer in that moment in one start of four; here it finds it afterwards. Where
    real-time priority is permitted this thread has the lowest one meanwhile, so that no other process comes between; without,
    one start in eight still waits.
    """
    try:
        allowed, policy, priority = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setaffinity(0, {_processor()})
    except OSError:  # processors cannot be chosen here
        yield
        return
    before = _threads()
    if policy == os.SCHED_OTHER:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        for thread in _threads() - before | {0}:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, policy, priority)
                os.sched_setaffinity(thread, allowed)


def _threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


def _processor() -> int:
    """Where this thread runs now."""
    with open("/proc/thread-self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[36])
