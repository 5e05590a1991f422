"""Watches memory, threads and descriptors of the node processes of a soak."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

import numpy as np
import psutil

from percept_ros.nodes.fleet import Fleet
from percept_ros.nodes.soak_chaos import tree_of

_PERIOD_S = 5.0
_WARM_SHARE = 0.3
_TAKEN_UP = 1.25
"""From sample to sample, a worker that waited without a model has taken one up when its memory grew by this factor."""


class ResourceWatch:
    """Samples every process of the fleet while entered. ``summary`` tells slopes by process."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._samples: dict[tuple[str, int], list[tuple[float, float, int, int, float]]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resources", daemon=True)

    def __enter__(self) -> ResourceWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            for name, process in list(self._fleet.processes.items()):
                for index, member in enumerate(tree_of(process)):
                    self._sample(name if index == 0 else f"{name}/worker", member)

    def _sample(self, name: str, process: psutil.Process) -> None:
        try:
            with process.oneshot():
                times = process.cpu_times()
                sample = (
                    time.monotonic(),
                    process.memory_full_info().uss / 1024.0,
                    process.num_threads(),
                    process.num_fds(),
                    float(times.user + times.system),
                )
        except psutil.Error:
            return
        self._samples[(name, process.pid)].append(sample)

    def summary(self) -> dict[str, Any]:
        """By process that lived longest under each name: memory slope (private memory, after warm-up), threads, descriptors, CPU share."""
        found: dict[str, Any] = {}
        for (name, pid), samples in sorted(self._samples.items(), key=lambda item: -len(item[1])):
            key = name if name not in found else f"{name}:{pid}"
            if len(samples) < 4 or (key != name and not name.endswith("/worker")):
                continue
            found[key] = _figures(np.array(samples, np.float64))
        return found


def _figures(table: np.ndarray[Any, Any]) -> dict[str, float]:
    """table: (n, 5) time, memory kB, threads, descriptors, CPU seconds. Growth counts from when it last took a model up."""
    jumps = np.flatnonzero(table[1:, 1] > _TAKEN_UP * table[:-1, 1])
    as_it_is = table[jumps[-1] + 1 :] if len(jumps) else table
    warm = as_it_is[int(len(as_it_is) * _WARM_SHARE) :]
    span_s = max(1e-3, table[-1, 0] - table[0, 0])
    slope = float(np.polyfit(warm[:, 0] - warm[0, 0], warm[:, 1], 1)[0]) if len(warm) > 2 else 0.0
    return {
        "seconds": round(span_s, 1),
        "memory_mb": round(float(table[-1, 1]) / 1024.0, 1),
        "memory_slope_kb_per_1000": round(slope * 100.0, 2),
        "threads_growth": int(warm[-1, 2] - warm[0, 2]),
        "descriptors_growth": int(warm[-1, 3] - warm[0, 3]),
        "cpu_share": round(float(table[-1, 4] - table[0, 4]) / span_s, 3),
    }
