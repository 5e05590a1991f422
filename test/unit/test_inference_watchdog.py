from __future__ import annotations

import threading
import time

from percept_ros.inference.watchdog import Watchdog, arm


def test_fires_in_order_of_deadlines() -> None:
    fired: list[int] = []
    done = threading.Event()
    now_ns = time.monotonic_ns()
    watchdog = Watchdog()
    watchdog.arm(now_ns + 3_000_000, lambda: (fired.append(3), done.set()))
    watchdog.arm(now_ns + 1_000_000, lambda: fired.append(1))
    watchdog.arm(now_ns + 2_000_000, lambda: fired.append(2))
    assert done.wait(10)
    assert fired == [1, 2, 3]


def test_disarmed_alarm_does_not_fire() -> None:
    fired: list[str] = []
    done = threading.Event()
    now_ns = time.monotonic_ns()
    alarm = arm(now_ns + 20_000_000, lambda: fired.append("cancelled"))
    assert alarm.disarm() is False
    arm(now_ns + 30_000_000, done.set)
    assert done.wait(10)
    assert fired == []


def test_disarm_says_that_it_had_fired() -> None:
    done = threading.Event()
    alarm = arm(time.monotonic_ns(), done.set)
    assert done.wait(10)
    assert alarm.disarm() is True


def test_action_never_runs_after_disarm() -> None:
    late: list[int] = []
    for i in range(200):
        state = {"over": False}
        alarm = arm(time.monotonic_ns() + 50_000, lambda s=state, i=i: late.append(i) if s["over"] else None)  # type: ignore[misc]
        while time.monotonic_ns() % 7:
            pass
        alarm.disarm()
        state["over"] = True
    assert late == []
