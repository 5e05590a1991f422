"""A simulated drive as a bag: images, calibration, sweeps, ego motion, transforms and ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from percept_ros.replay.bag import BagWriter
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.track_array import TrackArray
from percept_ros.simulate.drive import FIXED, LIDAR, Motion, SimulateConfig, SimulatedFrame, simulate_drive
from percept_ros.types import CameraFrame

BASE = "base_link"
LIDAR_TOPIC, ODOM_TOPIC, TRUTH_TOPIC = "/lidar/points", "/odom", "/ground_truth/tracks"
LEAD_NS = 50_000_000
"""Fixed transforms stand this long before the first sweep, ahead of the first image."""

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written. objects: distinct objects that some sensor saw."""

    frames: int
    objects: int
    topics: dict[str, int]


def record_drive(
    path: Path | str, config: SimulateConfig, seed: int, progress: Progress, *, raw: bool = False, quality: int = 90
) -> Recorded:
    """Simulate a drive into a bag. raw: Image instead of JPEG CompressedImage. Same arguments, same bytes."""
    seen: set[bytes] = set()
    total = max(1, round(config.seconds * 10))
    with BagWriter(path) as bag:
        for done, frame in enumerate(simulate_drive(config, seed), 1):
            if done == 1:
                _fixed_transforms(bag, frame)
            for _, write in sorted(_events(bag, frame, raw, quality), key=lambda event: event[0]):
                write()
            seen |= {row.tobytes() for row in frame.truth.id[frame.truth.sensors > 0]}
            progress(done, total)
    return Recorded(total, len(seen), dict(bag.counts))


def _fixed_transforms(bag: BagWriter, frame: SimulatedFrame) -> None:
    sensors = frame.sensors
    at = sensors.stamp_ns - LEAD_NS
    poses = [StampedTransform(at, BASE, LIDAR, sensors.base_SE3[LIDAR])]
    poses += [
        StampedTransform(at, BASE, image.frame_id, sensors.base_SE3[name]) for name, image in sensors.cameras.items()
    ]
    bag.tf_static(poses)


def _events(bag: BagWriter, frame: SimulatedFrame, raw: bool, quality: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """Stamp and writer of everything in a frame."""
    sensors = frame.sensors
    for motion in frame.motion:
        yield motion.stamp_ns, lambda m=motion: _motion(bag, m)  # type: ignore[misc]
    for image in sensors.cameras.values():
        yield image.stamp_ns, lambda i=image: _image(bag, i, raw, quality)  # type: ignore[misc]
    cloud = sensors.cloud
    if cloud is not None:
        yield sensors.stamp_ns, lambda: bag.cloud(LIDAR_TOPIC, cloud)
    yield sensors.stamp_ns, lambda: bag.tracks(TRUTH_TOPIC, TrackArray.of_truth(frame.truth))


def _motion(bag: BagWriter, motion: Motion) -> None:
    pose = StampedTransform(motion.stamp_ns, FIXED, BASE, motion.fixed_SE3_base)
    bag.odometry(ODOM_TOPIC, pose, (motion.speed_mps, 0.0, 0.0), motion.yaw_rate_radps)
    bag.tf([pose])


def _image(bag: BagWriter, image: CameraFrame, raw: bool, quality: int) -> None:
    topic = f"/{image.sensor}"
    if image.calibration is not None:
        bag.camera_info(f"{topic}/camera_info", image.stamp_ns, image.frame_id, image.calibration)
    if raw:
        bag.image(f"{topic}/image", image)
    else:
        bag.jpeg(f"{topic}/image/compressed", image, quality)
