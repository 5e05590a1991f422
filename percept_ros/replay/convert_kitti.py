"""KITTI recordings as bags: a raw drive and the object set.

The base frame lies on the road below the velodyne, with the velodyne's axes. Images are rectified upstream, so
CameraInfo carries no distortion. Where the set has no clock, frame ``i`` is at ``EPOCH_NS`` + ``i`` x 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from percept_ros.core.geometry import inverse
from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.kitti_drive import EPOCH_NS, files_in, find_drive
from percept_ros.replay.kitti_files import (
    CLASSES,
    KittiCalibration,
    KittiLabels,
    OxtsPoses,
    boxes_in_base,
    need,
    parse_labels,
    read_calibration,
    read_scan,
)
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.truth import LabelledFrame, truth_arrays
from percept_ros.types import F64, CameraCalibration, CameraFrame, ObjectClass, PointCloud

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""

SCENE_GAP_NS = 10_000_000_000
"""Between the unrelated frames of the object set."""
BASE, FIXED, LIDAR, CAMERA, OPTICAL = "base_link", "odom", "velodyne", "camera_2", "camera_2_optical"
TRUTH_TOPIC = "/ground_truth/tracks"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One picture on disk for one stamp."""

    path: Path
    stamp_ns: int
    encoded: bool
    """Whether the file's own bytes are kept (CompressedImage) instead of bgr8 pixels."""


def write_camera(bag: BagWriter, item: ImageFile, camera: str, frame_id: str, K: F64) -> None:
    """Write the CameraInfo and the image of a rectified camera. Raises RecordingError when the file is unreadable."""
    data = need(item.path, "image").read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise RecordingError(f"image '{item.path}' cannot be decoded")
    height, width = image.shape[:2]
    bag.camera_info(f"/{camera}/camera_info", item.stamp_ns, frame_id, CameraCalibration(width, height, K, np.zeros(0)))
    if item.encoded:
        kind = "png" if item.path.suffix == ".png" else "jpeg"
        bag.compressed_image(f"/{camera}/image/compressed", item.stamp_ns, frame_id, data, kind)
    else:
        bag.image(f"/{camera}/image", CameraFrame(camera, item.stamp_ns, frame_id, np.asarray(image, np.uint8)))


def write_scan(bag: BagWriter, file: Path, stamp_ns: int) -> None:
    points, intensity = read_scan(file)
    bag.cloud("/lidar/points", PointCloud("lidar", stamp_ns, LIDAR, points, intensity))


def extrinsics(calibration: KittiCalibration, stamp_ns: int) -> list[StampedTransform]:
    """Where the velodyne, the camera and the IMU (where known) are mounted."""
    transforms = [
        StampedTransform(stamp_ns, BASE, LIDAR, calibration.base_SE3_velo),
        StampedTransform(stamp_ns, BASE, OPTICAL, calibration.base_SE3_camera),
    ]
    if calibration.velo_SE3_imu is not None:
        transforms.append(StampedTransform(stamp_ns, LIDAR, "imu", calibration.velo_SE3_imu))
    return transforms


def convert_drive(root: Path, bag: BagWriter, progress: Progress, *, encoded_images: bool = False) -> None:
    """A drive (see kitti_drive.py for its two layouts); ego motion where it has GPS/IMU files, no labels."""
    drive = find_drive(root)
    bag.tf_static(extrinsics(drive.calibration, drive.stamps_ns[0]))
    poses = ego_poses(drive.oxts, drive.calibration) if drive.oxts is not None else None
    for i, (scan, stamp_ns) in enumerate(zip(drive.scans, drive.stamps_ns, strict=True)):
        if drive.oxts is not None and poses is not None:
            write_ego(bag, poses[i], stamp_ns, drive.oxts, drive.calibration, i)
        if scan.stem in drive.images:
            image = ImageFile(drive.images[scan.stem], stamp_ns, encoded_images)
            write_camera(bag, image, CAMERA, OPTICAL, drive.calibration.K)
        write_scan(bag, scan, stamp_ns)
        progress(i + 1, len(drive.scans))


