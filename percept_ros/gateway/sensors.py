"""Fields of a request to a sensor set: images decoded and rectified, points cropped, transforms checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.config import Config
from percept_ros.core.cloud_layout import FLOAT32, CloudField, RawCloud
from percept_ros.core.compressed import decode_compressed
from percept_ros.core.geometry import check_rigid
from percept_ros.core.images import ENCODINGS, RawImage, decode_image
from percept_ros.core.points import CloudCrop, CloudDecoder
from percept_ros.core.rectify import Rectifier, check_calibration
from percept_ros.errors import CalibrationError, CloudError, ImageError, InputError, StampError
from percept_ros.gateway.fields import POINT_FIELDS, CalibrationFields, ImageFields, PerceiveFields, PointsFields
from percept_ros.types import F64, U8, AbsenceReason, CameraCalibration, CameraFrame, PointCloud, SensorSet

LIDAR = "lidar"
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_FARTHEST_MOUNT_M, _FARTHEST_M, _WIDEST_NS, _LARGEST = 100.0, 1e8, 1_000_000_000, 1e12


@dataclass(frozen=True, slots=True)
class ReadSet:
    """A sensor set, the caller's names of its cameras (slot -> name) and the points dropped by reason."""

    sensors: SensorSet
    names: Mapping[str, str]
    dropped: Mapping[str, int]


