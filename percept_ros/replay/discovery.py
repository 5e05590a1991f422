"""Which topics of a bag are the sensors: by configuration where it names them, else by message type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from percept_ros.config import CameraConfig, Config
from percept_ros.errors import RecordingError
from percept_ros.replay.typestore import TRACKS_TYPE

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, CLOUD = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/PointCloud2"
ODOMETRY, TF = "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
IMAGE_NAMES = ("compressed", "image", "image_raw", "image_color", "image_rect", "image_rect_color", "image_mono")
"""Last parts of an image topic that do not name the camera."""
TRUTH_PREFIX = "/ground_truth"
LIDAR = "lidar"


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """One camera. info: its CameraInfo topic, empty when the bag has none."""

    name: str
    image: str
    info: str


@dataclass(frozen=True, slots=True)
class BagTopics:
    """What is read from a bag.

    lidar, odometry, truth: topic, or empty. cameras: by name, which is the order of mask bits. transforms: tf topics.
    lacking: configured topics that the bag does not have, and sensors without calibration, one line each.
    """

    lidar: str
    cameras: tuple[CameraTopics, ...]
    odometry: str
    truth: str
    transforms: tuple[str, ...]
    lacking: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic that is read for perception (not the truth)."""
        cameras = [topic for camera in self.cameras for topic in (camera.image, camera.info)]
        return tuple(topic for topic in (self.lidar, *cameras, self.odometry, *self.transforms) if topic)

    def configured(self, config: Config) -> Config:
        """``config`` with the topics and cameras that are really used."""
        cameras = {
            camera.name: dataclasses.replace(
                config.cameras.get(camera.name, CameraConfig()), topic=camera.image, info_topic=camera.info
            )
            for camera in self.cameras
        }
        lidar = dataclasses.replace(config.lidar, topic=self.lidar or config.lidar.topic)
        return dataclasses.replace(config, cameras=cameras, lidar=lidar)


def camera_name(topic: str) -> str:
    """Name of the camera that publishes ``topic``: its path without the part that says "image"."""
    parts = [part for part in topic.split("/") if part]
    while len(parts) > 1 and parts[-1] in IMAGE_NAMES:
        parts.pop()
    return "_".join(parts)


def info_topic(image_topic: str, topics: Mapping[str, str]) -> str:
    """The CameraInfo topic that belongs to an image topic: the nearest sibling ``camera_info``; empty when there is none."""
    parts = image_topic.split("/")
    for depth in range(len(parts) - 1, 0, -1):
        candidate = "/".join([*parts[:depth], "camera_info"])
        if topics.get(candidate) == CAMERA_INFO:
            return candidate
    return ""


def discover(topics: Mapping[str, str], config: Config) -> BagTopics:
    """Find the sensors in a bag's topics. Raises RecordingError when it has neither a LiDAR nor a camera."""
    lacking: list[str] = []
    lidar = _single(topics, CLOUD, config.lidar.topic, lacking)
    cameras = _configured_cameras(topics, config, lacking) if config.cameras else _found_cameras(topics)
    if not lidar and not cameras:
        seen = ", ".join(f"{topic} ({kind})" for topic, kind in topics.items()) or "nothing"
        raise RecordingError(f"the bag has no PointCloud2 and no image topic, nothing to perceive; it has {seen}")
    if not lidar:
        lacking.append("no PointCloud2 topic: cameras only")
    lacking += [f"camera '{c.name}' ({c.image}) has no camera_info topic beside it" for c in cameras if not c.info]
    odometry = _single(topics, ODOMETRY, config.ego_motion.topic, lacking)
    transforms = tuple(topic for topic, kind in topics.items() if kind == TF)
    truth = next((t for t, kind in topics.items() if kind == TRACKS_TYPE and t.startswith(TRUTH_PREFIX)), "")
    return BagTopics(lidar, cameras, odometry, truth, transforms, tuple(lacking))


def _single(topics: Mapping[str, str], kind: str, preferred: str, lacking: list[str]) -> str:
    """The preferred topic where it is of ``kind``, else the first of that type."""
    found = [topic for topic, its in topics.items() if its == kind]
    if preferred in found:
        return preferred
    if len(found) > 1:
        lacking.append(f"no '{preferred}'; of {', '.join(found)} the first is used: choose with --remap or the config")
    return found[0] if found else ""


def _found_cameras(topics: Mapping[str, str]) -> tuple[CameraTopics, ...]:
    """Every camera once; a raw topic is preferred to a compressed one of the same camera."""
    chosen: dict[str, str] = {}
    for kind in (IMAGE, COMPRESSED):
        for topic, its in topics.items():
            if its == kind:
                chosen.setdefault(camera_name(topic), topic)
    return tuple(CameraTopics(name, topic, info_topic(topic, topics)) for name, topic in sorted(chosen.items()))


def _configured_cameras(topics: Mapping[str, str], config: Config, lacking: list[str]) -> tuple[CameraTopics, ...]:
    cameras = []
    for name, camera in sorted(config.cameras.items()):
        if topics.get(camera.topic) not in (IMAGE, COMPRESSED):
            lacking.append(f"camera '{name}': no image topic '{camera.topic}'")
            continue
        info = camera.info_topic if topics.get(camera.info_topic) == CAMERA_INFO else info_topic(camera.topic, topics)
        cameras.append(CameraTopics(name, camera.topic, info))
    return tuple(cameras)
