"""Where the vehicle was at a stamp: Odometry, TF, LiDAR odometry, or nothing known."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile

from percept_ros.config import Config
from percept_ros.core.trajectory import PoseHistory
from percept_ros.errors import PerceptError, StampError, TransformError
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.convert import se3, stamp_ns
from percept_ros.nodes.filters import subscribe, unsubscribe
from percept_ros.nodes.transforms import Transforms
from percept_ros.replay.lidar_odometry import LidarOdometry
from percept_ros.types import F64, I64, PointCloud

_JUMP_NS = 1_000_000_000


class EgoMotion:
    """Pose of the base in the fixed frame. ``source`` names what is really used."""

    def __init__(self, node: Node, config: Config, transforms: Transforms | None, complaints: Complaints) -> None:
        self._node, self._config, self._transforms, self._complaints = node, config, transforms, complaints
        reach_ns = int(config.ego_motion.max_age_ms * 1e6)
        self._history = PoseHistory(max_extrapolation_ns=reach_ns)
        self.source = "none"
        self._odometry = LidarOdometry() if config.ego_motion.source == "kiss_icp" else None

    def start(self, running: ExitStack) -> None:
        """Subscribe to what the configuration names."""
        wanted = self._config.ego_motion.source
        if wanted in ("auto", "odometry"):
            made = subscribe(
                self._node, Odometry, self._config.ego_motion.topic, QoSProfile(depth=50), self._on_odometry
            )
            running.callback(unsubscribe, self._node, made)

    def see(self, cloud: PointCloud | None, base_SE3_lidar: F64 | None) -> None:
        """Show every sweep that is used; LiDAR odometry, where configured, moves on by it."""
        if self._odometry is None or cloud is None or base_SE3_lidar is None:
            return
        try:
            self._history.add(cloud.stamp_ns, self._odometry.register(cloud, base_SE3_lidar))
        except StampError as exc:
            self._complaints.drop("kiss_icp", exc.reason, str(exc))

    def pose_at(self, stamp: int) -> F64 | None:
        """(4, 4) fixed_SE3_base, or None when it is not known (``source`` is then "none")."""
        wanted = self._config.ego_motion.source
        if len(self._history):
            try:
                pose = self._history.at(stamp)
            except TransformError as exc:
                self._complaints.drop(self._config.ego_motion.topic, "ego_motion", str(exc))
            else:
                self.source = "odometry" if self._odometry is None else "kiss_icp"
                return pose
        if wanted in ("auto", "tf") and self._transforms is not None:
            return self._from_tf(stamp, loud=wanted == "tf")
        self.source = "none"
        return None

    def poses_at(self, stamps_ns: I64) -> F64:
        """(K, 4, 4) fixed_SE3_base at each of (K,) stamps, for motion compensation. Raises TransformError."""
        if len(self._history):
            return self._history.at(stamps_ns)
        if self._transforms is None or self._config.ego_motion.source not in ("auto", "tf"):
            raise TransformError("no ego motion known")
        fixed, base = self._config.frames.fixed, self._config.frames.base
        return np.stack([self._transforms.lookup(fixed, base, int(stamp)) for stamp in stamps_ns])

    def clear(self) -> None:
        """Forget all poses (time jumped)."""
        self._history.clear()
        if self._odometry is not None:
            self._odometry.reset()

    def _from_tf(self, stamp: int, *, loud: bool) -> F64 | None:
        assert self._transforms is not None
        try:
            pose = self._transforms.lookup(self._config.frames.fixed, self._config.frames.base, stamp)
        except PerceptError as exc:
            self.source = "none"
            if loud:
                self._complaints.drop("/tf", "ego_motion", str(exc))
            return None
        self.source = "tf"
        return pose

    def _on_odometry(self, message: Any) -> None:
        at_ns = stamp_ns(message.header.stamp)
        newest = self._history.newest_ns
        if newest is not None and newest - at_ns > _JUMP_NS:
            self._history.clear()
        try:
            self._history.add(at_ns, se3(message.pose.pose))
        except StampError as exc:
            self._complaints.drop(self._config.ego_motion.topic, exc.reason, str(exc))
        except PerceptError as exc:
            self._complaints.drop(self._config.ego_motion.topic, "bad_pose", str(exc))
