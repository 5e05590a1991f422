"""How long the models and the kernels around them take, one core, beside numpy in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.bev import BevGrid, BevRasteriser, fit_ground
from percept_ros.core.decode import bev_iou, nms_rotated
from percept_ros.types import F32, F64

SCAN_POINTS = 115_000


def run(*, repeats: int = 50, seed: int = 0, model: str = "lidar_pillars") -> dict[str, Any]:
    """Kernels and every artefact of ``model``. Times are of this thread's processor clock unless named wall."""
    result: dict[str, Any] = {"pillarise": pillarise(repeats, seed), "nms_400": nms_400(repeats, seed)}
    return result | detector_times(model, repeats, seed)


def timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median, best and P99 processor time of this thread, and median wall time, milliseconds; one call warms up."""
    call()
    spent, wall = np.empty(repeats), np.empty(repeats)
    for i in range(repeats):
        cpu_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        call()
        spent[i], wall[i] = time.thread_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
    return {
        "median_ms": float(np.median(spent)) / 1e6,
        "best_ms": float(spent.min()) / 1e6,
        "p99_ms": float(np.percentile(spent, 99)) / 1e6,
        "wall_median_ms": float(np.median(wall)) / 1e6,
    }


def simulated_scan(seed: int) -> F32:
    """(115000, 3) float32 points of a simulated 64-beam sweep, repeated or cut to that number."""
    from percept_ros.simulate.scenes import random_scene, scan
    from percept_ros.simulate.sensors import random_lidar

    rng = np.random.default_rng(seed)
    points = scan(random_scene(rng), rng, random_lidar(rng, "hdl64")).points
    return np.ascontiguousarray(np.resize(points, (SCAN_POINTS, 3)))


def numpy_image(points: F32, grid: BevGrid) -> F32:
    """The rasteriser's image in vectorised numpy."""
    x, y, height = points[:, 0], points[:, 1], points[:, 2]
    use = (x * x + y * y < grid.half_m**2) & (height >= grid.edges_m[0]) & (height < grid.edges_m[-1])
    x, y, height = x[use], y[use], height[use]
    per_m, half_m = np.float32(1.0) / np.float32(grid.cell_m), np.float32(grid.half_m)
    cell = ((y + half_m) * per_m).astype(np.int64) * grid.size + ((x + half_m) * per_m).astype(np.int64)
    area = grid.size**2
    level = np.searchsorted(np.array(grid.edges_m, np.float32), height, side="right") - 1
    counts = np.bincount(level * area + cell, minlength=grid.slices * area)
    image = np.zeros((grid.channels, area), np.float32)
    image[: grid.slices] = 1.0 - np.exp2(-np.minimum(counts, 255).reshape(grid.slices, area))
    highest, lowest = np.full(area, -np.inf, np.float32), np.full(area, np.inf, np.float32)
    np.maximum.at(highest, cell, height)
    np.minimum.at(lowest, cell, height)
    seen = np.isfinite(highest)
    image[-3, seen] = np.clip(highest[seen] / 4.0, -0.25, 1.0)
    image[-2, seen] = np.clip(lowest[seen] / 4.0, -0.25, 1.0)
    centre = -grid.half_m + (np.arange(grid.size) + 0.5) * grid.cell_m
    image[-1] = (np.hypot(centre[None], centre[:, None]) / grid.half_m).ravel()
    return image.reshape(1, grid.channels, grid.size, grid.size)


