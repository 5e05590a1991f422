"""How the cost of a frame grows: points 10k to 1M, objects 10 to 1,000, cameras 1 to 12. Exponent 1 is linear.

Points: clustering detector. Objects: tracking and prediction. Cameras: ring in, ring out and synchroniser.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
from _synthetic import PERIOD_NS, LaneDetector, sensor_set, sweep  # noqa: E402

from percept_ros.config import Config, load_config  # noqa: E402
from percept_ros.core.sync import Synchroniser  # noqa: E402
from percept_ros.core.sync_types import SyncSettings  # noqa: E402
from percept_ros.core.tracking import Tracker  # noqa: E402
from percept_ros.detectors.chain import DetectorChain  # noqa: E402
from percept_ros.detectors.geometric import GeometricDetector  # noqa: E402
from percept_ros.pipeline import Pipeline  # noqa: E402
from percept_ros.runtime.ring import RingReader, RingWriter  # noqa: E402
from percept_ros.types import CameraFrame, PointCloud  # noqa: E402

LIMIT = 1.15
"""Largest exponent called linear: measured on a log-log line, with noise."""


def run(
    *,
    points: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000),
    objects: tuple[int, ...] = (10, 30, 100, 300, 1000),
    cameras: tuple[int, ...] = (1, 2, 4, 8, 12),
    repeats: int = 9,
) -> dict[str, Any]:
    """Median cost in milliseconds at every size, and the exponent of the line through them."""
    axes: dict[str, tuple[tuple[int, ...], Callable[[int, int], list[float]]]] = {
        "points": (points, cost_of_points),
        "objects": (objects, cost_of_objects),
        "cameras": (cameras, cost_of_cameras),
    }
    cost_ms = {
        name: {str(size): float(np.min(measure(size, repeats))) for size in sizes}
        for name, (sizes, measure) in axes.items()
    }
    exponent = {name: slope(costs) for name, costs in cost_ms.items()}
    return {"exponent": exponent, "cost_ms": cost_ms, "ok": all(value <= LIMIT for value in exponent.values())}


def slope(costs: dict[str, float]) -> float:
    """Exponent of cost over size."""
    sizes = np.array([float(size) for size in costs])
    return float(np.polyfit(np.log(sizes), np.log(list(costs.values())), 1)[0])


def timed(work: Callable[[int], object], repeats: int) -> list[float]:
    """CPU milliseconds of each call after two to warm up (neighbours on the machine do not count)."""
    taken = []
    for number in range(repeats + 2):
        start_ns = time.process_time_ns()
        work(number)
        taken.append((time.process_time_ns() - start_ns) / 1e6)
    return taken[2:]


def cost_of_points(count: int, repeats: int) -> list[float]:
    """Clustering detector on a sweep of ``count`` points."""
    detector = GeometricDetector()
    detector.load()
    sensors = sensor_set(sweep(count, 1))
    taken = timed(lambda number: detector.detect(sensors), repeats)
    detector.close()
    return taken


def cost_of_objects(count: int, repeats: int) -> list[float]:
    """Tracking and prediction of ``count`` cars."""
    config = Config()
    tracker = Tracker(config.tracking, seed=1, fixed_frame=config.frames.fixed)
    chain = DetectorChain([LaneDetector(count)])
    chain.load()
    with Pipeline(chain, None, tracker, base_frame="base_link", detect_ms=60_000.0) as pipeline:

        def frame(number: int) -> None:
            stamp_ns = (number + 1) * PERIOD_NS
            result = pipeline.process(sensor_set(None, stamp_ns=stamp_ns), stamp_ns)
            assert number < 5 or len(result.tracks) == count

        for number in range(6):
            frame(number)
        return timed(lambda number: frame(number + 6), repeats)


def cost_of_cameras(count: int, repeats: int) -> list[float]:
    """Images of ``count`` cameras through rings into synchronised sets."""
    names = [f"camera_{index}" for index in range(count)]
    settings = SyncSettings.of(load_config(None, {"cameras": {name: {"topic": f"/{name}"} for name in names}}))
    sync: Synchroniser[PointCloud, CameraFrame] = Synchroniser(settings)
    image, cloud = np.zeros((900, 1600, 3), np.uint8), sweep(1000, 1)
    with ExitStack() as stack:
        writers = [stack.enter_context(RingWriter(f"bench-scale-{os.getpid()}-{name}")) for name in names]
        reader = stack.enter_context(RingReader(keep_segments=count))

        def frame(number: int) -> None:
            stamp_ns = (number + 1) * PERIOD_NS
            released = sync.add_cloud(PointCloud("lidar", stamp_ns, "lidar", cloud.points), stamp_ns)
            for name, writer in zip(names, writers, strict=True):
                seen = reader.view(writer.write_image(image, stamp_ns))
                released += sync.add_image(CameraFrame(name, stamp_ns, name, seen.array), stamp_ns)
            assert len(released) == 1

        return timed(frame, repeats * 4)


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a size."""
    rows: list[list[object]] = []
    for name, costs in result["cost_ms"].items():
        rows += [[name, size, cost] for size, cost in costs.items()]
        rows.append([name, "exponent", result["exponent"][name]])
    return ["axis", "size", "CPU ms a frame"], rows


def plot(result: dict[str, Any], file: Path) -> None:
    """Cost over size, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6))
    for axes, (name, costs) in zip(panels, result["cost_ms"].items(), strict=True):
        axes.loglog([int(size) for size in costs], list(costs.values()), "o-")
        axes.set_xlabel(name)
        axes.set_title(f"exponent {result['exponent'][name]:.2f}")
    panels[0].set_ylabel("CPU ms a frame")
    figure.savefig(file, dpi=120, bbox_inches="tight")
