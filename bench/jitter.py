"""How late a periodic task wakes under full CPU load: SCHED_FIFO with locked memory against the default policy.

Both run at once would disturb each other, so they take turns in short rounds while the same load runs all the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def run(
    *, seconds: float = 10.0, rounds: int = 3, period_ms: float = 1.0, load_per_core: int = 2, priority: int = 95
) -> dict[str, Any]:
    """Worst wake-up of both policies, ``seconds`` each in all, in microseconds."""
    runs = max(1, int(seconds * 1e3 / period_ms / rounds))
    count = load_per_core * (os.cpu_count() or 1)
    load = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        turns = [(measure(0, period_ms, runs), measure(priority, period_ms, runs)) for _ in range(rounds)]
    finally:
        for process in load:
            process.kill()
            process.wait()
    default, fifo = ([turn[side] for turn in turns] for side in (0, 1))
    refused = fifo[0]["refused"]
    worst_us, fifo_us = (max(figures["worst"] for figures in side) for side in (default, fifo))
    result = {
        "fifo_worst_us": fifo_us,
        "ratio": worst_us / fifo_us,
        "default_worst_us": worst_us,
        "fifo_p99_us": max(figures["p99"] for figures in fifo),
        "default_p99_us": max(figures["p99"] for figures in default),
        "fifo_p50_us": max(figures["p50"] for figures in fifo),
        "default_p50_us": max(figures["p50"] for figures in default),
        "load_processes": count,
        "wake_ups": runs * rounds,
        "refused": refused,
    }
    result["ok"] = not refused and fifo_us < 1000 and result["ratio"] >= 20
    return result


def measure(priority: int, period_ms: float, runs: int) -> dict[str, Any]:
    """Figures of one process under one policy."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(HERE / "_jitter_end.py"), str(priority), str(period_ms), str(runs)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a policy."""
    header = ["policy", "median us", "P99 us", "worst us"]
    names = (("SCHED_OTHER", "default"), ("SCHED_FIFO", "fifo"))
    return header, [[name, *(result[f"{key}_{q}_us"] for q in ("p50", "p99", "worst"))] for name, key in names]


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
