"""Simulated drives through a detector, for training and judging the existence model that goes with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import FEATURES, ExistenceModel
from percept_ros.core.tracking import Tracker
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.detectors.detector import Detector
from percept_ros.replay.score import MATCH_M, RANGE_M, MotScore
from percept_ros.replay.track_array import TrackArray
from percept_ros.simulate.drive import SimulateConfig, SimulatedFrame, simulate_drive
from percept_ros.types import F64, I64, Bool, Detections, ObjectClass, SensorSet, Tracks

BEAMS = (32, 64, 64, 128)
DENSITY = (0.3, 1.0)
LEAST_SCORE = 0.1
"""Weaker detections never reach the tracker (``detector.score_threshold``)."""


@dataclass(frozen=True, slots=True)
class DriveFrame:
    """detections: base frame. truth: true objects in the fixed frame; sensors is 0 where the LiDAR did not see one."""

    detections: Detections
    fixed_SE3_base: F64
    truth: Tracks

    @property
    def sensors(self) -> SensorSet:
        """A set without data, for what only asks for time and ego pose."""
        stamp_ns = self.detections.stamp_ns
        return SensorSet(stamp_ns, None, {}, {}, (), {}, fixed_SE3_base=self.fixed_SE3_base)


Drive = list[DriveFrame]


def drive(detector: Detector, seed: int, seconds: float) -> Drive:
    """A LiDAR-only drive in a world of its own, with beams and traffic drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    config = SimulateConfig(
        seconds=seconds, cameras=0, beams=int(rng.choice(BEAMS)), density=float(rng.uniform(*DENSITY)), threads=1
    )
    return [_frame(detector, frame) for frame in simulate_drive(config, seed)]


def _frame(detector: Detector, frame: SimulatedFrame) -> DriveFrame:
    pose = frame.sensors.fixed_SE3_base
    assert pose is not None
    found = detector.detect(frame.sensors)
    use = found.scores >= LEAST_SCORE
    names = ("boxes", "scores", "class_probabilities", "velocity_mps", "sensors")
    kept = dataclasses.replace(found, **{name: getattr(found, name)[use] for name in names})
    seen = (frame.points_inside > 0).astype(np.uint32)
    return DriveFrame(kept, pose, dataclasses.replace(frame.truth, sensors=seen))


def drives(detector: Detector, seed: int, count: int, seconds: float, report: Callable[[str], None]) -> Iterator[Drive]:
    """``count`` drives; drive k of a seed is always the same."""
    for k in range(count):
        yield drive(detector, seed * 1000 + k, seconds)
        report(f"drive {k + 1}/{count}")


def track(
    driven: Drive, parameters: TrackerParameters, model: ExistenceModel | None
) -> Iterator[tuple[Tracker, Tracks]]:
    """The tracker and what it publishes, frame by frame."""
    tracker = Tracker(TrackingConfig(), seed=0, parameters=parameters, model=model)
    for frame in driven:
        yield tracker, tracker.step(frame.detections, {}, {}, frame.fixed_SE3_base)


@dataclass(frozen=True, slots=True)
class Lived:
    """Every live track in every frame: classes (N,), features (N, F), existence (N,), real (N,), counts (N,) whether it is judged."""

    classes: I64
    features: F64
    existence: F64
    real: Bool
    counts: Bool

    @staticmethod
    def join(parts: Sequence[Lived]) -> Lived:
        """All rows of several."""
        return Lived(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(Lived)))


def live(driven: Drive, parameters: TrackerParameters, model: ExistenceModel | None) -> Lived:
    """All live tracks of a drive, published or not, and which are real: nearest to a true object within ``MATCH_M``.

    Tracks beyond ``RANGE_M``, and those on objects that the LiDAR did not see or of unknown kind, are not judged.
    """
    parts = []
    for frame, (tracker, _) in zip(driven, track(driven, parameters, model), strict=True):
        _, classes, features, boxes, existence = tracker.kernel.evidence()
        real, excused = _matched(boxes, frame.truth)
        near = np.hypot(*(boxes[:, :2] - frame.fixed_SE3_base[:2, 3]).T) <= RANGE_M
        counts: Bool = near & (real | ~excused)
        parts.append(Lived(classes, features.reshape(-1, len(FEATURES)), existence, real, counts))
    return Lived.join(parts)


def _matched(boxes: F64, truth: Tracks) -> tuple[Bool, Bool]:
    """(N,) whether a box is the one for a true object; (N,) whether it is near one that does not count."""
    care = (truth.sensors != 0) & (truth.class_ids != ObjectClass.UNKNOWN)
    gap = cdist(boxes[:, :2], truth.boxes[:, :2])
    excused = np.asarray((gap[:, ~care] <= MATCH_M).any(axis=1))
    real = np.zeros(len(boxes), bool)
    cost = np.where(gap <= MATCH_M, gap, 1e3)[:, care]
    rows, columns = linear_sum_assignment(cost)
    real[rows[cost[rows, columns] <= MATCH_M]] = True
    return real, excused


def score(driven: Sequence[Drive], parameters: TrackerParameters, model: ExistenceModel | None) -> dict[str, float]:
    """Sums of what ``percept replay`` scores, over drives: recall, precision, mota, id_switches, fragments."""
    parts = []
    for one in driven:
        sums = MotScore()
        for frame, (_, tracks) in zip(one, track(one, parameters, model), strict=True):
            sums.add(tracks, TrackArray.of_truth(frame.truth), frame.sensors)
        parts.append(sums)
    truths, matches, false, switches, fragments = (
        sum(getattr(s, name) for s in parts) for name in ("truths", "matches", "false", "switches", "fragments")
    )
    return {
        "objects": truths,
        "recall": matches / max(1, truths),
        "precision": matches / max(1, matches + false),
        "mota": 1.0 - (truths - matches + false + switches) / max(1, truths),
        "id_switches": switches,
        "fragments": fragments,
    }
