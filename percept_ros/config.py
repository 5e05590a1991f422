"""The configuration tree: one YAML file, the typed Config and the ROS parameters are the same names.

Every section is a frozen dataclass; see settings.py for how they are read and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from percept_ros.errors import ConfigError
from percept_ros.settings import parse, setting


@dataclass(frozen=True, slots=True)
class FramesConfig:
    """Coordinate frames."""

    base: str = setting("base_link", "vehicle frame in which detections are made")
    fixed: str = setting("odom", "frame that does not move with the vehicle, in which tracks are estimated")
    publish: str = setting("odom", "frame in which tracks are published: the fixed or the base frame")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of one camera given by configuration instead of CameraInfo and TF."""

    extrinsic: tuple[float, ...] = setting((), "base_SE3_sensor, 16 numbers, row major; empty = from TF or recording")


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Synchroniser: the LiDAR sweep is the pivot."""

    tolerance_ms: float = setting(55.0, "largest distance of a camera stamp from the pivot stamp", low=0.0, high=1000.0)
    deadline_ms: float = setting(60.0, "a set waits at most this long after its pivot arrived", low=0.0, high=5000.0)
    queue_depth: int = setting(20, "messages kept a sensor", low=1, high=1000)
    max_future_s: float = setting(1.0, "a stamp this far ahead of the clock is refused", low=0.0, high=3600.0)


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera."""

    topic: str = setting("", "image topic; its CameraInfo is the sibling camera_info")
    info_topic: str = setting("", "CameraInfo topic; empty = sibling of the image topic")
    transport: str = setting("raw", "image transport of the topic", choices=("raw", "compressed", "h264", "ring"))
    time_offset_ms: float = setting(0.0, "added to every stamp of this camera", low=-1000.0, high=1000.0)
    tolerance_ms: float = setting(-1.0, "own tolerance; negative = sync.tolerance_ms", low=-1.0, high=1000.0)
    rectify: bool = setting(True, "remove lens distortion")
    extrinsic: tuple[float, ...] = setting((), "base_SE3_optical, 16 numbers, row major; empty = from TF or recording")


@dataclass(frozen=True, slots=True)
class LidarConfig:
    """The LiDAR."""

    topic: str = setting("/lidar/points", "PointCloud2 topic")
    transport: str = setting("raw", "how sweeps arrive", choices=("raw", "ring"))
    min_range_m: float = setting(1.0, "nearer points are dropped", low=0.0, high=100.0)
    max_range_m: float = setting(120.0, "farther points are dropped", low=1.0, high=1000.0)
    ego_box_m: tuple[float, ...] = setting(
        (-2.5, 2.5, -1.1, 1.1),
        "x min, x max, y min, y max of the vehicle itself in the base frame; points inside are dropped",
    )
    max_points: int = setting(2_000_000, "larger clouds are refused", low=1000, high=50_000_000)
    deskew: bool = setting(True, "compensate ego motion within the sweep when point times and ego motion are there")
    extrinsic: tuple[float, ...] = setting((), "base_SE3_lidar, 16 numbers, row major; empty = from TF or recording")


@dataclass(frozen=True, slots=True)
class EgoMotionConfig:
    """Where the vehicle's own motion comes from."""

    source: str = setting("auto", "odometry source", choices=("auto", "odometry", "tf", "kiss_icp", "none"))
    topic: str = setting("/odom", "nav_msgs/Odometry topic")
    max_age_ms: float = setting(500.0, "an older pose is not used", low=1.0, high=10000.0)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Which models detect."""

    chain: tuple[str, ...] = setting(
        ("lidar_pillars", "geometric"),
        "models in order of preference; the next is used when one fails (folder, or name in models/)",
    )
    camera_model: str = setting("", "folder of a 2D camera model whose boxes are fused in; empty = none")
    engine: str = setting(
        "", "inference engine of all models (onnx, tensorrt, kernel, ...); empty = as each model prefers"
    )
    isolation: str = setting("process", "where engines run", choices=("process", "thread"))
    score_threshold: float = setting(0.1, "weaker detections are dropped", low=0.0, high=1.0, live=True)


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Time budgets, milliseconds."""

    total_ms: float = setting(100.0, "oldest sensor stamp to publication", low=1.0, high=10000.0)
    front_end_ms: float = setting(8.0, "decode, rectify, ring", low=0.1, high=10000.0)
    back_end_ms: float = setting(150.0, "detection, tracking, prediction (soft)", low=0.1, high=10000.0)
    detect_ms: float = setting(150.0, "a detector is cut off after this", low=0.1, high=10000.0)
    fuse_ms: float = setting(10.0, "camera-LiDAR fusion", low=0.1, high=10000.0)
    track_ms: float = setting(10.0, "tracking", low=0.1, high=10000.0)
    predict_ms: float = setting(10.0, "prediction", low=0.1, high=10000.0)


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """Tracking."""

    existence_model: str = setting("", "file of a learned existence model; empty = Bayes update of detector scores")
    confirm_existence: float = setting(0.6, "a new track is confirmed from this existence on", low=0.0, high=1.0)
    publish_existence: float = setting(0.35, "less certain tracks are not published", low=0.0, high=1.0)
    min_hits: int = setting(2, "measurements before a track is confirmed", low=1, high=100)
    max_coast_s: float = setting(1.5, "a track is dropped this long after its last measurement", low=0.0, high=60.0)
    max_lidar_coast_s: float = setting(3.0, "or this long after its last 3D measurement", low=0.0, high=60.0)
    half_life_s: float = setting(0.5, "of existence while unmatched, without a learned model", low=0.01, high=60.0)
    stationary_mps: float = setting(0.5, "slower tracks are flagged stationary", low=0.0, high=10.0)
    time_jump_s: float = setting(2.0, "a larger step of time, forward or back, starts afresh", low=0.1, high=3600.0)
    pose_hold_s: float = setting(0.5, "a missing ego pose is extrapolated this long", low=0.0, high=10.0)
    max_tracks: int = setting(1024, "more are not started", low=1, high=100000)


