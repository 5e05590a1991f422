"""How long prediction of many tracks takes in one call, beside one call a track, one core.

One step of the clock: displacements of all tracks in, paths out. ``batch`` is the path network alone; ``total`` everything that
a frame pays: classical paths, network, gates, blending. The peer calls the same network once a track. All on one thread,
processor time of that thread; ``wall_*`` beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from percept_ros.config import PredictionConfig
from percept_ros.detectors.path_model import PathModel
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.types import F64, NUM_CLASSES, ObjectClass, Tracks

STEP_S, STEP_NS = 0.1, 100_000_000
LIMIT_MS = 1.5


def run(*, tracks: int = 256, repeats: int = 200, model: str = "predictor_sim", seed: int = 0) -> dict[str, Any]:
    """Median, best and P99 of a call; ``ok``: a call for all tracks takes less than 1.5 ms."""
    network = PathModel(model)
    network.load()
    rng = np.random.default_rng(seed)
    batch = timed(batch_call(network, tracks, rng), repeats)
    peer = timed(track_calls(network, tracks, rng), max(3, repeats // 20))
    network.close()
    total = timed(frame_call(model, tracks, rng), repeats)
    ratio = peer["median_ms"] / batch["median_ms"]
    ok = total["median_ms"] < LIMIT_MS
    return {"tracks": tracks, "batch": batch, "total": total, "peer": peer, "ratio": ratio, "ok": ok}


def timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Processor time of this thread and wall time, milliseconds; a few calls warm up."""
    for _ in range(3):
        call()
    spent, wall = np.empty(repeats), np.empty(repeats)
    for i in range(repeats):
        cpu_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        call()
        spent[i], wall[i] = time.thread_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
    found = {"median_ms": np.median(spent), "best_ms": spent.min(), "p99_ms": np.percentile(spent, 99)}
    found |= {"wall_median_ms": np.median(wall), "wall_best_ms": wall.min()}
    return {name: float(value) / 1e6 for name, value in found.items()}


def batch_call(network: PathModel, count: int, rng: np.random.Generator) -> Callable[[], object]:
    """One call of the network for all tracks."""
    moved, groups = rng.normal(size=(count, 2)), rng.integers(0, 3, count)
    state, old = network.empty(count), np.zeros(count, np.bool_)
    return lambda: network.step(moved, moved / STEP_S, groups, old, state)


def track_calls(network: PathModel, count: int, rng: np.random.Generator) -> Callable[[], object]:
    """One call of the network a track."""
    calls = [batch_call(network, 1, rng) for _ in range(count)]
    return lambda: [call() for call in calls]


def frame_call(model: str, count: int, rng: np.random.Generator) -> Callable[[], object]:
    """A frame of tracks through the whole predictor; every call is a tenth of a second later."""
    predictor = PathPredictor(PredictionConfig(), model, budget_ms=1000.0)
    predictor.load()
    now = some_tracks(count, rng)
    velocity: F64 = now.velocity_mps

    def call() -> object:
        nonlocal now
        boxes = now.boxes.copy()
        boxes[:, :2] += velocity * STEP_S
        now = replace(now, stamp_ns=now.stamp_ns + STEP_NS, boxes=boxes)
        return predictor.predict(now)

    return call


def some_tracks(count: int, rng: np.random.Generator) -> Tracks:
    """Cars, pedestrians and cyclists that go straight on."""
    kinds = rng.choice([ObjectClass.CAR, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE], count)
    course, speed = rng.uniform(-np.pi, np.pi, count), rng.uniform(0.0, 15.0, count)
    boxes = np.zeros((count, 7))
    boxes[:, :2], boxes[:, 6] = rng.uniform(-60.0, 60.0, (count, 2)), course
    covariance = np.tile(0.1 * np.eye(6), (count, 1, 1))
    return Tracks(
        STEP_NS,
        "odom",
        rng.integers(0, 256, (count, 16), np.uint8),
        np.ones(count, np.uint8),
        np.eye(NUM_CLASSES)[kinds],
        np.full(count, 0.9),
        boxes,
        speed[:, None] * np.stack([np.cos(course), np.sin(course)], axis=1),
        np.zeros((count, 2)),
        rng.normal(0.0, 0.1, count),
        covariance,
        covariance,
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.ones(count, np.uint32),
        np.zeros(count, np.bool_),
    )
