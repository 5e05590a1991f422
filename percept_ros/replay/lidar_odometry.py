"""Ego motion from the sweeps themselves, by KISS-ICP (optional extra ``odometry``).

Source: Vizzo et al., "KISS-ICP: In Defense of Point-to-Point ICP", RA-L 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from percept_ros.core.geometry import inverse
from percept_ros.errors import SetupError
from percept_ros.types import F64, PointCloud

VOXEL_M = 1.0
ROUNDED_DIGITS = 9
"""Poses are rounded to a nanometre, so that the order of sums in its threads does not show."""


class LidarOdometry:
    """Registers sweeps one after the other. One thread at a time. Raises SetupError when kiss-icp is not installed."""

    def __init__(self, threads: int = 1) -> None:
        try:
            from kiss_icp.config import KISSConfig
            from kiss_icp.kiss_icp import KissICP
        except ImportError as exc:
            text = f"ego_motion.source 'kiss_icp' needs the package kiss-icp ({exc}): pip install kiss-icp, or choose another"
            raise SetupError(text) from exc
        config = KISSConfig()
        config.mapping.voxel_size = VOXEL_M
        config.data.deskew = False  # sweeps come motion compensated
        config.registration.max_num_threads = threads
        self._make: Any = lambda: KissICP(config)
        self._odometry: Any = self._make()

    def register(self, cloud: PointCloud, base_SE3_lidar: F64) -> F64:
        """(4, 4) ``odom_SE3_base`` at the sweep's stamp; odom is the base frame of the first sweep."""
        self._odometry.register_frame(np.asarray(cloud.points, np.float64), np.zeros(0))
        first_SE3_now = np.round(self._odometry.last_pose, ROUNDED_DIGITS)
        pose: F64 = base_SE3_lidar @ first_SE3_now @ inverse(base_SE3_lidar)
        return pose

    def reset(self) -> None:
        """Begin a new map (after a backward time jump)."""
        self._odometry = self._make()
