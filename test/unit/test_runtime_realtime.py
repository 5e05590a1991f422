"""Real-time scheduling: applied where permitted, said where not; periodic tasks count what they miss."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from percept_ros.runtime import realtime
from percept_ros.runtime.realtime import Periodic, Refusal, TaskTiming


def in_thread(work: object) -> None:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_fifo_is_applied_to_the_calling_thread_or_refused_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []

    def work() -> None:
        seen.append(realtime.apply(TaskTiming(priority=90)))
        seen.append(os.sched_getscheduler(0))

    with caplog.at_level(logging.WARNING):
        in_thread(work)
    refusals, policy = seen
    if refusals:
        assert "CAP_SYS_NICE" in caplog.text
        assert policy == os.SCHED_OTHER
    else:
        assert policy == os.SCHED_FIFO
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_impossible_affinity_is_refused_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = os.sched_getaffinity(0)
    (refusal,) = realtime.apply(TaskTiming(processors=(4095,)))
    assert refusal.what == "affinity"
    assert "processors" in caplog.text
    assert os.sched_getaffinity(0) == before


def test_affinity_is_applied_and_reset() -> None:
    seen: list[set[int]] = []
    one = min(os.sched_getaffinity(0))

    def work() -> None:
        assert realtime.apply(TaskTiming(processors=(one,))) == ()
        seen.append(os.sched_getaffinity(0))
        realtime.reset()
        seen.append(os.sched_getaffinity(0))

    in_thread(work)
    assert seen[0] == {one}
    assert one in seen[1]


def test_nothing_asked_is_nothing_done() -> None:
    assert realtime.apply(TaskTiming()) == ()


def test_probe_names_what_is_missing() -> None:
    assert all(isinstance(refusal, Refusal) and refusal.advice in str(refusal) for refusal in realtime.probe())


def test_sleep_until_does_not_return_early() -> None:
    until_ns = time.monotonic_ns() + 2_000_000
    realtime.sleep_until(until_ns)
    assert time.monotonic_ns() >= until_ns
    realtime.sleep_until(0)


def test_periodic_counts_missed_deadlines_and_skipped_periods() -> None:
    misses: list[tuple[int, int]] = []

    def work() -> None:
        if task.counters.runs == 1:
            realtime.sleep_until(time.monotonic_ns() + 7_000_000)

    task = Periodic(TaskTiming(period_ms=2.0), work, lambda start, took: misses.append((start, took)))
    counters = task.run(runs=4)
    assert counters.runs == 4
    assert counters.missed >= 1
    assert counters.skipped >= 3
    assert max(took for _, took in misses) >= 7_000_000
    assert counters.worst_run_ns >= 7_000_000


def test_periodic_stops_when_told_and_needs_a_period() -> None:
    task = Periodic(TaskTiming(period_ms=0.1), lambda: None)
    assert task.run(runs=10, stop=lambda: task.counters.runs == 3).runs == 3
    with pytest.raises(ValueError, match="period"):
        Periodic(TaskTiming(), lambda: None).run(runs=1)


def test_wake_latencies_are_never_negative() -> None:
    late_ns = realtime.wake_latencies_ns(0.2, 20)
    assert late_ns.shape == (20,)
    assert np.all(late_ns >= 0)


_RAISE = """
import os, sys, threading
from percept_ros.runtime.realtime import SPINNING, raise_process
stay, told = threading.Event(), []
def work(name):
    open("/proc/thread-self/comm", "w").write(name)
    told.append(threading.get_native_id()); ready.release(); stay.wait()
ready = threading.Semaphore(0)
threads = [threading.Thread(target=work, args=(name,)) for name in (SPINNING + ".0.0", "dds.ev.0")]
for thread in threads:
    thread.start(); ready.acquire()
starting = sys.argv[1] == "starting"
if raise_process(7, starting=starting) is not None:
    print("refused")
else:
    for task in (threading.get_native_id(), *told):
        print(os.sched_getscheduler(task), os.sched_getparam(task).sched_priority)
stay.set()
"""


@pytest.mark.parametrize(("when", "own"), [("starting", f"{os.SCHED_RR} 5"), ("up", f"{os.SCHED_FIFO} 7")])
def test_threads_of_dds_that_spin_stay_ordinary_and_what_starts_comes_behind(when: str, own: str) -> None:
    assert _said(_RAISE, when) == [own, f"{os.SCHED_OTHER} 0", f"{os.SCHED_FIFO} 7"]


_BEHIND = """
import os, threading
from percept_ros.runtime.realtime import behind, raise_process
def show():
    print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
if raise_process(7) is not None:
    print("refused")
else:
    with behind(7):
        show()
        thread = threading.Thread(target=show); thread.start(); thread.join()
    show()
    with behind(0):
        show()
"""


def test_a_thread_that_loads_steps_back_for_as_long_as_it_does() -> None:
    loading, up = f"{os.SCHED_RR} 5", f"{os.SCHED_FIFO} 7"
    assert _said(_BEHIND) == [loading, loading, up, up]


def _said(code: str, *words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    said = done.stdout.split("\n")[:-1]
    if said == ["refused"]:
        pytest.skip("this user may not use real-time priorities")
    return said


_LEFT = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
from percept_ros.runtime.realtime import raise_process, step_back
with ThreadPoolExecutor(1, "percept-spawner") as pool:
    task = pool.submit(threading.get_native_id).result()
    if raise_process(7) is not None:
        print("refused")
    else:
        print(os.sched_getscheduler(task))
        threading.Thread(target=lambda: (step_back(), print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority))).start()
"""


def test_what_starts_processes_or_loads_beside_keeps_nobody_from_the_processor() -> None:
    assert _said(_LEFT) == [str(os.SCHED_OTHER), f"{os.SCHED_RR} 1"]
