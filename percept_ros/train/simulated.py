"""Fills a folder with simulated, labelled scans: scan i of a seed is the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from percept_ros.simulate.scenes import random_scene, scan
from percept_ros.train.scans import above_road, save_scan

_SAVED_RANGE_M = 54.0


def simulate_scan(seed: int, index: int, file: Path) -> None:
    """Draw scan ``index`` of ``seed`` and write it."""
    rng = np.random.default_rng((seed, index))
    sample = scan(random_scene(rng), rng)
    near = np.hypot(sample.points[:, 0], sample.points[:, 1]) < _SAVED_RANGE_M
    use = np.hypot(sample.boxes[:, 0], sample.boxes[:, 1]) < _SAVED_RANGE_M
    save_scan(
        above_road(sample.points[near], sample.boxes[use], sample.class_ids[use], sample.points_inside[use]), file
    )


def fill(folder: Path, count: int, seed: int, report: Callable[[str], None], first: int = 0) -> int:
    """Make the scans ``first`` to ``count`` - 1 that are not there yet; returns how many were made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for index in range(first, count):
        file = folder / f"{seed:06d}_{index:07d}.npz"
        if file.exists():
            continue
        simulate_scan(seed, index, file)
        made += 1
        if made % 200 == 0:
            report(f"{index + 1}/{count} scans")
    return made
