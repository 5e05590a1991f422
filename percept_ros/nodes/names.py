"""Names that several nodes agree on."""

from __future__ import annotations

LIDAR = "lidar"
FUSION = "fusion"
STANDBY = "fusion_standby"
CAMERA_PREFIX = "camera_"
