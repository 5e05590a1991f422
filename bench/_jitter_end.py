"""One process of the jitter benchmark: periodic wake-ups under one scheduling policy; figures to standard output."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from percept_ros.runtime import realtime
from percept_ros.runtime.gc_control import GcControl

_TOLD_NS = 50_000


def main() -> None:
    priority, period_ms, runs, processor = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    os.sched_setaffinity(0, {processor})
    refused = realtime.apply(realtime.TaskTiming(priority=priority, lock_memory=priority > 0))
    with GcControl():
        realtime.wake_latencies_ns(period_ms, 50)
        due_ns, late_ns = wake_ups(int(period_ms * 1e6), runs)
    late_us = late_ns / 1e3
    percentiles = {name: float(np.percentile(late_us, q)) for name, q in (("p50", 50), ("p99", 99), ("p999", 99.9))}
    told = np.flatnonzero(late_ns > _TOLD_NS)
    print(
        json.dumps(
            {
                "worst": float(late_us.max()),
                "quiet_worst": float(late_us[late_ns <= _TOLD_NS].max(initial=0.0)),
                **percentiles,
                "late": np.stack([due_ns[told], late_ns[told]], 1).tolist(),
                "refused": [str(r) for r in refused],
            }
        )
    )


def wake_ups(period_ns: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs,) when each wake-up was due (monotonic), and how late it came, nanoseconds."""
    due_ns, late_ns = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    next_ns = time.monotonic_ns() + period_ns
    for index in range(runs):
        realtime.sleep_until(next_ns)
        now_ns = time.monotonic_ns()
        due_ns[index], late_ns[index] = next_ns, now_ns - next_ns
        next_ns = max(next_ns + period_ns, now_ns + period_ns // 2)
    return due_ns, late_ns


if __name__ == "__main__":
    main()
