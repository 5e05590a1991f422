"""Resident memory over many frames: ring in, ring out, detector in a worker process, tracking, prediction.

The slope is fitted over the last two thirds of the run, for this process and for the worker.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
from _synthetic import PERIOD_NS, LaneDetector, sensor_set, sweep  # noqa: E402

from percept_ros.config import Config  # noqa: E402
from percept_ros.core.tracking import Tracker  # noqa: E402
from percept_ros.detectors.chain import DetectorChain  # noqa: E402
from percept_ros.detectors.process import DetectorSpec, ProcessDetector, WorkerLimits  # noqa: E402
from percept_ros.pipeline import Pipeline  # noqa: E402
from percept_ros.runtime.gc_control import GcControl  # noqa: E402
from percept_ros.runtime.ring import RingReader, RingWriter  # noqa: E402
from percept_ros.types import PointCloud  # noqa: E402

_SAMPLES = 200


def run(*, frames: int = 20_000, objects: int = 20, points: int = 5_000, limit_s: float = 100.0) -> dict[str, Any]:
    """Push ``frames`` frames through (fewer when ``limit_s`` runs out) and fit the memory slope."""
    with ExitStack() as stack:
        spec = DetectorSpec("_synthetic:make_lanes", {"objects": objects}, cameras=False)
        worker = ProcessDetector(spec, WorkerLimits(spare=False))
        chain = DetectorChain([worker, LaneDetector(objects)])
        stack.callback(chain.close)
        chain.load()
        config = Config()
        tracker = Tracker(config.tracking, seed=1, fixed_frame=config.frames.fixed)
        pipeline = stack.enter_context(Pipeline(chain, None, tracker, base_frame="base_link", detect_ms=1000.0))
        control = stack.enter_context(GcControl())
        samples, done, seconds = drive(pipeline, control, worker, sweep(points, 0), frames, limit_s)
        statistics, faults = control.statistics, sum(chain.faults.values())
    steady = samples[len(samples) // 3 :]
    slope = fit(steady[:, 0], steady[:, 1])
    result: dict[str, Any] = {
        "rss_slope_kb_per_1000": slope,
        "worker_slope_kb_per_1000": fit(steady[:, 0], steady[:, 2]),
        "frames": done,
        "frames_per_s": done / seconds,
        "rss_mb": float(steady[-1, 1] / 1000),
        "worker_rss_mb": float(steady[-1, 2] / 1000),
        "growth_kb": float(np.median(steady[-10:, 1]) - np.median(steady[:10, 1])),
        "worker_faults": faults,
        "cycles_found": statistics.unreachable,
        "gc_worst_pause_ms": statistics.worst_pause_ns / 1e6,
        "samples": samples.tolist(),
    }
    result["ok"] = abs(slope) < 10.0 and abs(result["worker_slope_kb_per_1000"]) < 10.0
    return result


def drive(
    pipeline: Pipeline, control: GcControl, worker: ProcessDetector, cloud: PointCloud, frames: int, limit_s: float
) -> tuple[np.ndarray, int, float]:
    """(samples, 3) of frame number, own and worker's resident kB; frames done; seconds taken."""
    rows, begin, every = [], time.perf_counter(), max(1, frames // _SAMPLES)
    with RingWriter(f"bench-memory-{os.getpid()}") as writer, RingReader() as reader:
        for number in range(frames):
            stamp_ns = (number + 1) * PERIOD_NS
            frame = reader.view(
                writer.write_cloud(PointCloud("lidar", stamp_ns, "lidar", cloud.points, cloud.intensity))
            )
            seen = PointCloud("lidar", stamp_ns, "lidar", frame.array[:, :3], frame.array[:, 3])
            result = pipeline.process(sensor_set(seen, stamp_ns=stamp_ns), stamp_ns)
            assert frame.still_valid()
            assert number < 10 or len(result.tracks)
            control.slack(5_000_000)
            if number % every == 0:
                rows.append((number, resident_kb(os.getpid()), resident_kb(worker.pids[0])))
                if time.perf_counter() - begin > limit_s:
                    break
    return np.array(rows, float), number + 1, time.perf_counter() - begin


def fit(frames: np.ndarray, kilobytes: np.ndarray) -> float:
    """Slope in kB for 1,000 frames."""
    return float(np.polyfit(frames / 1000, kilobytes, 1)[0])


def resident_kb(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1000


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a process."""
    rows: list[list[object]] = [
        ["this process", result["rss_mb"], result["rss_slope_kb_per_1000"]],
        ["worker", result["worker_rss_mb"], result["worker_slope_kb_per_1000"]],
    ]
    return ["process", "resident MB", f"slope kB/1000 frames over {result['frames']}"], rows


def plot(result: dict[str, Any], file: Path) -> None:
    """Resident memory over frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    samples = np.array(result["samples"])
    figure, axes = plt.subplots(figsize=(7, 4))
    for column, label in ((1, "this process"), (2, "worker")):
        axes.plot(samples[:, 0], samples[:, column] / 1000, label=label)
    axes.set_xlabel("frames")
    axes.set_ylabel("resident memory, MB")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