def pillarise(repeats: int, seed: int) -> dict[str, Any]:
    """Rasterising a 115,000-point sweep: kernel beside numpy; ``same`` says whether the images agree."""
    grid, points = BevGrid(), simulated_scan(seed)
    raster = BevRasteriser(grid)
    peer = timed(lambda: numpy_image(points, grid), max(3, repeats // 10))
    own = timed(lambda: raster.rasterise(points), repeats)
    same = bool(np.allclose(raster.rasterise(points), numpy_image(points, grid), atol=1e-5))
    road = timed(lambda: fit_ground(points), repeats)
    return {
        **own,
        "points": len(points),
        "numpy_median_ms": peer["median_ms"],
        "ratio_numpy": peer["median_ms"] / own["median_ms"],
        "same": same,
        "fit_ground_median_ms": road["median_ms"],
    }


def numpy_nms(boxes: F64, scores: F64, iou: float) -> list[int]:
    """Greedy suppression over the whole table of overlaps."""
    order, overlap = np.argsort(-scores, kind="stable"), bev_iou(boxes, boxes)
    alive, kept = np.ones(len(boxes), bool), []
    for i in order:
        if alive[i]:
            kept.append(int(i))
            alive &= overlap[i] <= iou
    return kept


def nms_400(repeats: int, seed: int) -> dict[str, Any]:
    """Rotated suppression of 400 crowded boxes: kernel beside the full table of overlaps."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform((-20, -20, 0, 3.5, 1.5, 1, -4), (20, 20, 1, 5, 2, 2, 4), (400, 7))
    scores = rng.uniform(0, 1, 400)
    own = timed(lambda: nms_rotated(boxes, scores, 0.2), repeats)
    table = timed(lambda: numpy_nms(boxes, scores, 0.2), max(3, repeats // 5))
    same = list(nms_rotated(boxes, scores, 0.2)) == numpy_nms(boxes, scores, 0.2)
    return {**own, "boxes": 400, "table_median_ms": table["median_ms"], "same": same}


def detector_times(model: str, repeats: int, seed: int) -> dict[str, Any]:
    """``<model>_<precision>``: a whole call; LiDAR models on one thread, those with cameras on two with six cameras."""
    from percept_ros.detectors.learned import WITH_CAMERAS, LearnedDetector
    from percept_ros.evaluate.detection_run import lidar_set
    from percept_ros.inference.manifest import find_model, load_manifest

    manifest = load_manifest(find_model(model))
    if manifest.preprocess.kind == WITH_CAMERAS:
        return camera_detector_times(model, repeats, seed)
    sensors, name = lidar_set(simulated_scan(seed), np.eye(4)), Path(model).name
    result: dict[str, Any] = {}
    for artefact in manifest.artefacts:
        detector = LearnedDetector(model, engine=artefact.format, precision=artefact.precision)
        detector.load()
        result[f"{name}_{artefact.precision}"] = {**timed(lambda d=detector: d.detect(sensors), repeats), "threads": 1}  # type: ignore[misc]
        detector.close()
    return result


def camera_detector_times(model: str, repeats: int, seed: int, cameras: int = 6) -> dict[str, Any]:
    """The same for a model with cameras: wall time on two threads, and ``cpu_median_ms`` of all threads together."""
    from percept_ros.detectors.learned import LearnedDetector
    from percept_ros.inference.manifest import find_model, load_manifest
    from percept_ros.inference.options import EngineOptions
    from percept_ros.simulate.drive import SimulateConfig, simulate_drive

    sensors = next(simulate_drive(SimulateConfig(seconds=0.1, cameras=cameras), seed)).sensors
    result: dict[str, Any] = {}
    for artefact in load_manifest(find_model(model)).artefacts:
        detector = LearnedDetector(
            model, engine=artefact.format, precision=artefact.precision, options=EngineOptions(threads=2)
        )
        detector.load()
        detector.detect(sensors)
        wall, spent = np.empty(repeats), np.empty(repeats)
        for i in range(repeats):
            wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
            detector.detect(sensors)
            wall[i], spent[i] = time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns
        detector.close()
        result[f"{Path(model).name}_{artefact.precision}"] = {
            "median_ms": float(np.median(wall)) / 1e6,
            "best_ms": float(wall.min()) / 1e6,
            "p99_ms": float(np.percentile(wall, 99)) / 1e6,
            "cpu_median_ms": float(np.median(spent)) / 1e6,
            "threads": 2,
            "cameras": cameras,
        }
    return result
