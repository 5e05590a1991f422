"""Parameters of the tracker, one set a class, and how they are laid out for the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from percept_ros.types import F64, NUM_CLASSES, VEHICLE_CLASSES, ObjectClass


@dataclass(frozen=True, slots=True)
class ClassParameters:
    """Motion, measurement, gates and life cycle of one class. One-sigma noise; existence thresholds in [0, 1].

    The field order is that of ``ClassParameters`` in kernels/src/tracking_track.h.
    """

    motion: float = 0.0
    """0: constant turn rate and acceleration; 1: constant velocity."""
    group: float = 1.0
    """Only equal groups associate; group 0 (unknown) goes with all."""
    accel_mps2: float = 2.0
    turn_radps: float = 0.3
    jerk_mps3: float = 2.0
    accel_tau_s: float = 0.8
    turn_tau_s: float = 3.0
    slip_m: float = 0.05
    yaw_walk_rad: float = 0.05
    position_m: float = 0.06
    position_per_m: float = 0.003
    tangent_ratio: float = 0.7
    weak_factor: float = 3.0
    yaw_rad: float = 0.04
    yaw_per_m: float = 0.002
    height_m: float = 0.07
    size_m: float = 0.25
    height_walk_m: float = 0.25
    size_walk_m: float = 0.05
    speed_mps: float = 8.0
    gate_mahalanobis2: float = 200.0
    gate_centre_m: float = 4.0
    gate_giou: float = -0.2
    gate_giou_weak: float = -0.1
    high_score: float = 0.5
    birth_score: float = 0.1
    confirm: float = 0.5
    publish: float = 0.4
    publish_coast: float = 0.5
    forget: float = 0.03
    max_coast_s: float = 2.0
    max_lidar_coast_s: float = 3.0
    min_hits: float = 2.0
    duplicate_iou: float = 0.3
    camera_iou: float = 0.3
    camera_sigma_px: float = 0.0
    """One-sigma of a camera box centre that corrects the bearing of a coasting track; 0 = not corrected."""
    publish_faint: float = 1.0
    faint_mean: float = 0.0
    """Tracks whose mean published existence is below faint_mean are published from publish_faint on (1: never)."""
    camera_birth: float = 2.0
    """Camera boxes of at least this score that no track explains give birth to tracks (over 1: never)."""
    camera_height_m: float = 1.6
    """Height that camera boxes of this class show, from which depth is guessed; camera_depth: one-sigma of it, a metre."""
    camera_depth: float = 0.1
    usual_length_m: float = 3.9
    usual_width_m: float = 1.63
    usual_height_m: float = 1.5


@dataclass(frozen=True, slots=True)
class BayesParameters:
    """The existence update that stands in where nothing was learned.

    half_life_s: of existence while unmatched. prior: share of detections that are true. gain: how far one detection's
    odds are trusted (exponent). low, high: clamps. camera_odds: factor of a camera match at score 1. birth: existence of a
    new track at score 1.
    """

    half_life_s: float = 0.5
    prior: float = 0.25
    gain: float = 0.7
    low: float = 0.01
    high: float = 0.99
    camera_odds: float = 4.0
    birth: float = 0.6


VEHICLE = ClassParameters()
PEDESTRIAN = ClassParameters(
    motion=1.0,
    group=3.0,
    accel_mps2=0.7,
    slip_m=0.02,
    yaw_walk_rad=0.6,
    position_m=0.06,
    position_per_m=0.001,
    tangent_ratio=0.8,
    weak_factor=1.5,
    yaw_rad=0.25,
    height_m=0.08,
    size_m=0.15,
    height_walk_m=0.15,
    speed_mps=1.5,
    gate_centre_m=1.6,
    gate_giou=-0.5,
    gate_giou_weak=-0.4,
    camera_height_m=1.74,
    usual_length_m=0.9,
    usual_width_m=0.65,
    usual_height_m=1.74,
)
TWO_WHEELER = replace(PEDESTRIAN, accel_mps2=2.0, speed_mps=5.0, gate_centre_m=2.5, yaw_walk_rad=0.3)
UNKNOWN = replace(PEDESTRIAN, group=0.0, accel_mps2=2.0, speed_mps=5.0, gate_centre_m=2.5, gate_giou=-0.6)


def default_classes() -> tuple[ClassParameters, ...]:
    """Parameters of every ``ObjectClass``, in order."""
    chosen = {ObjectClass.UNKNOWN: UNKNOWN, ObjectClass.PEDESTRIAN: PEDESTRIAN}
    chosen |= dict.fromkeys((ObjectClass.MOTORCYCLE, ObjectClass.BICYCLE), TWO_WHEELER)
    chosen |= dict.fromkeys(VEHICLE_CLASSES, VEHICLE)
    return tuple(chosen[ObjectClass(i)] for i in range(NUM_CLASSES))


@dataclass(frozen=True, slots=True)
class TrackerParameters:
    """Everything the kernel needs, except the existence model."""

    classes: tuple[ClassParameters, ...] = field(default_factory=default_classes)
    bayes: BayesParameters = field(default_factory=BayesParameters)
    max_tracks: int = 1024
    stationary_mps: float = 0.5
    weight_mahalanobis: float = 0.3
    """Share of the Mahalanobis distance in the association cost; the rest is GIoU."""

    def flat(self) -> F64:
        """Layout for the kernel: globals, then the classes."""
        head = [getattr(self.bayes, f.name) for f in fields(self.bayes)]
        head += [float(self.max_tracks), self.stationary_mps, self.weight_mahalanobis]
        body = [getattr(c, f.name) for c in self.classes for f in fields(c)]
        return np.array(head + body, np.float64)
