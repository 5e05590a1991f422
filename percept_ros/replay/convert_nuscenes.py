"""One nuScenes key frame as a bag: six cameras, the roof LiDAR, and its boxes as ground truth.

The base frame is nuScenes' ego frame (rear axle, on the road). Camera poses are those at the sweep's time: the data
set's ``lidar2cam`` already holds the ego motion between sweep and image. There is one frame, and it is written once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.convert_kitti import BASE, FIXED, TRUTH_TOPIC, ImageFile, Progress, write_camera
from percept_ros.replay.kitti_files import need
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.truth import LabelledFrame, truth_arrays
from percept_ros.types import F64, ObjectClass, PointCloud

LIDAR = "lidar_top"
LABELS = (
    ObjectClass.CAR,
    ObjectClass.TRUCK,
    ObjectClass.TRAILER,
    ObjectClass.BUS,
    ObjectClass.TRUCK,  # construction vehicle
    ObjectClass.BICYCLE,
    ObjectClass.MOTORCYCLE,
    ObjectClass.PEDESTRIAN,
    ObjectClass.UNKNOWN,  # traffic cone
    ObjectClass.UNKNOWN,  # barrier
)
"""Class of each of the ten detection labels, in the data set's usual order."""


def convert_nuscenes(root: Path, bag: BagWriter, progress: Progress, *, encoded_images: bool = False) -> None:
    """A folder with ``sample_calib_gt.json`` and the files it names. Raises RecordingError."""
    sample = _read(root)
    try:
        _write_sample(root, sample, bag, progress, encoded_images)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise RecordingError(
            f"'{root / 'sample_calib_gt.json'}' is not as expected: {type(exc).__name__} {exc}"
        ) from exc


def _read(root: Path) -> Mapping[str, Any]:
    file = need(root / "sample_calib_gt.json", "sample description")
    try:
        sample = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise RecordingError(f"'{file}' is not JSON: {exc}") from exc
    if not isinstance(sample, dict):
        raise RecordingError(f"'{file}' should hold a mapping")
    return sample


def _write_sample(
    root: Path, sample: Mapping[str, Any], bag: BagWriter, progress: Progress, encoded_images: bool
) -> None:
    stamp_ns = seconds_ns(sample["timestamp"])
    base_SE3_lidar = np.array(sample["lidar"]["lidar2ego"], np.float64)
    cameras: Mapping[str, Any] = sample["images"]
    stamps = {name: seconds_ns(camera["timestamp"]) for name, camera in cameras.items()}
    first_ns = min([stamp_ns, *stamps.values()])
    transforms = [StampedTransform(first_ns, BASE, LIDAR, base_SE3_lidar)]
    for name, camera in cameras.items():
        pose = base_SE3_lidar @ inverse(np.array(camera["lidar2cam"], np.float64))
        transforms.append(StampedTransform(first_ns, BASE, optical(name), pose))
    bag.tf_static(transforms)
    for done, name in enumerate(sorted(cameras, key=lambda n: stamps[n]), 1):
        item = ImageFile(root / cameras[name]["img_path"], stamps[name], encoded_images)
        K = np.array(cameras[name]["cam2img"], np.float64)[:3, :3]
        write_camera(bag, item, name.lower(), optical(name), K)
        progress(done, len(cameras) + 1)
    _write_sweep(bag, root / sample["lidar"]["lidar_path"], stamp_ns)
    _write_truth(bag, sample["instances"], base_SE3_lidar, stamp_ns)
    progress(len(cameras) + 1, len(cameras) + 1)


def seconds_ns(seconds: float) -> int:
    """Nanoseconds of a float stamp, to its microsecond (the data set's resolution)."""
    return round(float(seconds) * 1e6) * 1000


def optical(camera: str) -> str:
    """Optical frame of a camera."""
    return f"{camera.lower()}_optical"


def _write_sweep(bag: BagWriter, file: Path, stamp_ns: int) -> None:
    """Points float32 x y z intensity (0 to 255) ring."""
    size = need(file, "LiDAR sweep").stat().st_size
    if not size or size % 20:
        raise RecordingError(f"LiDAR sweep '{file}' has {size} bytes, not a multiple of 20: it is cut")
    sweep = np.fromfile(file, np.float32).reshape(-1, 5)
    intensity = np.clip(sweep[:, 3] / np.float32(255.0), 0.0, 1.0)
    ring = sweep[:, 4].astype(np.uint16)
    bag.cloud("/lidar/points", PointCloud("lidar", stamp_ns, LIDAR, sweep[:, :3], intensity, ring))


def _write_truth(bag: BagWriter, instances: Any, base_SE3_lidar: F64, stamp_ns: int) -> None:
    boxes = np.array([item["bbox_3d"] for item in instances], np.float64).reshape(-1, 7)
    labels = [int(item["bbox_label_3d"]) for item in instances]
    classes = tuple(LABELS[label] if 0 <= label < len(LABELS) else ObjectClass.UNKNOWN for label in labels)
    names = tuple(f"{stamp_ns}/{i}" for i in range(len(labels)))
    seen = tuple(int(item["num_lidar_pts"]) > 0 for item in instances)
    frame = LabelledFrame(stamp_ns, names, transform_boxes(base_SE3_lidar, boxes), classes, None, seen)
    for array in truth_arrays([frame], BASE, FIXED):
        bag.tracks(TRUTH_TOPIC, array)
