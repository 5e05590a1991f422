"""How late a periodic task wakes under full CPU load: SCHED_FIFO with locked memory against the default policy.

Both run at once would disturb each other, so they take turns in short rounds while the same load runs all the time, pinned to
the same processor. A virtual machine stands still now and then: then nobody runs, whatever the policy. The load processes
watch the clock, so that the moments in which none of them, and not the task either, ran on that processor are known (the
machine stood still, or its kernel was busy). Beside the figures as they are, which decide, each worst is printed once more
less those moments. That holds on a machine with nothing else to do: what others ran counts as such a moment too, and
``others_share`` says how much of the processor they had.
"""

from __future__ import annotations

import bisect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
Instants = npt.NDArray[np.int64]
Intervals = npt.NDArray[np.int64]
STALL_NS = 100_000
"""A shorter time in which nothing ran is not looked at: the task's own wake-ups take that long."""


def run(
    *, seconds: float = 10.0, rounds: int = 3, period_ms: float = 1.0, load_per_core: int = 2, priority: int = 95
) -> dict[str, Any]:
    """Worst wake-up of both policies, ``seconds`` each in all, in microseconds."""
    runs = max(1, int(seconds * 1e3 / period_ms / rounds))
    processors = sorted(os.sched_getaffinity(0))
    measured = processors[0]
    load = [start_load(processor) for processor in processors for _ in range(load_per_core)]
    stolen_ms, busy_ms = steal_ms(measured), busy(measured)
    try:
        turns = [
            (measure(0, period_ms, runs, measured), measure(priority, period_ms, runs, measured)) for _ in range(rounds)
        ]
    finally:
        stolen_ms, busy_ms = steal_ms(measured) - stolen_ms, busy(measured) - busy_ms
        gaps, spent_s = zip(*[end_load(process) for process in load], strict=True)
    others = 1.0 - 1e3 * sum(spent_s[:load_per_core]) / busy_ms
    stalls = in_all(gaps[:load_per_core])
    default, fifo = ([turn[side] for turn in turns] for side in (0, 1))
    refused = fifo[0]["refused"]
    result = figures_of("fifo", fifo, stalls) | figures_of("default", default, stalls)
    result["ratio"] = result["default_worst_us"] / result["fifo_worst_us"]
    result["ratio_outside_stalls"] = result["default_worst_outside_stalls_us"] / max(
        result["fifo_worst_outside_stalls_us"], 1e-3
    )
    result |= {
        "stalls": len(stalls),
        "longest_stall_us": float((stalls[:, 1] - stalls[:, 0]).max() / 1e3) if len(stalls) else 0.0,
        "stalled_ms": float((stalls[:, 1] - stalls[:, 0]).sum() / 1e6),
        "steal_ms": stolen_ms,
        "others_share": max(0.0, others),
        "load_processes": len(load),
        "wake_ups": runs * rounds,
        "refused": refused,
    }
    result["ok"] = not refused and result["fifo_worst_us"] < 1000 and result["ratio"] >= 20
    return result


def figures_of(name: str, turns: list[dict[str, Any]], stalls: Intervals) -> dict[str, Any]:
    """Of one policy over all its turns, microseconds: as they are, and the worst less the moments in which nothing ran."""
    late = np.array([row for turn in turns for row in turn["late"]], np.int64).reshape(-1, 2)
    standing_ns = overlap_ns(late[:, 0], late[:, 0] + late[:, 1], stalls)
    outside_us = (late[:, 1] - standing_ns) / 1e3
    figures = {f"{name}_{key}_us": max(turn[key] for turn in turns) for key in ("worst", "p50", "p99", "p999")}
    quiet_us = max(turn["quiet_worst"] for turn in turns)
    figures[f"{name}_worst_outside_stalls_us"] = max(quiet_us, float(max(outside_us, default=0.0)))
    figures[f"{name}_stalled_wake_ups"] = int((standing_ns > 0).sum())
    return figures


def in_all(gaps: Sequence[list[list[int]]]) -> Intervals:
    """(N, 2) the moments that lie within a gap of every load process: none of them ran."""
    common = gaps[0]
    for other in gaps[1:]:
        pairs = ((max(a, c), min(b, d)) for a, b in common for c, d in _near(other, a, b))
        common = [[begin, end] for begin, end in pairs if end - begin > STALL_NS]
    return np.array(common, np.int64).reshape(-1, 2)


def _near(gaps: list[list[int]], begin: int, end: int) -> list[list[int]]:
    """The gaps that touch a span; gaps come in order of time."""
    first = bisect.bisect_left(gaps, begin, key=lambda gap: gap[1])
    last = bisect.bisect_right(gaps, end, key=lambda gap: gap[0])
    return gaps[first:last]


def overlap_ns(begin_ns: Instants, end_ns: Instants, stalls: Intervals) -> Instants:
    """(W,) how much of each span lies within stalls (N, 2), nanoseconds."""
    total = np.zeros(len(begin_ns), np.int64)
    for stall_begin, stall_end in stalls:
        total += np.maximum(0, np.minimum(end_ns, stall_end) - np.maximum(begin_ns, stall_begin))
    return total


def start_load(processor: int) -> subprocess.Popen[str]:
    """Keep ``processor`` busy until ``end_load``."""
    command = [sys.executable, "-S", str(HERE / "_jitter_load.py"), str(processor), str(STALL_NS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end_load(process: subprocess.Popen[str]) -> tuple[list[list[int]], float]:
    """When the load process did not run, and the seconds of processor time that it had."""
    process.terminate()
    said: dict[str, Any] = json.loads(process.communicate()[0])
    return said["gaps"], said["cpu_s"]


def busy(processor: int) -> float:
    """Milliseconds that ``processor`` worked so far."""
    with open("/proc/stat") as file:
        fields = next(line.split() for line in file if line.startswith(f"cpu{processor} "))
    return 1e3 * sum(map(int, fields[1:4])) / os.sysconf("SC_CLK_TCK")


def steal_ms(processor: int) -> float:
    """Time that the host took from ``processor`` so far, as far as it says so."""
    with open("/proc/stat") as file:
        fields = next(line.split() for line in file if line.startswith(f"cpu{processor} "))
    return 1e3 * int(fields[8]) / os.sysconf("SC_CLK_TCK")


def measure(priority: int, period_ms: float, runs: int, processor: int) -> dict[str, Any]:
    """Figures of one process under one policy."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, str(HERE / "_jitter_end.py"), str(priority), str(period_ms), str(runs), str(processor)]
    done = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a policy."""
    header = ["policy", "median us", "P99 us", "worst us", "worst less machine stalls us", "wake-ups in stalls"]
    names = (("SCHED_OTHER", "default"), ("SCHED_FIFO", "fifo"))
    keys = ("p50_us", "p99_us", "worst_us", "worst_outside_stalls_us", "stalled_wake_ups")
    return header, [[name, *(result[f"{key}_{q}"] for q in keys)] for name, key in names]


def plot(result: dict[str, Any], file: Path) -> None:
    """Bars on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for shift, key in ((-0.2, "default"), (0.2, "fifo")):
        heights = [result[f"{key}_{q}_us"] for q in ("p50", "p99", "worst")]
        axes.bar([place + shift for place in range(3)], heights, 0.4, label=key)
    axes.set_xticks(range(3), ["median", "P99", "worst"])
    axes.set_yscale("log")
    axes.set_ylabel("late by, us")
    axes.set_title(f"wake-ups under {result['load_processes']} busy processes")
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
