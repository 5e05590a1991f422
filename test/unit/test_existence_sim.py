"""Existence learned on simulated drives: labels, training, and when the tracker believes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from percept_ros.build import build_pipeline, existence_of
from percept_ros.config import Config, TrackingConfig
from percept_ros.core.existence import FEATURES, ExistenceModel, Layer
from percept_ros.core.tracking import Tracker
from percept_ros.errors import ManifestError
from percept_ros.train.existence_drives import DriveFrame, live, score
from percept_ros.train.existence_sim import GROUPS, base_parameters, judged, learn
from percept_ros.types import NUM_CLASSES, Detections, ObjectClass, Tracks

CAR = int(ObjectClass.CAR)


def detections(boxes: np.ndarray, scores: np.ndarray, stamp_ns: int) -> Detections:
    count = len(boxes)
    return dataclasses.replace(
        Detections.empty(stamp_ns, "base_link"),
        boxes=boxes,
        scores=scores,
        class_probabilities=np.tile(np.eye(NUM_CLASSES)[CAR], (count, 1)),
        velocity_mps=np.full((count, 2), np.nan),
        sensors=np.ones(count, np.uint32),
    )


def made_up_drive(seed: int, frames: int = 60) -> list[DriveFrame]:
    """Four parked cars found nine times in ten, and three ghosts with somewhat lower scores that last five frames."""
    rng = np.random.default_rng(seed)
    cars = np.array([[x, y, 0.8, 4.2, 1.8, 1.6, 0.0] for x in (12.0, 25.0) for y in (-6.0, 6.0)])
    drive, places = [], np.zeros((3, 2))
    for k in range(frames):
        if k % 5 == 0:
            places = rng.uniform(-40, 40, (3, 2))
        found = cars[rng.random(len(cars)) < 0.9] + rng.normal(0, 0.05, 7)
        ghosts = np.column_stack([places, np.tile([0.8, 4.2, 1.8, 1.6, 0.0], (3, 1))])
        boxes = np.concatenate([found, ghosts])
        scores = np.concatenate([rng.uniform(0.3, 0.6, len(found)), rng.uniform(0.2, 0.5, 3)])
        stamp_ns = (k + 1) * 100_000_000
        ids = np.zeros((len(cars), 16), np.uint8)
        ids[:, 0] = np.arange(1, 5)
        truth = dataclasses.replace(
            Tracks.empty(stamp_ns, "odom"),
            id=ids,
            boxes=cars,
            class_probabilities=np.tile(np.eye(NUM_CLASSES)[CAR], (4, 1)),
            velocity_mps=np.zeros((4, 2)),
            sensors=np.array([1, 1, 1, 0], np.uint32),
        )
        drive.append(DriveFrame(detections(boxes, scores, stamp_ns), np.eye(4), truth))
    return drive


@pytest.fixture(scope="module")
def model() -> ExistenceModel:
    cars_only = pytest.MonkeyPatch()
    cars_only.setattr("percept_ros.train.existence_sim.GROUPS", {"vehicles": GROUPS["vehicles"]})
    try:
        return learn([made_up_drive(s) for s in range(3)], [made_up_drive(9)], "made_up", lambda text: None)
    finally:
        cars_only.undo()


def test_live_tracks_are_labelled_by_what_is_there() -> None:
    lived = live(made_up_drive(1), base_parameters(), None)
    assert lived.real.any()
    assert (lived.counts & ~lived.real).any(), "ghosts count as false"
    assert (~lived.counts).any(), "tracks on the car that the LiDAR did not see are not judged"
    assert lived.features.shape == (len(lived.real), len(FEATURES))


def test_learned_existence_tells_ghosts_from_cars(model: ExistenceModel) -> None:
    drives = [made_up_drive(20)]
    found = judged(drives, model)
    assert found["tracks"]["mota"] > found["bayes"]["mota"]
    assert found["tracks"]["recall"] > 0.85
    assert found["tracks"]["precision"] > 0.9
    assert found["reliability"]["vehicles"]["ece"] < 0.08
    assert score(drives, base_parameters(), None) == found["bayes"]


def constant(existence: float) -> ExistenceModel:
    """Says the same of every car."""
    line = np.zeros(len(FEATURES) + 1)
    line[-1] = np.log(existence / (1 - existence))
    layer = Layer(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), np.zeros((0, len(FEATURES) + 1)), line)
    return ExistenceModel({(ObjectClass.CAR, False): layer}, {"CAR": {"confirm": 0.0, "publish": 0.0, "min_hits": 1.0}})


def test_a_weaker_detector_is_judged_by_the_bayes_update() -> None:
    box = np.array([[10.0, 0.0, 0.8, 4.2, 1.8, 1.6, 0.0]])
    tracker = Tracker(TrackingConfig(), seed=0, model=constant(0.77))
    told = [
        tracker.step(detections(box, np.array([0.6]), (k + 1) * 100_000_000), {}, {}, np.eye(4), weaker=k >= 3)
        for k in range(6)
    ]
    assert [round(float(t.existence[0]), 2) for t in told[:3]] == [0.77] * 3
    assert all(t.existence[0] > 0.8 for t in told[3:]), "matches of a weaker detector raise it further"


def test_misses_of_a_weaker_detector_are_no_evidence() -> None:
    box, nothing = np.array([[10.0, 0.0, 0.8, 4.2, 1.8, 1.6, 0.0]]), np.zeros((0, 7))
    tracker = Tracker(TrackingConfig(), seed=0, model=constant(0.9))
    for k in range(8):
        seen = (box, np.array([0.6])) if k < 5 else (nothing, np.zeros(0))
        tracker.step(detections(*seen, (k + 1) * 100_000_000), {}, {}, np.eye(4), weaker=k >= 5)
    features = dict(zip(FEATURES, tracker.kernel.evidence()[2].reshape(-1), strict=True))
    assert features["hit_rate"] == 1.0


def test_auto_takes_the_model_of_the_first_detector() -> None:
    config = Config()
    first = config.detector.chain[0]
    existence, learned_for = existence_of(config)
    assert existence is not None
    assert learned_for == first
    other = dataclasses.replace(config, detector=dataclasses.replace(config.detector, chain=("geometric",)))
    assert existence_of(other) == (None, "")
    bayes = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, existence_model=""))
    assert existence_of(bayes) == (None, "")


def test_a_named_model_may_be_a_file_or_a_folder_and_must_be_there(tmp_path: Path) -> None:
    def named(name: str) -> Config:
        return dataclasses.replace(Config(), tracking=TrackingConfig(existence_model=name))

    by_name, _ = existence_of(named("existence_kitti_lidar"))
    assert by_name is not None
    with pytest.raises(ManifestError, match="no_such"):
        existence_of(named("no_such"))
    with pytest.raises(ManifestError, match="no_such"):
        build_pipeline(named("no_such"), isolation="thread")
