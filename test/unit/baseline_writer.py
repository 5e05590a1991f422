"""Writes intervals into a baseline file until it is killed, and says which are durable."""

from __future__ import annotations

import sys

from percept_ros.health.baseline_monitor import BaselineMonitor
from percept_ros.health.baseline_store import BaselineStore


def main() -> None:
    monitor = BaselineMonitor(BaselineStore(sys.argv[1]))
    for slot in range(1_000_000):
        monitor.add("latency", slot * 900.0, float(slot))
        print(slot, flush=True)


if __name__ == "__main__":
    main()
