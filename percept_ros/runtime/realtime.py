"""Deterministic scheduling: static priorities, processor affinity, locked memory, and periodic tasks that keep time.

What the machine does not permit is not an error: it is reported once, with what would permit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.native import bind
from percept_ros.settings import setting

_log = logging.getLogger(__name__)
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_ADVICE = {
    "priority": "give the capability CAP_SYS_NICE (systemd: AmbientCapabilities=CAP_SYS_NICE; container:"
    " --cap-add=SYS_NICE) or a limit (limits.conf: '@realtime - rtprio 95')",
    "memory": "give the capability CAP_IPC_LOCK or a limit (limits.conf: '@realtime - memlock unlimited';"
    " container: --ulimit memlock=-1)",
    "affinity": "name processors that this process may use",
}


@dataclass(frozen=True, slots=True)
class TaskTiming:
    """How one task is scheduled. Applies to the calling thread (memory locking: to the whole process)."""

    period_ms: float = setting(0.0, "distance of the starts; 0 = not periodic", low=0.0, high=60_000.0)
    deadline_ms: float = setting(0.0, "from start to end; 0 = the period", low=0.0, high=60_000.0)
    priority: int = setting(
        0, "static SCHED_FIFO priority, 90 to 95 for the sensor path; 0 = default policy", low=0, high=99
    )
    processors: tuple[int, ...] = setting((), "processors the task may use; empty = all")
    lock_memory: bool = setting(False, "keep all memory of the process resident")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something the machine did not permit. what: ``priority``, ``memory`` or ``affinity``."""

    what: str
    reason: str

    @property
    def advice(self) -> str:
        """What would permit it."""
        return _ADVICE[self.what]

    def __str__(self) -> str:
        return f"{self.what} not permitted ({self.reason}): {self.advice}"


