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
    max_past_s: float = setting(2.0, "in live nodes a stamp this far behind the clock is refused; 0 = never", low=0.0)


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
    worker_memory_mb: float = setting(4096.0, "a worker process that grows larger is replaced", low=50.0, high=1e6)


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

    existence_model: str = setting(
        "auto",
        "learned existence: a file, a model folder, auto = the one shipped for the first detector; empty = Bayes update",
    )
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

    model: str = setting(
        "predictor_sim", "model folder, or name of one in models/; empty = turn rate and constant velocity"
    )
    reset_on_key_frame: bool = setting(
        False, "forget the network's state at key frames of a camera stream (scene cuts)"
    )
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
    standby: bool = setting(False, "a second fusion process that takes over when this one is silent")
    takeover_ms: float = setting(150.0, "the standby takes over after this long without an array", low=30.0, high=5e3)


@dataclass(frozen=True, slots=True)
class WeightsConfig:
    """What each semantic check costs when it fails wholly: the score is the product of 1 - weight (1 - check)."""

    finite: float = setting(1.0, "tracks and paths are finite", low=0.0, high=1.0)
    saturation: float = setting(0.5, "scores are not all alike or at the end of their range", low=0.0, high=1.0)
    count: float = setting(0.4, "number of objects is what it usually is", low=0.0, high=1.0)
    scores: float = setting(0.4, "distribution of scores is what it usually is", low=0.0, high=1.0)
    continuity: float = setting(0.4, "tracks go on from frame to frame", low=0.0, high=1.0)
    coherence: float = setting(0.4, "tracks move as they said they would", low=0.0, high=1.0)
    agreement: float = setting(0.4, "cameras see what the LiDAR sees", low=0.0, high=1.0)
    calibration: float = setting(0.5, "projected boxes lie where the camera sees them", low=0.0, high=1.0)
    images: float = setting(0.2, "images are neither frozen nor blank", low=0.0, high=1.0)
    cloud: float = setting(0.5, "the sweep neither repeats nor is nearly empty", low=0.0, high=1.0)
    clocks: float = setting(0.4, "clocks of the sensors agree", low=0.0, high=1.0)
    complete: float = setting(0.2, "outputs are complete", low=0.0, high=1.0)


