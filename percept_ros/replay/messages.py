"""ROS messages of this package's value types, built without ROS (for bags), and their fields read back.

Builders take ``types``: message type name -> class (``typestore().types``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.core.geometry import from_quaternion, to_quaternion
from percept_ros.types import F64, CameraCalibration, CameraFrame, PointCloud

POINT_FIELD_CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
"""numpy kind and size -> sensor_msgs/PointField datatype."""


@dataclass(frozen=True, slots=True)
class StampedTransform:
    """Pose of frame ``child`` in frame ``parent`` at ``stamp_ns``."""

    stamp_ns: int
    parent: str
    child: str
    parent_SE3_child: F64


def stamp_ns(time: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


duration_ns = stamp_ns


def time_message(types: Mapping[str, Any], ns: int) -> Any:
    """builtin_interfaces/Time of integer nanoseconds."""
    return types["builtin_interfaces/msg/Time"](sec=int(ns // 1_000_000_000), nanosec=int(ns % 1_000_000_000))


def duration_message(types: Mapping[str, Any], ns: int) -> Any:
    """builtin_interfaces/Duration of integer nanoseconds."""
    return types["builtin_interfaces/msg/Duration"](sec=int(ns // 1_000_000_000), nanosec=int(ns % 1_000_000_000))


def header_message(types: Mapping[str, Any], ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return types["std_msgs/msg/Header"](stamp=time_message(types, ns), frame_id=frame_id)


def image_message(types: Mapping[str, Any], frame: CameraFrame) -> Any:
    """sensor_msgs/Image, bgr8."""
    height, width = frame.image.shape[:2]
    return types["sensor_msgs/msg/Image"](
        header=header_message(types, frame.stamp_ns, frame.frame_id),
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=width * 3,
        data=np.ascontiguousarray(frame.image).reshape(-1),
    )


def compressed_message(types: Mapping[str, Any], ns: int, frame_id: str, data: bytes, kind: str) -> Any:
    """sensor_msgs/CompressedImage of an encoded image; kind: ``jpeg``, ``png`` or ``h264`` (one access unit)."""
    return types["sensor_msgs/msg/CompressedImage"](
        header=header_message(types, ns, frame_id),
        format=kind if kind == "h264" else f"bgr8; {kind} compressed bgr8",
        data=np.frombuffer(data, np.uint8),
    )


def camera_info_message(types: Mapping[str, Any], ns: int, frame_id: str, calibration: CameraCalibration) -> Any:
    """sensor_msgs/CameraInfo."""
    return types["sensor_msgs/msg/CameraInfo"](
        header=header_message(types, ns, frame_id),
        height=calibration.height_px,
        width=calibration.width_px,
        distortion_model=calibration.model,
        d=np.asarray(calibration.D, np.float64),
        k=np.ascontiguousarray(calibration.K, np.float64).ravel(),
        r=np.ascontiguousarray(calibration.R, np.float64).ravel(),
        p=np.ascontiguousarray(calibration.projection, np.float64).ravel(),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def pack_cloud(cloud: PointCloud) -> Any:
    """(P,) structured array with fields x y z [intensity] [ring] [time], little endian, 4-byte aligned rows."""
    columns: list[tuple[str, str, Any]] = [(name, "<f4", cloud.points[:, i]) for i, name in enumerate("xyz")]
    if cloud.intensity is not None:
        columns.append(("intensity", "<f4", cloud.intensity))
    if cloud.time_offset_s is not None:
        columns.append(("time", "<f4", cloud.time_offset_s))
    if cloud.ring is not None:
        columns.append(("ring", "<u2", cloud.ring))
    offsets = np.cumsum([0, *(np.dtype(kind).itemsize for _, kind, _ in columns)])
    layout = {
        "names": [name for name, _, _ in columns],
        "formats": [kind for _, kind, _ in columns],
        "offsets": [int(o) for o in offsets[:-1]],
        "itemsize": int(-(-offsets[-1] // 4) * 4),
    }
    packed: Any = np.zeros(len(cloud.points), np.dtype(layout))  # type: ignore[call-overload]
    for name, _, values in columns:
        packed[name] = values
    return packed


def cloud_message(types: Mapping[str, Any], cloud: PointCloud) -> Any:
    """sensor_msgs/PointCloud2 (unorganised, dense: finite points only)."""
    packed = pack_cloud(cloud)
    return structured_cloud_message(types, cloud.stamp_ns, cloud.frame_id, packed)


def structured_cloud_message(types: Mapping[str, Any], ns: int, frame_id: str, packed: Any) -> Any:
    """sensor_msgs/PointCloud2 of a (P,) structured array, one field a column."""
    field = types["sensor_msgs/msg/PointField"]
    fields = [
        field(name=name, offset=int(offset), datatype=POINT_FIELD_CODES[kind.str[1:]], count=1)
        for name, (kind, offset, *_) in packed.dtype.fields.items()
    ]
    step = packed.dtype.itemsize
    return types["sensor_msgs/msg/PointCloud2"](
        header=header_message(types, ns, frame_id),
        height=1,
        width=len(packed),
        fields=fields,
        is_bigendian=False,
        point_step=step,
        row_step=step * len(packed),
        data=packed.view(np.uint8).reshape(-1),
        is_dense=True,
    )


def transform_parts(a_SE3_b: F64) -> tuple[F64, F64]:
    """(3,) translation and (4,) quaternion x y z w (w >= 0) of a (4, 4) transform."""
    return a_SE3_b[:3, 3], to_quaternion(a_SE3_b)


def transform_of(translation: Sequence[float] | F64, quaternion: Sequence[float] | F64) -> F64:
    """(4, 4) transform of a translation and a quaternion x y z w. Raises CalibrationError when it is zero."""
    return from_quaternion(np.asarray(quaternion, np.float64), np.asarray(translation, np.float64))


def odometry_message(
    types: Mapping[str, Any],
    pose: StampedTransform,
    velocity_mps: Sequence[float] = (0.0, 0.0, 0.0),
    yaw_rate_radps: float = 0.0,
) -> Any:
    """nav_msgs/Odometry; the velocity is in the child frame, as that message wants."""
    at, turn = transform_parts(pose.parent_SE3_child)
    vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    placed = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=float(at[0]), y=float(at[1]), z=float(at[2])),
        orientation=quaternion(x=float(turn[0]), y=float(turn[1]), z=float(turn[2]), w=float(turn[3])),
    )
    vx, vy, vz = map(float, velocity_mps)
    twist = types["geometry_msgs/msg/Twist"](
        linear=vector(x=vx, y=vy, z=vz), angular=vector(x=0.0, y=0.0, z=float(yaw_rate_radps))
    )
    return types["nav_msgs/msg/Odometry"](
        header=header_message(types, pose.stamp_ns, pose.parent),
        child_frame_id=pose.child,
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=placed, covariance=np.zeros(36)),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


def tf_message(types: Mapping[str, Any], transforms: Iterable[StampedTransform]) -> Any:
    """tf2_msgs/TFMessage."""
    return types["tf2_msgs/msg/TFMessage"](transforms=[_transform_stamped(types, t) for t in transforms])


def _transform_stamped(types: Mapping[str, Any], transform: StampedTransform) -> Any:
    at, turn = transform_parts(transform.parent_SE3_child)
    return types["geometry_msgs/msg/TransformStamped"](
        header=header_message(types, transform.stamp_ns, transform.parent),
        child_frame_id=transform.child,
        transform=types["geometry_msgs/msg/Transform"](
            translation=types["geometry_msgs/msg/Vector3"](x=float(at[0]), y=float(at[1]), z=float(at[2])),
            rotation=types["geometry_msgs/msg/Quaternion"](
                x=float(turn[0]), y=float(turn[1]), z=float(turn[2]), w=float(turn[3])
            ),
        ),
    )


def transforms_of(message: Any) -> list[StampedTransform]:
    """The transforms of a TFMessage. Raises CalibrationError for a zero quaternion."""
    found = []
    for item in message.transforms:
        t, q = item.transform.translation, item.transform.rotation
        pose = transform_of((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        parent, child = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
        found.append(StampedTransform(stamp_ns(item.header.stamp), parent, child, pose))
    return found


def odometry_of(message: Any) -> StampedTransform:
    """The pose of an Odometry message. Raises CalibrationError for a zero quaternion."""
    p, q = message.pose.pose.position, message.pose.pose.orientation
    pose = transform_of((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    return StampedTransform(
        stamp_ns(message.header.stamp), message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/"), pose
    )


def calibration_of(message: Any) -> CameraCalibration:
    """The calibration of a CameraInfo message; an all-zero P means none is given."""
    projection = np.array(message.p, np.float64).reshape(3, 4)
    rotation = np.array(message.r, np.float64).reshape(3, 3)
    return CameraCalibration(
        int(message.width),
        int(message.height),
        np.array(message.k, np.float64).reshape(3, 3),
        np.array(message.d, np.float64),
        message.distortion_model or "plumb_bob",
        rotation if rotation.any() else np.eye(3),
        projection if projection.any() else None,
    )


def same_calibration(first: CameraCalibration, second: CameraCalibration) -> bool:
    """Whether two calibrations say the same."""
    plain = (first.width_px, first.height_px, first.model) == (second.width_px, second.height_px, second.model)
    pairs = ((first.K, second.K), (first.D, second.D), (first.R, second.R), (first.projection, second.projection))
    return plain and all(np.array_equal(a, b) for a, b in pairs)
