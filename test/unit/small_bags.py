"""Small recordings with known content: two cars ahead of a moving vehicle, one camera, one LiDAR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from percept_ros.core.geometry import from_yaw, inverse, transform_boxes
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.track_array import TrackArray
from percept_ros.replay.truth import LabelledFrame, truth_arrays
from percept_ros.types import (
    F64,
    CameraCalibration,
    CameraFrame,
    Detections,
    Forecasts,
    FrameResult,
    Mode,
    ObjectClass,
    PointCloud,
    SensorSet,
    Tracks,
)

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
BASE_SE3_LIDAR = from_yaw(0.0, (1.0, 0.0, 1.8))
BASE_SE3_CAMERA = np.array([[0.0, 0.0, 1.0, 1.5], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.6], [0.0, 0.0, 0.0, 1.0]])
K = np.array([[200.0, 0.0, 120.0], [0.0, 200.0, 80.0], [0.0, 0.0, 1.0]])
SIZE_PX = (240, 160)


def stamp(i: int) -> int:
    """Stamp of frame ``i``."""
    return START_NS + i * PERIOD_NS


def ego_pose(i: int) -> F64:
    """odom_SE3_base: 10 m/s straight ahead."""
    return from_yaw(0.0, (1.0 * i, 0.0, 0.0))


def cars(i: int) -> F64:
    """(2, 7) boxes in odom: one drives ahead at 8 m/s, one stands."""
    return np.array([[15.0 + 0.8 * i, 0.5, 0.8, 4.2, 1.8, 1.6, 0.0], [40.0, -4.0, 0.8, 4.0, 1.8, 1.6, 0.3]])


def cloud(i: int) -> PointCloud:
    """Points inside the two cars and on the road, from a seed."""
    rng = np.random.default_rng(i)
    boxes = transform_boxes(inverse(ego_pose(i) @ BASE_SE3_LIDAR), cars(i))
    parts = [rng.uniform(-0.5, 0.5, (300, 3)) * box[3:6] + box[:3] for box in boxes]
    road = np.column_stack([rng.uniform(4.0, 40.0, 500), rng.uniform(-10.0, 10.0, 500), np.full(500, -1.8)])
    points = np.concatenate([*parts, road]).astype(np.float32)
    return PointCloud("lidar", stamp(i), "lidar", points, rng.random(len(points)).astype(np.float32))


def image(i: int) -> CameraFrame:
    """Seeded noise."""
    pixels = np.random.default_rng(i).integers(0, 255, (SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
    return CameraFrame("camera_front", stamp(i), "front_optical", pixels)


def truth(frames: int) -> list[TrackArray]:
    """Ground truth of all frames in odom."""
    kinds = (ObjectClass.CAR, ObjectClass.CAR)
    labelled = [
        LabelledFrame(stamp(i), ("a", "b"), transform_boxes(inverse(ego_pose(i)), cars(i)), kinds, ego_pose(i))
        for i in range(frames)
    ]
    return truth_arrays(labelled, "base_link", "odom")


def write_drive(
    path: Path, frames: int = 12, *, skip_images: tuple[int, ...] = (), transforms: bool = True, compress: bool = False
) -> Path:
    """A bag of the drive; ``skip_images``: frames without a picture."""
    arrays = truth(frames)
    with BagWriter(path, compress=compress) as bag:
        if transforms:
            bag.tf_static(
                [
                    StampedTransform(START_NS, "base_link", "lidar", BASE_SE3_LIDAR),
                    StampedTransform(START_NS, "base_link", "front_optical", BASE_SE3_CAMERA),
                ]
            )
        for i in range(frames):
            bag.odometry("/odom", StampedTransform(stamp(i), "odom", "base_link", ego_pose(i)), (10.0, 0.0, 0.0))
            if i not in skip_images:
                calibration = CameraCalibration(*SIZE_PX, K, np.zeros(0))
                bag.camera_info("/camera_front/camera_info", stamp(i), "front_optical", calibration)
                bag.image("/camera_front/image", image(i))
            bag.cloud("/lidar/points", cloud(i))
            bag.tracks("/ground_truth/tracks", arrays[i])
    return path


class TruthPipeline:
    """Answers each sensor set with the true tracks of its stamp: a pipeline whose score is known."""

    def __init__(self, frames: int, missing: Mapping[int, int] | None = None) -> None:
        """missing: frame -> row of the truth that is left out there."""
        self._truth = {array.tracks.stamp_ns: array.tracks for array in truth(frames)}
        self._missing = {stamp(i): row for i, row in (missing or {}).items()}
        self.sets: list[SensorSet] = []
        self.now_ns: list[int] = []
        self.resets = 0

    def process(self, sensors: SensorSet, now_ns: int) -> FrameResult:
        """The true tracks."""
        self.sets.append(sensors)
        self.now_ns.append(now_ns)
        tracks = self._truth.get(sensors.stamp_ns, Tracks.empty(sensors.stamp_ns, "odom"))
        if sensors.stamp_ns in self._missing:
            tracks = without(tracks, self._missing[sensors.stamp_ns])
        empty = Detections.empty(sensors.stamp_ns, "base_link")
        return FrameResult(sensors, empty, {}, tracks, Forecasts.empty(0.1), Mode.FULL, {"track": 1000}, "truth")

    def reset(self) -> None:
        """Count."""
        self.resets += 1

    def close(self) -> None:
        """Nothing is held."""


def without(tracks: Tracks, row: int) -> Tracks:
    """``tracks`` without one row."""
    keep = [i for i in range(len(tracks)) if i != row]
    columns = (
        *("id", "state", "class_probabilities", "existence", "boxes", "velocity_mps", "acceleration_mps2"),
        *("yaw_rate_radps", "pose_covariance", "twist_covariance", "age_ns", "since_measurement_ns", "sensors"),
        "stationary",
    )
    return Tracks(tracks.stamp_ns, tracks.frame_id, **{name: getattr(tracks, name)[keep] for name in columns})
