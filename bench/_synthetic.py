"""A detector that sees cars on parallel lanes, as many as asked, and sensor sets to feed it: no model, no noise."""

from __future__ import annotations

import numpy as np

from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraFrame, Detections, ObjectClass, PointCloud, SensorSet

PERIOD_NS = 100_000_000


class LaneDetector:
    """Satisfies Detector. objects: cars on a grid 8 m by 4 m, all at 5 m/s along x."""

    model, artefact_sha256 = "lanes", ""

    def __init__(self, objects: int = 20) -> None:
        index = np.arange(objects)
        side = int(np.ceil(np.sqrt(objects)))
        self._boxes = np.zeros((objects, 7))
        self._boxes[:, 0], self._boxes[:, 1] = 8.0 * (index // side), 4.0 * (index % side)
        self._boxes[:, 2:6] = (0.8, 4.2, 1.8, 1.6)
        self._classes = np.zeros((objects, NUM_CLASSES))
        self._classes[:, ObjectClass.CAR] = 1.0

    def load(self) -> None:
        pass

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        boxes = self._boxes.copy()
        boxes[:, 0] += 5.0 * ((sensors.stamp_ns // PERIOD_NS) % 1000) * 0.1
        count = len(boxes)
        velocity, mask = np.tile([5.0, 0.0], (count, 1)), np.full(count, LIDAR_BIT, np.uint32)
        return Detections(sensors.stamp_ns, "base_link", boxes, np.full(count, 0.9), self._classes, velocity, mask)

    def close(self) -> None:
        pass


def make_lanes(objects: int = 20) -> LaneDetector:
    """For worker processes."""
    return LaneDetector(objects)


def sweep(points: int, stamp_ns: int, seed: int = 0) -> PointCloud:
    """A flat road with a box every few metres: ``points`` finite points within 60 m."""
    rng = np.random.default_rng(seed)
    table = np.empty((points, 3), np.float32)
    table[:, :2] = rng.uniform(-60, 60, (points, 2))
    table[:, 2] = -1.7 + rng.normal(0, 0.02, points)
    standing = rng.random(points) < 0.15
    cars = rng.integers(0, 40, standing.sum())
    centre = np.column_stack([(cars % 8) * 14.0 - 50.0, (cars // 8) * 20.0 - 40.0])
    table[standing, :2] = centre + rng.uniform((-2.0, -0.9), (2.0, 0.9), (int(standing.sum()), 2))
    table[standing, 2] = rng.uniform(-1.5, -0.2, int(standing.sum()))
    return PointCloud("lidar", stamp_ns, "lidar", table, np.full(points, 0.3, np.float32))


def sensor_set(cloud: PointCloud | None, cameras: tuple[CameraFrame, ...] = (), stamp_ns: int = 0) -> SensorSet:
    """One complete set with identity extrinsics."""
    frames = {frame.sensor: frame for frame in cameras}
    base = {name: np.eye(4) for name in ("lidar", *frames)}
    return SensorSet(stamp_ns, cloud, frames, {}, tuple(frames), base, np.eye(4))
