"""PointCloud2 messages in, sweeps out: decoded, cropped, motion compensated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from percept_ros.config import Config
from percept_ros.core.points import CloudCrop, CloudDecoder, deskew
from percept_ros.errors import TransformError
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.convert import stamp_ns
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.names import LIDAR
from percept_ros.types import F64, I64, PointCloud


class LidarInput:
    """Decodes the sweeps of the LiDAR. One thread at a time.

    pose_at: stamps in ns -> fixed_SE3_base for motion compensation, or None to leave sweeps as they are.
    """

    def __init__(
        self,
        config: Config,
        extrinsics: Extrinsics,
        complaints: Complaints,
        pose_at: Callable[[I64], F64] | None = None,
    ) -> None:
        self._config, self._extrinsics, self._complaints, self._pose_at = config.lidar, extrinsics, complaints, pose_at
        self._decoder: CloudDecoder | None = None
        self._mounted: F64 | None = None

    def decode(self, message: Any) -> tuple[PointCloud, F64]:
        """The sweep and its base_SE3_lidar. Raises CloudError or TransformError."""
        at_ns, frame_id = stamp_ns(message.header.stamp), message.header.frame_id
        base_SE3_lidar = self._extrinsics.of(LIDAR, frame_id, at_ns)
        cloud = self._decoder_for(base_SE3_lidar).decode(message, LIDAR, at_ns, frame_id)
        return self._deskewed(cloud, base_SE3_lidar), base_SE3_lidar

    def _decoder_for(self, base_SE3_lidar: F64) -> CloudDecoder:
        if self._decoder is None or self._mounted is None or (self._mounted != base_SE3_lidar).any():
            crop = CloudCrop(
                self._config.min_range_m, self._config.max_range_m, tuple(self._config.ego_box_m), base_SE3_lidar
            )
            if self._decoder is None:
                self._decoder = CloudDecoder(crop, self._config.max_points)
            self._decoder.crop, self._mounted = crop, base_SE3_lidar  # keeps what it learned of intensity and times
        return self._decoder

    def _deskewed(self, cloud: PointCloud, base_SE3_lidar: F64) -> PointCloud:
        if not self._config.deskew or self._pose_at is None or cloud.time_offset_s is None:
            return cloud
        try:
            return deskew(cloud, self._pose_at, base_SE3_lidar)
        except TransformError as exc:
            self._complaints.drop(LIDAR, "not_deskewed", f"sweep used without motion compensation: {exc}")
            return cloud