class SensorReader:
    """Decodes requests. One thread at a time; rectification maps are kept.

    Cameras that the configuration does not name get numbered slots (``camera_0``...): what callers invent must not pile up.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._limits = config, config.gateway
        self._rectifier = Rectifier()

    def read(self, fields: PerceiveFields) -> ReadSet:
        """The set. Raises InputError, of the kind and with the reason that fits."""
        if fields.stamp_ns <= 0:
            raise StampError("field 'stamp_ns' is missing: give the stamp of the sweep in nanoseconds", "no_stamp")
        slots = self._slots(fields)
        poses: dict[str, F64] = {}
        cloud, dropped = None, Counter[str]()
        if fields.points is not None:
            poses[LIDAR] = pose_of(fields.points.base_SE3_sensor, "points.base_SE3_sensor", _FARTHEST_MOUNT_M)
            cloud, dropped = self._cloud(fields.points, fields.stamp_ns)
        frames = {}
        for slot, name in slots.items():
            image = fields.images[name]
            frames[slot] = self._frame(slot, name, image, fields.stamp_ns)
            if image.base_SE3_sensor:
                poses[slot] = pose_of(image.base_SE3_sensor, f"images.{name}.base_SE3_sensor", _FARTHEST_MOUNT_M)
        if cloud is None and not frames:
            raise InputError("request holds neither points nor images", "empty")
        order = self._config.camera_order or tuple(slots)
        absent = {name: AbsenceReason.NEVER_SEEN for name in order if name not in frames}
        if cloud is None:
            absent[LIDAR] = AbsenceReason.NEVER_SEEN
        ego = pose_of(fields.fixed_SE3_base, "fixed_SE3_base", _FARTHEST_M) if fields.fixed_SE3_base else None
        return ReadSet(SensorSet(fields.stamp_ns, cloud, frames, absent, order, poses, ego), slots, dropped)

    def _slots(self, fields: PerceiveFields) -> dict[str, str]:
        names = sorted(fields.images)
        if len(names) > self._limits.max_images:
            raise InputError(f"{len(names)} images, at most {self._limits.max_images} are taken", "too_many_images")
        for name in names:
            if not _NAME.fullmatch(name):
                raise InputError(f"camera name '{name[:80]}' must be 1 to 64 letters, digits or _", "camera_name")
        if not self._config.camera_order:
            return {f"camera_{index}": name for index, name in enumerate(names)}
        for name in names:
            if name not in self._config.camera_order:
                known = ", ".join(self._config.camera_order)
                raise InputError(f"camera '{name}' is not configured; there are {known}", "camera_name")
        return {name: name for name in names}

    def _cloud(self, points: PointsFields, stamp_ns: int) -> tuple[PointCloud, Counter[str]]:
        message = _raw_cloud(points)
        lidar = self._config.lidar
        decoder = CloudDecoder(CloudCrop(lidar.min_range_m, lidar.max_range_m), self._limits.max_points)
        return decoder.decode(message, LIDAR, stamp_ns, LIDAR), decoder.dropped

    def _frame(self, slot: str, name: str, fields: ImageFields, stamp_ns: int) -> CameraFrame:
        at_ns = fields.stamp_ns or stamp_ns
        if abs(at_ns - stamp_ns) > _WIDEST_NS:
            raise StampError(f"stamp {at_ns} of image '{name}' is over 1 s from {stamp_ns}", "out_of_tolerance")
        calibration = _calibration(fields.calibration, name) if fields.calibration else None
        image = self._image(fields, name)
        height, width = image.shape[:2]
        if calibration is not None and (width, height) != (calibration.width_px, calibration.height_px):
            expected = f"{calibration.width_px} x {calibration.height_px}"
            text = f"image of '{name}' is {width} x {height} px, but its calibration is for {expected}"
            raise CalibrationError(text, "size_mismatch")
        rectified = fields.rectified or calibration is None
        frame = CameraFrame(slot, at_ns, f"{slot}_optical", image, calibration, rectified)
        return self._rectifier.rectify(frame)

    def _image(self, fields: ImageFields, name: str) -> U8:
        if fields.encoding in ("jpeg", "png"):
            return decode_compressed(fields.data, fields.encoding, max_pixels=self._limits.max_image_px)
        width, height = fields.width_px, fields.height_px
        if width * height > self._limits.max_image_px:
            text = f"image '{name}' of {width} x {height} px is too large, at most {self._limits.max_image_px} px are taken"
            raise ImageError(text, "too_large")
        encoding = ENCODINGS[fields.encoding]
        step = fields.step or width * encoding.channels * encoding.depth
        raw: Any = RawImage(height, width, fields.encoding, 0, step, fields.data)
        return decode_image(raw)


def _raw_cloud(points: PointsFields) -> Any:
    names = points.fields
    if unknown := [name for name in names if name not in POINT_FIELDS]:
        raise CloudError(f"point field '{unknown[0][:80]}' is none of {', '.join(POINT_FIELDS)}", "bad_fields")
    if len(set(names)) != len(names) or not {"x", "y", "z"} <= set(names):
        raise CloudError(f"point fields {list(names)} must hold x, y and z, each once", "bad_fields")
    step = 4 * len(names)
    if len(points.data) % step:
        text = f"points of {len(points.data)} bytes are cut: not a multiple of {step} bytes a point"
        raise CloudError(text, "truncated")
    count = len(points.data) // step
    columns = tuple(CloudField(name, 4 * index, FLOAT32) for index, name in enumerate(names))
    return RawCloud(1, count, columns, False, step, len(points.data), points.data)


def pose_of(numbers: tuple[float, ...], name: str, farthest_m: float) -> F64:
    """(4, 4) rigid transform. Raises CalibrationError."""
    if any(abs(number) > _LARGEST for number in numbers):  # their squares are beyond floating point
        raise CalibrationError(f"{name} holds numbers beyond {_LARGEST:g}: it is no transform", "bad_extrinsic")
    pose = check_rigid(np.array(numbers, np.float64), name)
    if np.abs(pose[:3, 3]).max() > farthest_m:
        raise CalibrationError(
            f"{name} is {np.abs(pose[:3, 3]).max():.3g} m away, expected at most {farthest_m:g} m", "bad_extrinsic"
        )
    return pose


def _calibration(fields: CalibrationFields, name: str) -> CameraCalibration:
    for key, numbers, sizes in (("K", fields.K, (9,)), ("R", fields.R, (0, 9)), ("P", fields.P, (0, 12))):
        if len(numbers) not in sizes:
            text = f"calibration of '{name}': {key} must hold {sizes[-1]} numbers, got {len(numbers)}"
            raise CalibrationError(text, "bad_intrinsics")
    found = CameraCalibration(
        fields.width_px,
        fields.height_px,
        np.array(fields.K).reshape(3, 3),
        np.array(fields.D),
        fields.model,
        np.array(fields.R).reshape(3, 3) if fields.R else np.eye(3),
        np.array(fields.P).reshape(3, 4) if fields.P else None,
    )
    return check_calibration(found, name)
