"""Serving many callers: Flask + threads + PyTorch on the CPU (the old way) against our scheduler with micro-batches.

Both run the same network with the same weights. The peer is reached over HTTP on this machine, as it was in service;
ours is called in-process, as the nodes and the gateway call it. Callers wait for each answer (closed loop).
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
from _serve_callers import Call, Load, allow_connections, drive, http_call  # noqa: E402
from _serve_model import SIDE, onnx_bytes  # noqa: E402

from percept_ros.inference.scheduler import Scheduler, SchedulerConfig  # noqa: E402

CROP = np.random.default_rng(3).integers(0, 255, (3, SIDE, SIDE), np.uint8)
FLAT_KB = 1.0
"""Growth for 1,000 requests that still counts as none."""
Crops = Scheduler[np.ndarray, np.ndarray]


def run(
    *,
    callers: tuple[int, ...] = (1, 16, 64, 256, 2000),
    seconds: float = 4.0,
    memory_seconds: float = 40.0,
    workers: int = 2,
    max_batch: int = 32,
    queue: int = 512,
    peer_callers: int = 256,
    torch_python: str = "",
) -> dict[str, Any]:
    """Throughput and latency at each number of callers, then memory over a long run of ours.

    peer_callers: the peer, which makes a thread a request, is spared higher levels. torch_python: interpreter that has torch (default: this one, or $PERCEPT_TORCH_PYTHON). Without it the peer is skipped.
    """
    allow_connections(8192)
    config = SchedulerConfig(queue=queue, workers=workers, policy="reject", max_batch=max_batch)
    ours, peer, skipped = {}, {}, ""
    with Scheduler(session_run, config) as scheduler:
        for count in callers:
            ours[str(count)] = asyncio.run(drive(in_process(scheduler), count, seconds, 0.5)).figures()
        slope, rss_mb = memory(scheduler, memory_seconds)
        counters = scheduler.counters
    python = torch_python or os.environ.get("PERCEPT_TORCH_PYTHON", "")
    if not python and importlib.util.find_spec("torch") is None:
        skipped = (
            "PyTorch is not installed here: run make torch, or name an interpreter that has it in PERCEPT_TORCH_PYTHON"
        )
    else:
        with flask_peer(python or sys.executable) as port:
            for count in (count for count in callers if count <= peer_callers):
                peer[str(count)] = asyncio.run(drive(http_call(port, CROP.tobytes()), count, seconds, 1.0)).figures()
    return report(ours, peer, skipped, callers, slope, rss_mb, counters)


def report(
    ours: dict[str, Any],
    peer: dict[str, Any],
    skipped: str,
    callers: Sequence[int],
    slope: float,
    rss_mb: float,
    counters: Any,
) -> dict[str, Any]:
    """Ratios at 64 callers (or the level nearest to it)."""
    level = str(min(callers, key=lambda count: abs(count - 64)))
    most = ours[str(max(callers))]
    result: dict[str, Any] = {
        "throughput_ratio": ours[level]["qps"] / peer[level]["qps"] if peer else -1.0,
        "p99_ratio": ours[level]["p99_ms"] / peer[level]["p99_ms"] if peer else -1.0,
        "qps": ours[level]["qps"],
        "peer_qps": peer[level]["qps"] if peer else -1.0,
        "rss_slope_kb_per_1000": slope,
        "rss_mb": rss_mb,
        "at_callers": int(level),
        "most_callers": max(callers),
        "most_callers_unanswered": most["unanswered"] + most["broken"],
        "peer_skipped": skipped,
        "ours": ours,
        "peer": peer,
        "submitted": counters.submitted,
        "completed": counters.completed,
        "rejected": counters.rejected,
        "batches": counters.batches,
    }
    fast = not peer or (result["throughput_ratio"] >= 10 and result["p99_ratio"] <= 0.23)
    whole = counters.submitted == counters.completed + counters.rejected
    flat = slope < FLAT_KB
    result["ok"] = bool(fast and whole and flat and result["most_callers_unanswered"] == 0)
    return result


def session_run() -> Callable[[Sequence[np.ndarray], int | None], Sequence[np.ndarray]]:
    """One ONNX Runtime session, one thread, no spinning."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(onnx_bytes(), options, providers=["CPUExecutionProvider"])

    def run_batch(items: Sequence[np.ndarray], deadline_ns: int | None) -> Sequence[np.ndarray]:
        return list(session.run(None, {"crops": np.stack(items)})[0])

    return run_batch


def in_process(scheduler: Crops) -> Callable[[int], Awaitable[Call]]:
    """Callers that await the scheduler."""

    async def connect(index: int) -> Call:
        async def call() -> None:
            await scheduler.answer(CROP)

        return call

    return connect


def memory(scheduler: Crops, seconds: float) -> tuple[float, float]:
    """Slope of resident memory in kB for 1,000 requests at 64 callers, and its last value in MB."""
    samples: list[tuple[int, float]] = []

    async def sample() -> Load:
        work = asyncio.create_task(drive(in_process(scheduler), 64, seconds, 0.5, keep=False))
        while not work.done():
            samples.append((scheduler.counters.completed, resident_kb()))
            await asyncio.wait([work], timeout=seconds / 60)
        return await work

    asyncio.run(sample())
    steady = np.array(samples[len(samples) // 3 :])
    return float(np.polyfit(steady[:, 0] / 1000, steady[:, 1], 1)[0]), float(steady[-1, 1] / 1000)


def resident_kb() -> float:
    """Resident memory of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1000


@contextmanager
def flask_peer(python: str) -> Iterator[int]:
    """The peer in a process of its own; gives its port."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([python, str(HERE / "_serve_peer.py")], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a side and level."""
    header = ["side", "callers", "answers/s", "P50 ms", "P99 ms", "P99.9 ms", "refused", "broken", "unanswered"]
    keys = ("qps", "p50_ms", "p99_ms", "p999_ms", "refused", "broken", "unanswered")
    sides = (("Flask + PyTorch", result["peer"]), ("scheduler", result["ours"]))
    return header, [[name, count, *(f[k] for k in keys)] for name, side in sides for count, f in side.items()]


def plot(result: dict[str, Any], file: Path) -> None:
    """Throughput and P99 over callers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    for axes, key, label in zip(panels, ("qps", "p99_ms"), ("answers a second", "P99, ms"), strict=True):
        for name, side in (("Flask + PyTorch", result["peer"]), ("scheduler", result["ours"])):
            axes.plot([int(count) for count in side], [f[key] for f in side.values()], "o-", label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("concurrent callers")
        axes.set_ylabel(label)
        axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
