"""Between ROS messages and the value types; values are converted to plain Python numbers at this edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from percept_ros.core.geometry import from_quaternion
from percept_ros.errors import CalibrationError
from percept_ros.types import F64, CameraCalibration

_NS = 1_000_000_000
_MODELS = ("plumb_bob", "rational_polynomial", "equidistant")


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a message stamp."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def time_message(time_ns: int) -> Time:
    """Message stamp of nanoseconds."""
    return Time(sec=int(time_ns // _NS), nanosec=int(time_ns % _NS))


def calibration(message: CameraInfo) -> CameraCalibration:
    """Calibration of a CameraInfo. Raises CalibrationError for an uncalibrated or unknown camera."""
    K = np.array(message.k, np.float64).reshape(3, 3)
    if K[0, 0] <= 0 or K[1, 1] <= 0 or not message.width or not message.height:
        raise CalibrationError(
            f"CameraInfo of frame '{message.header.frame_id}' is not calibrated (fx {K[0, 0]}, {message.width}x"
            f"{message.height}): publish a calibrated CameraInfo",
            "uncalibrated",
        )
    model = message.distortion_model or "plumb_bob"
    if model not in _MODELS:
        raise CalibrationError(
            f"distortion model '{model}' of frame '{message.header.frame_id}' is not known: use one of {', '.join(_MODELS)}",
            "distortion_model",
        )
    P = np.array(message.p, np.float64).reshape(3, 4)
    R = np.array(message.r, np.float64).reshape(3, 3)
    return CameraCalibration(
        int(message.width),
        int(message.height),
        K,
        np.array(message.d, np.float64),
        model,
        R if np.any(R) else np.eye(3),
        P if P[0, 0] > 0 else None,
    )


def camera_info(found: CameraCalibration, frame_id: str, stamp: Time) -> CameraInfo:
    """CameraInfo of a rectified image: no distortion, the calibration's projection."""
    message = CameraInfo(width=int(found.width_px), height=int(found.height_px), distortion_model="plumb_bob")
    message.header.frame_id, message.header.stamp = frame_id, stamp
    message.k = [float(v) for v in found.projection[:, :3].ravel()]
    message.r = [float(v) for v in np.eye(3).ravel()]
    message.p = [float(v) for v in found.projection.ravel()]
    return message


def se3(transform: Any) -> F64:
    """(4, 4) of a geometry_msgs Transform or Pose."""
    t = transform.translation if hasattr(transform, "translation") else transform.position
    q = transform.rotation if hasattr(transform, "rotation") else transform.orientation
    return from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
