"""Detector without learned weights: clusters of the sweep, boxes and classes by shape. The last rung that still detects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.core.shapes import alone, obstacles
from percept_ros.errors import InferenceError
from percept_ros.inference.cluster import ClusterConfig, ClusterEngine
from percept_ros.settings import setting
from percept_ros.types import LIDAR_BIT, Detections, ObjectClass, SensorSet

_WHOLE_PER_M = 0.15
"""How much a metre of length adds to the rank of a box among those it overlaps: a lorry outranks cars seen in its side."""


@dataclass(frozen=True, slots=True)
class GeometricConfig:
    """Settings of the geometric detector."""

    cluster: ClusterConfig = setting(ClusterConfig(), "ground removal and clustering")
    min_score: float = setting(0.05, "weaker detections are dropped", low=0.0, high=1.0)
    keep_unknown: bool = setting(True, "keep clusters that fit no class: a camera may name them")


class GeometricDetector:
    """Detector over the clustering kernel. Without a sweep it detects nothing."""

    def __init__(self, config: GeometricConfig | None = None, *, frame_id: str = "base_link") -> None:
        self._config = config or GeometricConfig()
        self._frame_id = frame_id
        self._engine = ClusterEngine(self._config.cluster)

    @property
    def model(self) -> str:
        return "geometric"

    @property
    def artefact_sha256(self) -> str:
        return ""

    @property
    def takes_cameras(self) -> bool:
        """It reads the LiDAR only."""
        return False

    def load(self) -> None:
        """Bind the kernel and run it once. Raises SetupError when it is not built."""
        self._engine.load()
        self._engine.warm_up()

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. Raises InferenceError when the LiDAR's extrinsic is missing."""
        cloud = sensors.cloud
        if cloud is None:
            return Detections.empty(sensors.stamp_ns, self._frame_id)
        if cloud.sensor not in sensors.base_SE3:
            raise InferenceError(f"sweep of '{cloud.sensor}' has no extrinsic: give base_SE3_lidar by TF or config")
        pose = np.asarray(sensors.base_SE3[cloud.sensor], np.float64)
        found = self._engine.infer({"points": cloud.points, "base_SE3_lidar": pose}, deadline_ns=deadline_ns)
        boxes, scores, probabilities = obstacles(found["clusters"], pose[:2, 3])
        unknown = probabilities.argmax(axis=1) == ObjectClass.UNKNOWN
        keep = alone(boxes, np.where(unknown, 0.0, scores * (1.0 + _WHOLE_PER_M * boxes[:, 3])))
        wanted = np.where(unknown, self._config.keep_unknown, scores >= self._config.min_score)
        keep = keep[wanted[keep]]
        count = len(keep)
        return Detections(
            sensors.stamp_ns,
            self._frame_id,
            boxes[keep],
            scores[keep],
            probabilities[keep],
            np.full((count, 2), np.nan),
            np.full(count, LIDAR_BIT, np.uint32),
        )

    def close(self) -> None:
        """Let the kernel go."""
        self._engine.close()
