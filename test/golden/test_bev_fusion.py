"""The shipped camera + LiDAR detector still does what its card says, with any number of cameras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from percept_ros.core.decode import bev_iou
from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.detectors.learned import LearnedDetector
from percept_ros.evaluate.detection import CLASS_NAMES
from percept_ros.evaluate.detection_sim import score_drives
from percept_ros.inference.manifest import find_model, load_manifest
from percept_ros.simulate.drive import SimulateConfig, SimulatedFrame, simulate_drive
from percept_ros.types import LIDAR_BIT, ObjectClass


@pytest.fixture(scope="module")
def detector() -> Iterator[LearnedDetector]:
    made = LearnedDetector("bev_fusion")
    made.load()
    yield made
    made.close()


def frame(cameras: int, seed: int = 90_001) -> SimulatedFrame:
    config = SimulateConfig(seconds=0.1, cameras=cameras, width_px=384, height_px=208)
    return next(simulate_drive(config, seed))


def test_the_manifest_prefers_int8_and_names_its_card() -> None:
    manifest = load_manifest(find_model("bev_fusion"))
    assert [a.precision for a in manifest.artefacts] == ["int8", "fp32", "fp16"]
    assert (manifest.folder / manifest.card).is_file()


@pytest.mark.parametrize("cameras", [0, 1, 8])
def test_any_number_of_cameras(detector: LearnedDetector, cameras: int) -> None:
    made = frame(cameras)
    assert made.sensors.fixed_SE3_base is not None
    boxes = transform_boxes(inverse(made.sensors.fixed_SE3_base), made.truth.boxes)
    clear = (made.truth.class_ids == ObjectClass.CAR) & (made.points_inside >= 100)
    clear &= np.hypot(boxes[:, 0], boxes[:, 1]) < 30.0
    found = detector.detect(made.sensors)
    assert (found.sensors == (LIDAR_BIT | sum(view.bit for view in made.sensors.views.values()))).all()
    cars = found.boxes[(found.class_ids == ObjectClass.CAR) & (found.scores >= 0.3)]
    assert clear.sum() >= 3
    assert np.mean(bev_iou(boxes[clear], cars).max(axis=1, initial=0.0) >= 0.3) >= 0.7


def test_no_sensor_gives_nothing_and_cameras_alone_give_finite_boxes(detector: LearnedDetector) -> None:
    sensors = frame(6).sensors
    assert len(detector.detect(replace(sensors, cloud=None, cameras={}))) == 0
    seen = detector.detect(replace(sensors, cloud=None))
    assert np.isfinite(seen.boxes).all()
    assert not (seen.sensors & LIDAR_BIT).any()


def test_fusion_beats_either_alone(detector: LearnedDetector) -> None:
    weak = LearnedDetector("bev_fusion", score_threshold=0.05)
    weak.load()
    try:
        scores = score_drives(weak, 2000, 10, 6, lambda text: None)
    finally:
        weak.close()
    assert set(CLASS_NAMES) <= set(scores["fusion"])
    many = [
        name for name in CLASS_NAMES if scores["fusion"][name]["count"] >= 20
    ]  # ten drives hold too few lorries to tell
    assert len(many) >= 3
    for name in many:
        assert scores["fusion"][name]["AP"] > scores["lidar_only"][name]["AP"] > scores["camera_only"][name]["AP"], name
    assert scores["fusion"]["mAP"] >= 0.75
