"""Names that several nodes agree on."""

from __future__ import annotations

LIDAR = "lidar"
CAMERA_PREFIX = "camera_"
