"""How long the tracker takes for many objects at once."""

from __future__ import annotations

import time

import numpy as np

from percept_ros.config import TrackingConfig
from percept_ros.core.tracking import Tracker
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, Detections, ObjectClass

STEP_NS = 100_000_000


def crowd(objects: int, frame: int, rng: np.random.Generator) -> Detections:
    """``objects`` cars on a lattice 12 m apart, each driving at its own speed, seen with 5 cm of noise."""
    side = int(np.ceil(np.sqrt(objects)))
    place = np.arange(objects)
    boxes = np.tile([0.0, 0.0, 0.75, 4.2, 1.8, 1.5, 0.0], (objects, 1))
    boxes[:, 0] = 12.0 * (place % side) + (place % 7) * 0.1 * frame + rng.normal(0, 0.05, objects)
    boxes[:, 1] = 12.0 * (place // side) + rng.normal(0, 0.05, objects)
    return Detections(
        (frame + 1) * STEP_NS,
        "base_link",
        boxes,
        rng.uniform(0.5, 0.99, objects),
        np.tile(np.eye(NUM_CLASSES)[ObjectClass.CAR], (objects, 1)),
        np.full((objects, 2), np.nan),
        np.full(objects, LIDAR_BIT, np.uint32),
    )


def crowd_ms(objects: int = 500, frames: int = 60) -> dict[str, float]:
    """Processor time of a whole ``Tracker.step`` for ``objects`` simultaneous objects, milliseconds a frame.

    Detections are made beforehand; the first ten frames are not timed.
    """
    rng = np.random.default_rng(0)
    found = [crowd(objects, frame, rng) for frame in range(frames)]
    tracker, pose, spent, tracks = Tracker(TrackingConfig(), seed=0), np.eye(4), [], 0
    for detections in found:
        started = time.thread_time()
        tracks = len(tracker.step(detections, {}, {}, pose))
        spent.append(1e3 * (time.thread_time() - started))
    median, worst = np.percentile(spent[10:], [50, 99])
    return {"objects": objects, "tracks": tracks, "median_ms": float(median), "p99_ms": float(worst)}
