"""Ray-cast scans of boxes on a plane, for detector tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from percept_ros.types import CameraCalibration, CameraFrame, PointCloud, SensorSet

SENSOR_HEIGHT_M = 1.8
BASE_SE3_LIDAR = np.eye(4)
BASE_SE3_LIDAR[2, 3] = SENSOR_HEIGHT_M
BASE_SE3_CAMERA = np.array([[0.0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
"""A forward camera 1.5 m above the road."""


def scan(boxes: Sequence[Sequence[float]], slope: float = 0.0, beams: int = 64, columns: int = 1500) -> np.ndarray:
    """(P, 3) float32 points in the sensor frame of boxes [x, y, z, l, w, h, yaw] (base frame) on a plane z = slope x."""
    elevation = np.radians(np.linspace(-24.8, 2.0, beams))[:, None]
    azimuth = np.linspace(-np.pi, np.pi, columns, endpoint=False)[None]
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation) + 0 * azimuth],
        axis=-1,
    ).reshape(-1, 3)
    origin = np.array([0.0, 0.0, SENSOR_HEIGHT_M])
    down = rays[:, 2] - slope * rays[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(down < 0, -SENSOR_HEIGHT_M / down, np.inf)
        for box in boxes:
            distance = np.minimum(distance, _box_distance(origin, rays, np.asarray(box, float)))
    seen = np.isfinite(distance) & (distance < 100.0)
    noise = np.random.default_rng(0).normal(0.0, 0.01, seen.sum())
    return ((distance[seen] + noise)[:, None] * rays[seen]).astype(np.float32)


def _box_distance(origin: np.ndarray, rays: np.ndarray, box: np.ndarray) -> np.ndarray:
    c, s = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    start, along = turn @ (origin - box[:3]), rays @ turn.T
    near, far = (-box[3:6] / 2 - start) / along, (box[3:6] / 2 - start) / along
    enter, leave = np.minimum(near, far).max(axis=1), np.maximum(near, far).min(axis=1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def sensors(points: np.ndarray | None, image: np.ndarray | None = None) -> SensorSet:
    """A set with this sweep and, where given, one image of the forward camera."""
    cloud = None if points is None else PointCloud("lidar", 5, "lidar", points)
    cameras, poses = {}, {"lidar": BASE_SE3_LIDAR}
    if image is not None:
        size = (image.shape[1], image.shape[0])
        K = np.array([[700.0, 0, size[0] / 2], [0, 700, size[1] / 2], [0, 0, 1]])
        cameras["front"] = CameraFrame("front", 5, "front_optical", image, CameraCalibration(*size, K, np.zeros(0)))
        poses["front"] = BASE_SE3_CAMERA
    return SensorSet(5, cloud, cameras, {}, tuple(cameras), poses)