def apply(timing: TaskTiming) -> tuple[Refusal, ...]:
    """Schedule the calling thread as asked. What is not permitted is left as it was, logged and returned."""
    steps: list[tuple[str, Callable[[], None]]] = []
    if timing.processors:
        steps.append(("affinity", lambda: os.sched_setaffinity(0, timing.processors)))
    if timing.lock_memory:
        steps.append(("memory", lock_memory))
    if timing.priority:
        fifo = os.sched_param(timing.priority)
        steps.append(("priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, fifo)))
    refusals = tuple(refusal for what, step in steps if (refusal := _attempt(what, step)) is not None)
    for refusal in refusals:
        _log.warning("real-time %s", refusal)
    return refusals


def probe() -> tuple[Refusal, ...]:
    """What this process may not do, found from its limits and capabilities without changing anything."""
    refusals = []
    capabilities = _effective_capabilities()
    if not capabilities >> 23 & 1 and resource.getrlimit(resource.RLIMIT_RTPRIO)[0] < 90:
        refusals.append(Refusal("priority", "no CAP_SYS_NICE, and RLIMIT_RTPRIO is below 90"))
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if not capabilities >> 14 & 1 and limit != resource.RLIM_INFINITY:
        refusals.append(Refusal("memory", f"no CAP_IPC_LOCK, and RLIMIT_MEMLOCK is {limit} bytes"))
    return tuple(refusals)


def lock_memory() -> None:
    """Keep present and future memory of the process resident. Raises OSError when not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unlock_memory() -> None:
    """Undo ``lock_memory``."""
    ctypes.CDLL(None).munlockall()


def sleep_until(deadline_ns: int) -> None:
    """Sleep until the monotonic clock reads ``deadline_ns``; returns at once when it has passed."""
    _sleep_kernel()(deadline_ns)


@dataclass(slots=True)
class PeriodicCounters:
    """Runs of a periodic task. missed: ended after their deadline; skipped: periods lost because a run took too long."""

    runs: int = 0
    missed: int = 0
    skipped: int = 0
    worst_wake_ns: int = 0
    worst_run_ns: int = 0


@dataclass(slots=True)
class Periodic:
    """Runs ``work`` every period on the calling thread, on an absolute grid (no drift).

    A run that overshoots whole periods skips them and counts them. on_miss: told start and duration of a run that ended
    after its deadline.
    """

    timing: TaskTiming
    work: Callable[[], None]
    on_miss: Callable[[int, int], None] | None = None
    counters: PeriodicCounters = field(default_factory=PeriodicCounters)

    def run(self, *, runs: int, stop: Callable[[], bool] = lambda: False) -> PeriodicCounters:
        """Run at most ``runs`` times, until ``stop`` says so. Raises ValueError without a period."""
        period_ns = int(self.timing.period_ms * 1e6)
        if period_ns <= 0:
            raise ValueError(f"period is {self.timing.period_ms} ms, expected more than 0")
        next_ns = time.monotonic_ns() + period_ns
        for _ in range(runs):
            if stop():
                break
            sleep_until(next_ns)
            next_ns = self._once(next_ns, period_ns)
        return self.counters

    def _once(self, planned_ns: int, period_ns: int) -> int:
        start_ns = time.monotonic_ns()
        self.work()
        end_ns = time.monotonic_ns()
        counters = self.counters
        counters.runs += 1
        counters.worst_wake_ns = max(counters.worst_wake_ns, start_ns - planned_ns)
        counters.worst_run_ns = max(counters.worst_run_ns, end_ns - start_ns)
        if end_ns - planned_ns > (self.timing.deadline_ms or self.timing.period_ms) * 1e6:
            counters.missed += 1
            if self.on_miss is not None:
                self.on_miss(start_ns, end_ns - start_ns)
        behind = (end_ns - planned_ns) // period_ns
        counters.skipped += behind
        return planned_ns + (behind + 1) * period_ns


def wake_latencies_ns(period_ms: float, runs: int) -> npt.NDArray[np.int64]:
    """(runs,) how late each of ``runs`` periodic wake-ups of the calling thread came, nanoseconds."""
    late_ns = np.zeros(runs, np.int64)
    period_ns = int(period_ms * 1e6)
    next_ns = time.monotonic_ns() + period_ns
    for index in range(runs):
        sleep_until(next_ns)
        now_ns = time.monotonic_ns()
        late_ns[index] = now_ns - next_ns
        next_ns = max(next_ns + period_ns, now_ns + period_ns // 2)
    return late_ns


def _attempt(what: str, step: Callable[[], None]) -> Refusal | None:
    try:
        step()
    except OSError as exc:
        return Refusal(what, exc.strerror or str(exc))
    return None


def _effective_capabilities() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))


@cache
def _sleep_kernel() -> Callable[[int], Any]:
    return bind("percept_sleep_until", [ctypes.c_int64])


def pin_process(processors: Sequence[int], memory: bool) -> tuple[Refusal, ...]:
    """Keep this process on ``processors`` (all when empty) and, with ``memory``, resident. Refusals are logged and returned."""
    return apply(TaskTiming(processors=tuple(processors), lock_memory=memory))


BESIDE = ("percept-spawner", "percept-paths")
"""Threads that must never keep those that answer from the processor."""
DDS, SPINNING = "dds.", "dds.asyn"
"""What the names of the threads of Fast DDS begin with, and of those among them that spin while another thread has a lock."""
_SPINNING_NICE = -10
ANSWERING = 1
"""How far the processes that answer (LiDAR, fusion, detectors) come before the cameras: a sweep is worked on while the images
of its set are still written, and a set is not answered later because those of the next one come."""


def raise_process(
    priority: int, leave: Sequence[str] = BESIDE, *, above: int = 0, starting: bool = False
) -> Refusal | None:
    """Give every thread of this process SCHED_FIFO ``priority + above``; threads that they start inherit it.

    Threads of DDS that spin stay ordinary ones (niceness -10): two of them were seen to keep both processors of a machine
    for good while the holders of their locks waited for a file that a process with less priority was making.

    leave: what the names of Python threads begin with that stay as they are: what loads beside, and what starts child
    processes, which would inherit it too.
    starting: only the threads of DDS, which hold locks that other processes wait for; the rest comes two behind, so that
    this start keeps nobody waiting who is up.
    What is not permitted is logged and returned.
    """
    left = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(tuple(leave))}
    up = os.SCHED_FIFO, os.sched_param(priority + above)
    usual = _two_behind(priority) if starting else up

    def step() -> None:
        for task in map(int, os.listdir("/proc/self/task")):
            if task not in left:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    name = _task_name(task)
                    if name.startswith(SPINNING):
                        _make_ordinary(task, _SPINNING_NICE)
                    else:
                        os.sched_setscheduler(task, *(up if name.startswith(DDS) else usual))

    refusal = _attempt("priority", step)
    if refusal is not None:
        _log.warning("real-time %s", refusal)
    return refusal


@contextlib.contextmanager
def behind(priority: int) -> Iterator[None]:
    """Have the calling thread, and what it starts, come two behind the active ones of ``priority``; nothing for 0."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):
        if priority:
            os.sched_setscheduler(0, *_two_behind(priority))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, *before)


def _two_behind(priority: int) -> tuple[int, os.sched_param]:
    return os.SCHED_RR, os.sched_param(max(1, priority - 2))


def step_back() -> None:
    """Let the calling thread come behind every other real-time thread; nothing for an ordinary one."""
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def step_back_process() -> None:
    """Let every real-time thread of this process be an ordinary one again."""
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(int(task)) in (os.SCHED_FIFO, os.SCHED_RR):
                _make_ordinary(int(task))


def _make_ordinary(task: int, niceness: int = 0) -> None:
    os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, task, niceness)


def _task_name(task: int) -> str:
    with open(f"/proc/self/task/{task}/comm") as file:
        return file.read()


def reset(processors: Sequence[int] = ()) -> None:
    """Give the calling thread the default policy again, on ``processors`` (all when empty)."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, processors or range(os.cpu_count() or 1))
