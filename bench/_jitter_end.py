"""One process of the jitter benchmark: periodic wake-ups under one scheduling policy; figures to standard output."""

from __future__ import annotations

import json
import sys

import numpy as np

from percept_ros.runtime import realtime
from percept_ros.runtime.gc_control import GcControl


def main() -> None:
    priority, period_ms, runs = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    refused = realtime.apply(realtime.TaskTiming(priority=priority, lock_memory=priority > 0))
    with GcControl():
        realtime.wake_latencies_ns(period_ms, 50)
        late_us = realtime.wake_latencies_ns(period_ms, runs) / 1e3
    percentiles = {name: float(np.percentile(late_us, q)) for name, q in (("p50", 50), ("p99", 99), ("p999", 99.9))}
    print(json.dumps({"worst": float(late_us.max()), **percentiles, "refused": [str(r) for r in refused]}))


if __name__ == "__main__":
    main()