@dataclass(frozen=True, slots=True)
class PredictionConfig:
    """Path prediction."""

    step_s: float = setting(0.1, "time between path points", low=0.02, high=1.0)
    vehicle_horizon_s: float = setting(3.0, "how far vehicles are predicted", low=0.1, high=10.0)
    pedestrian_horizon_s: float = setting(4.8, "how far pedestrians and cyclists are predicted", low=0.1, high=10.0)
    turn_speed_mps: float = setting(1.5, "slower objects are predicted straight", low=0.0, high=10.0)
    max_yaw_rate_radps: float = setting(0.8, "faster turning is taken as noise and clipped", low=0.0, high=5.0)


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """The fusion node."""

    inputs: str = setting(
        "ring",
        "ring = frames from camera and lidar nodes in shared memory; direct = the sensor topics themselves",
        choices=("ring", "direct"),
    )
    max_lag_ms: float = setting(400.0, "an older sensor set that still waits is dropped", low=10.0, high=60000.0)
    delay_compensation: bool = setting(False, "move published poses ahead to the publish stamp")


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """Degradation ladder, circuit breakers and semantic health."""

    unhealthy_below: float = setting(0.7, "a lower health score costs one rung of the ladder", low=0.0, high=1.0)
    pulse_ms: float = setting(150.0, "after this long without an array a coasted one is published", low=20.0, high=5e3)
    coast_limit_ms: float = setting(1000.0, "without anything detected anew arrays are then STALE", low=50.0, high=6e4)
    leave_active_s: float = setting(
        5.0, "STALE this long after a frame, the node deactivates itself", low=0.5, high=3600.0
    )
    probation_ms: float = setting(2000.0, "an upgrade that lasts less doubles the next dwell", low=0.0, high=6e4)
    breaker_window: int = setting(20, "calls that a circuit breaker looks back on", low=2, high=1000)
    breaker_failure_share: float = setting(0.5, "of failed calls at which a breaker opens", low=0.01, high=1.0)
    breaker_slow_share: float = setting(0.8, "of slow calls at which a breaker opens", low=0.01, high=1.0)
    breaker_open_ms: float = setting(500.0, "first time a breaker stays open; doubles to breaker_max_open_ms", low=1.0)
    breaker_max_open_ms: float = setting(10000.0, "longest time a breaker stays open", low=1.0)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set."""

    frames: FramesConfig = setting(FramesConfig(), "coordinate frames")
    sync: SyncConfig = setting(SyncConfig(), "synchroniser")
    lidar: LidarConfig = setting(LidarConfig(), "LiDAR")
    cameras: Mapping[str, CameraConfig] = setting({}, "cameras by name; sorted names fix the sensor mask bits")
    ego_motion: EgoMotionConfig = setting(EgoMotionConfig(), "ego motion")
    detector: DetectorConfig = setting(DetectorConfig(), "models")
    prediction: PredictionConfig = setting(PredictionConfig(), "path prediction")
    tracking: TrackingConfig = setting(TrackingConfig(), "tracking")
    fusion: FusionConfig = setting(FusionConfig(), "fusion node")
    budget: BudgetConfig = setting(BudgetConfig(), "time budgets")
    health: HealthConfig = setting(HealthConfig(), "ladder, circuit breakers, semantic health")

    @property
    def camera_order(self) -> tuple[str, ...]:
        """Cameras by name, sorted; the order fixes their bits in sensor masks."""
        return tuple(sorted(self.cameras))


def load_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a YAML file (plain tree, or ROS parameter file) and lay ``overrides`` (nested) over it.

    Raises ConfigError for unreadable files, unknown keys, wrong types and values out of range.
    """
    tree = read_tree(path) if path is not None else {}
    return parse(Config, merge(tree, overrides or {}))


def read_tree(path: Path) -> dict[str, Any]:
    """The nested mapping of a YAML file; the wrapping of a ROS parameter file is taken off."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigError(f"config file '{path}' cannot be read: {exc}") from exc
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"config file '{path}' must hold a mapping, got {type(loaded).__name__}")
    if len(loaded) == 1:
        (inner,) = loaded.values()
        if isinstance(inner, dict) and set(inner) == {"ros__parameters"}:
            return dict(inner["ros__parameters"])
    return loaded


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