@dataclass(frozen=True, slots=True)
class SemanticConfig:
    """Semantic health: whether what goes in and comes out makes sense."""

    window: int = setting(200, "frames that say what is usual", low=20, high=10000)
    recent: int = setting(10, "frames that say what is now", low=1, high=100)
    drift_z: float = setting(4.0, "robust z from which counts and scores have drifted", low=1.0, high=100.0)
    frozen_frames: int = setting(3, "repetitions after which a sensor is frozen", low=1, high=1000)
    frozen: str = setting(
        "auto",
        "whether content that repeats is a fault; auto = not for sensors without noise at rest (simulators)",
        choices=("auto", "always", "never"),
    )
    blank_level: float = setting(12.0, "an image this near to black or white, and even, is blank", low=0.0, high=127.0)
    blank_spread: float = setting(3.0, "standard deviation below which an image is even", low=0.0, high=127.0)
    emptied_share: float = setting(0.1, "of the usual points below which a sweep is emptied", low=0.0, high=1.0)
    lost_share: float = setting(0.4, "of the confirmed tracks lost within a frame", low=0.01, high=1.0)
    coherence_m: float = setting(1.0, "median miss of a track's own prediction one frame ahead", low=0.01, high=100.0)
    agreement_share: float = setting(0.3, "of expected objects that a camera must see", low=0.0, high=1.0)
    reprojection_mrad: float = setting(15.0, "by which boxes may have moved against images", low=0.1, high=1000.0)
    clock_skew_ms: float = setting(40.0, "by which a sensor's clock may have moved", low=0.1, high=10000.0)
    complete_share: float = setting(0.95, "of complete outputs, below which the node is degraded", low=0.0, high=1.0)
    weights: WeightsConfig = setting(WeightsConfig(), "of the checks in the score")


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
    shadow_period_s: float = setting(
        10.0, "between two known frames through an engine; 0 = never", low=0.0, high=3600.0
    )
    spare_process: bool = setting(
        True, "whoever starts dead nodes again keeps one process loaded for the next (about 100 MB)"
    )
    semantic: SemanticConfig = setting(SemanticConfig(), "checks of inputs and outputs")


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """Experiments with models (docs/experiments.md)."""

    plan: str = setting("", "file of the plan; empty = no experiment", live=True)
    group: str = setting("", "group that shall answer; empty = as the plan says", live=True)
    canary_share: float = setting(
        -1.0, "share of frames of the canary; negative = the plan's", low=-1.0, high=1.0, live=True
    )
    vehicle: str = setting("", "vehicle id, for plans that deal groups by vehicle")
    watch_s: float = setting(2.0, "how often the plan's file is looked at; 0 = never", low=0.0, high=3600.0)
    log: str = setting("", "folder for the records that percept experiment report reads; empty = none")
    shadow_ms: float = setting(1000.0, "a candidate that looks on is cut off after this", low=1.0, high=60000.0)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The optional HTTP gateway."""

    host: str = setting("127.0.0.1", "address to listen on; anything but a loopback address opens it to the network")
    port: int = setting(8080, "port; 0 = any free one", low=0, high=65535)
    token_file: str = setting("", "file whose first line callers must send as bearer token; empty = no token")
    certificate: str = setting("", "TLS certificate chain (PEM); empty = no TLS")
    key: str = setting("", "TLS private key (PEM)")
    allowed_hosts: tuple[str, ...] = setting((), "further names in the Host header that are answered; * = any")
    workers: int = setting(
        1, "pipelines beside one another, each with its own models; 0 = no inference", low=0, high=64
    )
    queue: int = setting(8, "requests that may wait for a worker; more are refused with 429", low=1, high=10_000)
    deadline_ms: float = setting(500.0, "deadline of a request that names none", low=1.0, high=60000.0)
    longest_deadline_ms: float = setting(10000.0, "longest deadline that a request may name", low=1.0, high=600000.0)
    max_body_mb: float = setting(48.0, "a larger request body is refused", low=0.01, high=4096.0)
    body_timeout_s: float = setting(10.0, "a body that takes longer to arrive is given up", low=0.1, high=600.0)
    max_images: int = setting(8, "images a request", low=0, high=30)
    max_image_px: int = setting(16_000_000, "pixels of an image, before it is unpacked", low=1, high=1_000_000_000)
    max_points: int = setting(500_000, "points of a sweep", low=1, high=50_000_000)
    sessions: int = setting(
        64, "vehicles whose tracks are kept; the one longest unused is forgotten", low=1, high=10_000
    )
    viewers: int = setting(32, "open streams of tracks", low=0, high=10_000)
    tensor_models: tuple[str, ...] = setting(
        (), "models that may be run on raw tensors; empty = those of detector.chain"
    )


@dataclass(frozen=True, slots=True)
class ObserveConfig:
    """Telemetry. Nothing leaves the process unless an exporter is set."""

    enabled: bool = setting(True, "keep metrics and traces")
    sla_tier: str = setting("P99-100ms", "service level: percentile and latency limit; frames beyond it are violations")
    instance: str = setting("", "name of this vehicle or machine in telemetry; empty = host name")
    sample_share: float = setting(0.01, "of frames whose trace is exported; violations always are", low=0.0, high=1.0)
    prometheus_port: int = setting(
        0, "fusion serves /metrics here, lidar on the next port, cameras on those after it; 0 = off", low=0, high=65000
    )
    prometheus_host: str = setting("127.0.0.1", "address of /metrics")
    otlp_endpoint: str = setting("", "host:port of an OTLP gRPC receiver (collector, Jaeger); empty = off")
    otlp_tls: bool = setting(False, "TLS towards the receiver")
    files: str = setting("", "folder for traces, metrics and logs as JSON lines; empty = off")
    log_lines: bool = setting(False, "structured logs (JSON lines) on standard error too, not only in files")
    files_mb: float = setting(64.0, "a file is turned over at this size", low=0.01, high=10000.0)
    push_s: float = setting(10.0, "between pushes of metrics to receiver and files", low=0.1, high=3600.0)
    queue: int = setting(256, "frames that may wait for an exporter; more are dropped and counted", low=1, high=100000)
    recent_frames: int = setting(600, "frames whose traces are kept in memory for later questions", low=1, high=100000)
    profile_folder: str = setting("", "folder for profiles; empty = no profiles")
    profile_every_s: float = setting(0.0, "a short profile this often (300 is usual); 0 = on demand only", low=0.0)
    profile_window_s: float = setting(2.0, "length of a periodic profile", low=0.1, high=60.0)
    profile_keep: int = setting(48, "profiles kept; the oldest is removed", low=1, high=10000)
    baseline_file: str = setting("", "SQLite file of the drifting baselines; empty = none")
    baseline_interval_s: float = setting(900.0, "over which a figure is averaged", low=1.0, high=3600.0)
    baseline_trend_days: float = setting(6.0, "length of the trend window of the decomposition", low=0.5, high=30.0)
    baseline_sigma: float = setting(2.0, "deviation that counts", low=0.5, high=10.0)
    baseline_n: int = setting(2, "deviating intervals, of baseline_m, that raise an event", low=1, high=100)
    baseline_m: int = setting(3, "intervals looked back on", low=1, high=100)
    baseline_acts: bool = setting(True, "use the next model while detection is unusually slow and the budget burns")
    availability: float = setting(
        0.99992, "of frames within the service level: its error budget is the rest", low=0.5, high=0.9999999
    )


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """Scheduling of the node processes while active."""

    priority: int = setting(
        0, "SCHED_FIFO of cameras and supervisor; others have one more; 0 = ordinary", low=0, high=90
    )
    processors: tuple[int, ...] = setting((), "processors that the nodes may use; empty = all")
    lock_memory: bool = setting(False, "keep all memory of the node processes resident")
    collect_in_slack: bool = setting(True, "collect garbage only between frames, never within one")


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
    realtime: RealtimeConfig = setting(RealtimeConfig(), "scheduling")
    budget: BudgetConfig = setting(BudgetConfig(), "time budgets")
    health: HealthConfig = setting(HealthConfig(), "ladder, circuit breakers, semantic health")
    experiment: ExperimentConfig = setting(ExperimentConfig(), "experiments with models")
    gateway: GatewayConfig = setting(GatewayConfig(), "HTTP gateway")
    observe: ObserveConfig = setting(ObserveConfig(), "telemetry")

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
