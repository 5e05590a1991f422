"""The shipped LiDAR detector still does what its card says, on simulated and (where it is there) recorded sweeps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.decode import bev_iou
from percept_ros.detectors.learned import LearnedDetector
from percept_ros.evaluate import detection_data
from percept_ros.evaluate.detection_run import lidar_set, score_sweeps
from percept_ros.inference.manifest import find_model, load_manifest
from percept_ros.simulate.scenes import random_scene, scan
from percept_ros.types import ObjectClass

DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture(scope="module")
def detector() -> LearnedDetector:
    made = LearnedDetector("lidar_pillars")
    made.load()
    return made


def test_the_manifest_prefers_int8_and_names_its_card() -> None:
    manifest = load_manifest(find_model("lidar_pillars"))
    assert [a.precision for a in manifest.artefacts] == ["int8", "fp32"]
    assert (manifest.folder / manifest.card).is_file()
    assert manifest.licence


def test_cars_of_simulated_streets_are_found(detector: LearnedDetector) -> None:
    found = count = 0
    for seed in (90_001, 90_002, 90_003, 90_004):
        rng = np.random.default_rng(seed)
        sample = scan(random_scene(rng), rng)
        detections = detector.detect(lidar_set(sample.points, np.eye(4)))
        clear = (sample.class_ids == ObjectClass.CAR) & (sample.points_inside >= 100)
        clear &= np.hypot(sample.boxes[:, 0], sample.boxes[:, 1]) < 30.0
        cars = detections.boxes[(detections.class_ids == ObjectClass.CAR) & (detections.scores >= 0.3)]
        overlap = bev_iou(sample.boxes[clear], cars)
        found += int((overlap.max(axis=1, initial=0.0) >= 0.3).sum())
        count += int(clear.sum())
    assert count >= 20
    assert found >= 0.8 * count


def test_int8_and_fp32_agree(detector: LearnedDetector) -> None:
    rng = np.random.default_rng(90_005)
    sensors = lidar_set(scan(random_scene(rng), rng).points, np.eye(4))
    full = LearnedDetector("lidar_pillars", precision="fp32")
    full.load()
    try:
        a, b = detector.detect(sensors), full.detect(sensors)
    finally:
        full.close()
    strong = b.boxes[b.scores >= 0.4]
    assert len(strong) > 0
    assert np.mean(bev_iou(strong, a.boxes).max(axis=1, initial=0.0) > 0.5) >= 0.95


@pytest.mark.data
def test_most_real_cars_of_another_lidar_are_found(detector: LearnedDetector) -> None:
    root = DATA / "av2_log"
    if not root.is_dir():
        pytest.skip(f"recorded data '{root}' is not there (set PERCEPT_DATA)")
    summary = score_sweeps(detection_data.av2(root), detector, 0.3, lambda _: None)
    assert summary["car"]["count"] >= 20
    assert summary["car"]["AP"] >= 0.6
