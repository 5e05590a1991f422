"""The known frame: a small made-up scene, always the same, whose answer every engine must repeat.

Two cars and a pedestrian on a flat road, scanned by 48 beams, and one picture of two cars. Nothing of it is recorded data.
"""

from __future__ import annotations

import functools

import numpy as np

from percept_ros.types import F32, F64, U8, CameraCalibration, CameraFrame, PointCloud, SensorSet

NAME = "known-frame"
_SENSOR_HEIGHT_M = 1.8
_BEAMS, _COLUMNS = 48, 900
_LONGEST_M = 60.0
_SIZE_PX = (640, 384)
#  x, y, z, length, width, height, yaw of the solids: body and cabin of each car, and the pedestrian
_SOLIDS = (
    (12.0, 3.2, 0.62, 4.4, 1.8, 0.7, 0.0),
    (11.7, 3.2, 1.22, 2.2, 1.6, 0.55, 0.0),
    (18.0, -4.0, 0.62, 4.4, 1.8, 0.7, 0.3),
    (17.7, -4.1, 1.22, 2.2, 1.6, 0.55, 0.3),
    (-9.0, 2.5, 0.85, 0.5, 0.55, 1.7, 0.0),
)


@functools.cache
def known_frame() -> SensorSet:
    """The set: sensors ``known-frame`` (LiDAR) and ``known-picture`` (camera)."""
    cloud = PointCloud(NAME, 1, NAME, _scan())
    width, height = _SIZE_PX
    K = np.array([[400.0, 0.0, width / 2], [0.0, 400.0, height / 2], [0.0, 0.0, 1.0]])
    calibration = CameraCalibration(width, height, K, np.zeros(0))
    picture = CameraFrame("known-picture", 1, "known-picture", _picture(), calibration)
    base_SE3_lidar = np.eye(4)
    base_SE3_lidar[2, 3] = _SENSOR_HEIGHT_M
    base_SE3_camera = np.array([[0.0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    mounted = {NAME: base_SE3_lidar, "known-picture": base_SE3_camera}
    return SensorSet(1, cloud, {"known-picture": picture}, {}, ("known-picture",), mounted)


def _scan() -> F32:
    elevation = np.radians(np.linspace(-24.0, 2.0, _BEAMS))[:, None]
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS, endpoint=False)[None]
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    rays = np.stack([x, y, np.sin(elevation) + 0.0 * azimuth], axis=-1).reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(rays[:, 2] < 0.0, -_SENSOR_HEIGHT_M / rays[:, 2], np.inf)
        for solid in _SOLIDS:
            reach = np.minimum(reach, _reach(rays, np.array(solid)))
    seen = reach < _LONGEST_M
    rough = np.random.default_rng(0).normal(0.0, 0.01, int(seen.sum()))
    points: F32 = ((reach[seen] + rough)[:, None] * rays[seen]).astype(np.float32)
    return points


def _reach(rays: F64, solid: F64) -> F64:
    """(R,) distance along each ray from the sensor to one solid, inf where it misses."""
    c, s = np.cos(solid[6]), np.sin(solid[6])
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    start, along = turn @ (np.array([0.0, 0.0, _SENSOR_HEIGHT_M]) - solid[:3]), rays @ turn.T
    near, far = (-solid[3:6] / 2 - start) / along, (solid[3:6] / 2 - start) / along
    enter, leave = np.minimum(near, far).max(axis=1), np.maximum(near, far).min(axis=1)
    reach: F64 = np.where((enter < leave) & (enter > 0.0), enter, np.inf)
    return reach


def _picture() -> U8:
    """(height, width, 3) BGR: road, sky, and two cars seen from behind, of plain shapes."""
    width, height = _SIZE_PX
    image = np.full((height, width, 3), (96, 94, 92), np.uint8)
    image[: height // 2] = np.linspace(230, 190, height // 2).astype(np.uint8)[:, None, None]
    for left, top, size, colour in ((150, 170, 110, (40, 30, 150)), (400, 180, 90, (150, 120, 60))):
        high = int(0.75 * size)
        image[top + high // 3 : top + high, left : left + size] = colour
        image[top : top + high // 3, left + size // 8 : left + size - size // 8] = (60, 50, 40)
        for wheel in (left + 4, left + size - 20):
            image[top + high : top + high + 12, wheel : wheel + 16] = 20
        for lamp in (left + 3, left + size - 15):
            image[top + high // 2 : top + high // 2 + 10, lamp : lamp + 12] = (30, 30, 230)
    return image
