"""Detection scores on nuScenes key frames (six cameras and a LiDAR), with every sensor, the LiDAR alone and the cameras alone.

The rule is nuScenes' own: a box counts when at least one LiDAR return lies in it (its radar returns are not in these
files); within 50 m for every class; AP by centre distance. Barriers and cones are no class of ours: a box on one is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.detectors.detector import Detector
from percept_ros.errors import RecordingError
from percept_ros.evaluate.detection import Found, Reference, mean_ap
from percept_ros.evaluate.detection_data import read_velodyne
from percept_ros.evaluate.detection_sim import CAMERA_ONLY, FUSION, LIDAR_ONLY, merged_classes, only, within_range
from percept_ros.types import CameraCalibration, CameraFrame, ObjectClass, PointCloud, SensorSet

FOLDER, LIDAR = "nuscenes_sample", "lidar"
_ROW_NUMBERS = 5
C = ObjectClass
LABELS = {0: C.CAR, 1: C.TRUCK, 2: C.TRAILER, 3: C.BUS, 5: C.BICYCLE, 6: C.MOTORCYCLE, 7: C.PEDESTRIAN}
"""Label of the file -> class; construction vehicles (4), cones (8) and barriers (9) have none."""


def key_frames(root: Path) -> Iterator[tuple[SensorSet, Reference]]:
    """Every ``*_calib_gt.json`` of the folder, in the base frame. Raises RecordingError."""
    files = sorted(root.glob("*_calib_gt.json"))
    if not files:
        raise RecordingError(f"'{root}' holds no *_calib_gt.json: is this the right data set?", "missing")
    for file in files:
        try:
            yield _key_frame(root, json.loads(file.read_text(encoding="utf-8")))
        except (KeyError, ValueError, IndexError) as exc:
            raise RecordingError(f"'{file}' cannot be read as a key frame: {exc!r}", "calibration") from exc


def _key_frame(root: Path, sample: dict[str, Any]) -> tuple[SensorSet, Reference]:
    stamp_ns = int(float(sample["timestamp"]) * 1e9)
    base_SE3_lidar = np.array(sample["lidar"]["lidar2ego"], float)
    points = read_velodyne(next(root.glob("*LIDAR_TOP*")), _ROW_NUMBERS)
    cameras = {name: _camera(root, name, entry) for name, entry in sample["images"].items()}
    poses = {name: base_SE3_lidar @ inverse(np.array(e["lidar2cam"], float)) for name, e in sample["images"].items()}
    sensors = SensorSet(
        stamp_ns,
        PointCloud(LIDAR, stamp_ns, LIDAR, points),
        cameras,
        {},
        tuple(cameras),
        {LIDAR: base_SE3_lidar, **poses},
    )
    known = [row for row in sample["instances"] if row["bbox_label_3d"] in LABELS]
    boxes = transform_boxes(base_SE3_lidar, np.array([row["bbox_3d"] for row in known], float).reshape(-1, 7))
    classes = merged_classes(np.array([int(LABELS[row["bbox_label_3d"]]) for row in known], np.int64))
    returns = np.array([row["num_lidar_pts"] for row in known], np.int64)
    return sensors, Reference(boxes, classes, within_range(boxes) & (returns >= 1))


def _camera(root: Path, name: str, entry: dict[str, Any]) -> CameraFrame:
    import cv2

    file = root / Path(entry["img_path"]).name
    image = cv2.imread(str(file))
    if image is None:
        raise RecordingError(f"image '{file}' cannot be read", "missing")
    height_px, width_px = image.shape[:2]
    calibration = CameraCalibration(width_px, height_px, np.array(entry["cam2img"], float), np.zeros(0))
    stamp_ns = int(float(entry["timestamp"]) * 1e9)
    return CameraFrame(name, stamp_ns, f"{name}_optical", np.asarray(image, np.uint8), calibration)


def score_key_frames(root: Path, detector: Detector, report: Callable[[str], None]) -> dict[str, Any]:
    """nuScenes-style AP by mode; models without cameras are scored on ``lidar_only``."""
    modes = (FUSION, LIDAR_ONLY, CAMERA_ONLY) if getattr(detector, "takes_cameras", False) else (LIDAR_ONLY,)
    frames: dict[str, list[tuple[Found, Reference]]] = {mode: [] for mode in modes}
    for sensors, reference in key_frames(root):
        for mode in modes:
            found = detector.detect(only(sensors, mode))
            region = within_range(found.boxes) if len(found) else np.zeros(0, bool)
            frames[mode].append((Found(found.boxes, found.class_ids, found.scores, region), reference))
        report(f"{len(frames[modes[0]])} key frames")
    return {"frames": len(frames[modes[0]]), **{mode: mean_ap(rows) for mode, rows in frames.items()}}