def ego_poses(oxts: OxtsPoses, calibration: KittiCalibration) -> F64:
    """(F, 4, 4) ``odom_SE3_base``; odom is the base frame of the first line. Raises RecordingError without an IMU pose."""
    if calibration.velo_SE3_imu is None:
        raise RecordingError("calibration lacks Tr_imu_to_velo: ego motion cannot be brought into the base frame")
    imu_SE3_base = inverse(calibration.base_SE3_velo @ calibration.velo_SE3_imu)
    world_SE3_base = oxts.world_SE3_imu @ imu_SE3_base
    poses: F64 = inverse(world_SE3_base[0]) @ world_SE3_base
    return poses


def write_ego(
    bag: BagWriter, pose: F64, stamp_ns: int, oxts: OxtsPoses, calibration: KittiCalibration, row: int
) -> None:
    """Odometry and the same pose on /tf; the velocity is that of the base frame's origin, in its own axes."""
    assert calibration.velo_SE3_imu is not None
    base_SE3_imu = calibration.base_SE3_velo @ calibration.velo_SE3_imu
    lever = inverse(base_SE3_imu)[:3, 3]
    velocity = base_SE3_imu[:3, :3] @ (oxts.velocity_mps[row] + np.cross(oxts.rate_radps[row], lever))
    transform = StampedTransform(stamp_ns, FIXED, BASE, pose)
    bag.odometry("/odom", transform, velocity.tolist(), float(oxts.rate_radps[row, 2]))
    bag.tf([transform])


def convert_object(root: Path, bag: BagWriter, progress: Progress, *, encoded_images: bool = False) -> None:
    """Labelled frames of the object set: ``velodyne``, ``image_2``, ``calib``, ``label_2``.

    The frames are unrelated scenes with their own calibration: they stand 10 s apart, each with an optical frame of its
    own, ``camera_2_<frame>_optical``.
    """
    scans = files_in(root / "velodyne", "*.bin")
    calibrations = [read_calibration(root / "calib" / f"{scan.stem}.txt") for scan in scans]
    optical = [f"{CAMERA}_{scan.stem}_optical" for scan in scans]
    mounted = [
        StampedTransform(EPOCH_NS, BASE, name, found.base_SE3_camera)
        for name, found in zip(optical, calibrations, strict=True)
    ]
    bag.tf_static([StampedTransform(EPOCH_NS, BASE, LIDAR, calibrations[0].base_SE3_velo), *mounted])
    for i, (scan, calibration) in enumerate(zip(scans, calibrations, strict=True)):
        stamp_ns = EPOCH_NS + i * SCENE_GAP_NS
        image = ImageFile(root / "image_2" / f"{scan.stem}.png", stamp_ns, encoded_images)
        write_camera(bag, image, CAMERA, optical[i], calibration.K)
        write_scan(bag, scan, stamp_ns)
        _write_object_truth(bag, root / "label_2" / f"{scan.stem}.txt", calibration, stamp_ns)
        progress(i + 1, len(scans))


def _write_object_truth(bag: BagWriter, file: Path, calibration: KittiCalibration, stamp_ns: int) -> None:
    if not file.is_file():  # the test split has none
        return
    labels = parse_labels(file.read_text(encoding="utf-8").splitlines(), tracking=False, where=str(file))
    frame = labelled(labels.get(0), calibration, stamp_ns, None, f"{file.stem}/")
    for array in truth_arrays([frame], BASE, FIXED, CAMERA):
        bag.tracks(TRUTH_TOPIC, array)


def labelled(
    labels: KittiLabels | None, calibration: KittiCalibration, stamp_ns: int, pose: F64 | None, prefix: str
) -> LabelledFrame:
    if labels is None:
        return LabelledFrame(stamp_ns, (), np.zeros((0, 7)), (), pose)
    names = tuple(f"{prefix}{i if track < 0 else track}" for i, track in enumerate(labels.ids))
    classes = tuple(CLASSES.get(kind, ObjectClass.UNKNOWN) for kind in labels.kinds)
    boxes = boxes_in_base(labels.fields, calibration.base_SE3_rect)
    return LabelledFrame(stamp_ns, names, boxes, classes, pose)
