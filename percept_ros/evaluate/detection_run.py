"""Runs detectors over data sets and scores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from percept_ros.core.geometry import inverse, project_boxes, project_points
from percept_ros.detectors.detector import Detector, ImageDetector
from percept_ros.errors import RecordingError
from percept_ros.evaluate import detection_data as data
from percept_ros.evaluate.detection import CLASS_NAMES, Found, Reference, in_image, summarise
from percept_ros.evaluate.tiles import detect_tiled
from percept_ros.types import (
    F32,
    F64,
    I64,
    Bool,
    CameraCalibration,
    CameraFrame,
    CameraView,
    Detections,
    Detections2D,
    ObjectClass,
    PointCloud,
    SensorSet,
)

LIDAR, CAMERA = "lidar", "camera"
STRONG_SCORE = 0.5
"""Camera boxes of at least this score must be found; weaker ones excuse a detection."""
OCCLUDER_SCORE = 0.3
VEHICLES = (int(ObjectClass.CAR), int(ObjectClass.TRUCK))
TALLEST_CAR_M = 2.4
"""What the camera calls a car counts as a lorry when it reaches higher."""
_ABOVE_ROAD_M = 0.3
Progress = Callable[[str], None]
Frames = list[tuple[Found, Reference]]


def lidar_set(points: F32, base_SE3_sensor: F64, stamp_ns: int = 0) -> SensorSet:
    """A sensor set of one sweep and no camera."""
    cloud = PointCloud(LIDAR, stamp_ns, LIDAR, points)
    return SensorSet(stamp_ns, cloud, {}, {}, (), {LIDAR: base_SE3_sensor})


def found_of(detections: Detections, region: data.Region) -> Found:
    """What a detector found, with the region in which a wrong box counts."""
    inside = region(detections.boxes) if len(detections) else np.zeros(0, bool)
    return Found(detections.boxes, detections.class_ids, detections.scores, inside)


def score_sweeps(sweeps: Iterator[data.Sweep], detector: Detector, score: float, report: Progress) -> dict[str, Any]:
    """Detect in every sweep and summarise; where labels look empty, also without them (``without_empty_labels``)."""
    frames: Frames = []
    every: Frames = []
    empty = 0
    for sweep in sweeps:
        detections = detector.detect(lidar_set(sweep.points, sweep.base_SE3_sensor))
        found, reference = found_of(detections, sweep.region), sweep.reference
        frames.append((found, reference))
        every.append((found, replace(reference, counted=reference.counted | sweep.empty)))
        empty += int(sweep.empty.sum())
        report(f"{sweep.name}: {len(detections)} boxes, {int(sweep.reference.counted.sum())} objects")
    if not frames:
        raise RecordingError("the data set holds no sweep", "empty")
    result = summarise(every, score)
    if empty:
        result["without_empty_labels"] = {
            "empty": empty,
            **_chosen(summarise(frames, score), "AP", "count", "found", "false"),
        }
    return result


def _chosen(summary: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {name: {key: summary[name][key] for key in keys} for name in CLASS_NAMES}


def score_drive(
    root: Path, detector: Detector, camera: ImageDetector, score: float, report: Progress
) -> dict[str, Any]:
    """KITTI raw drive: projected 3D boxes against the boxes a camera network sees, within 40 m.

    A 3D box that is half hidden in the image behind a nearer camera vehicle is neither right nor wrong. ``tiled`` gives the
    scores against a better judge: the camera network also looks at enlarged tiles of the image (``detect_tiled``), which
    adds objects to find and excuses alike, and what it calls a car counts as a lorry when it reaches above ``TALLEST_CAR_M``.
    """
    calibration = data.read_kitti_calibration(root / "calib" / "calib.txt")
    frames: Frames = []
    closer: Frames = []
    for file in sorted((root / "velodyne").glob("*.bin")):
        image = cv2.imread(str(root / "image_02" / f"{file.stem}.png"))
        if image is None:
            raise RecordingError(f"frame {file.stem} of '{root}' has no image", "missing")
        sensors = _drive_set(file, np.asarray(image, np.uint8), calibration)
        detections = detector.detect(sensors)
        frames.append(_drive_frame(sensors, detections, camera.detect(sensors)[CAMERA]))
        found, reference = _drive_frame(sensors, detections, detect_tiled(camera, sensors, CAMERA))
        closer.append((found, _by_height(sensors, reference)))
        report(f"{file.stem}: {len(detections)} boxes, {int(frames[-1][1].counted.sum())} camera boxes")
    if not frames:
        raise RecordingError(f"'{root}/velodyne' holds no sweep", "empty")
    result = summarise(frames, score, in_image)
    keys = ("AP", "count", "found", "recall_40m", "false", "false_per_frame", "called")
    result["tiled"] = _chosen(summarise(closer, score, in_image), *keys)
    return result


def _drive_set(file: Path, image: np.ndarray, calibration: data.KittiCalibration) -> SensorSet:
    base_SE3_lidar = data.raised(data.KITTI_LIDAR_HEIGHT_M)
    projection = calibration.image_SE3_camera[:3]
    intrinsics = CameraCalibration(image.shape[1], image.shape[0], projection[:, :3], np.zeros(0), P=projection)
    frame = CameraFrame(CAMERA, 0, CAMERA, image, intrinsics)
    poses = {LIDAR: base_SE3_lidar, CAMERA: base_SE3_lidar @ np.linalg.inv(calibration.camera_SE3_lidar)}
    cloud = PointCloud(LIDAR, 0, LIDAR, data.read_velodyne(file))
    return SensorSet(0, cloud, {CAMERA: frame}, {}, (CAMERA,), poses)


def _drive_frame(sensors: SensorSet, detections: Detections, boxes_2d: Detections2D) -> tuple[Found, Reference]:
    view = sensors.views[CAMERA]
    camera_SE3_base = inverse(view.base_SE3_camera)
    size_px = (view.width_px, view.height_px)
    boxes_px, visible = project_boxes(view.projection, camera_SE3_base, detections.boxes, size_px)
    region = data.camera_region(view.projection @ camera_SE3_base, size_px)(detections.boxes) & visible
    kinds = _as_classes(boxes_2d.class_ids)
    range_m = _seen_at_m(sensors, boxes_2d.boxes_px)
    counted = (range_m <= data.RANGE_M) & (boxes_2d.scores >= STRONG_SCORE) & (kinds != int(ObjectClass.UNKNOWN))
    vehicles = np.isin(kinds, (ObjectClass.CAR, ObjectClass.TRUCK)) & (boxes_2d.scores >= OCCLUDER_SCORE)
    own_m = np.hypot(detections.boxes[:, 0], detections.boxes[:, 1])
    hidden = _hidden(boxes_px, own_m, boxes_2d.boxes_px[vehicles], range_m[vehicles])
    found = Found(boxes_px, detections.class_ids, detections.scores, region & ~hidden)
    return found, Reference(boxes_2d.boxes_px, kinds, counted)


def _seen_at_m(sensors: SensorSet, boxes_px: F64) -> F64:
    """(N,) range of what each camera box shows, metres."""
    view, cloud = sensors.views[CAMERA], sensors.cloud
    points = data.in_base(cloud.points, sensors.base_SE3[LIDAR]) if cloud else np.zeros((0, 3), np.float32)
    return _ranges(boxes_px, points, view.projection @ inverse(view.base_SE3_camera))


def _by_height(sensors: SensorSet, reference: Reference) -> Reference:
    """The reference with tall cars as lorries."""
    range_m = _seen_at_m(sensors, reference.boxes)
    tall = _top_m(reference.boxes, range_m, sensors.views[CAMERA]) > TALLEST_CAR_M
    lorry = tall & (reference.class_ids == int(ObjectClass.CAR))
    return replace(reference, class_ids=np.where(lorry, int(ObjectClass.TRUCK), reference.class_ids))


def _hidden(boxes_px: F64, range_m: F64, occluders_px: F64, occluder_m: F64) -> Bool:
    """(N,) whether a camera vehicle at least 4 m nearer covers half of the box: the camera cannot judge it."""
    a, b = boxes_px[:, None], occluders_px[None]
    common = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None).prod(-1)
    share = common / np.maximum((a[..., 2:] - a[..., :2]).prod(-1), 1e-9)
    hidden: Bool = ((share >= 0.5) & (occluder_m[None] + 4.0 <= range_m[:, None])).any(axis=1)
    return hidden


def _top_m(boxes_px: F64, range_m: F64, view: CameraView) -> F64:
    """(N,) height of the upper edge of camera boxes above the base frame's ground, m, at the range of what they show."""
    pixels = np.column_stack([boxes_px[:, [0, 2]].mean(axis=1), boxes_px[:, 1], np.ones(len(boxes_px))])
    way = pixels @ np.linalg.inv(view.projection[:, :3]).T @ view.base_SE3_camera[:3, :3].T
    rise = way[:, 2] / np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)
    top: F64 = view.base_SE3_camera[2, 3] + rise * np.where(np.isfinite(range_m), range_m, 0.0)
    return top


def _as_classes(class_ids: I64) -> I64:
    """Lorries, buses and trailers are one class, as everywhere in these scores."""
    large = np.isin(class_ids, (ObjectClass.BUS, ObjectClass.TRAILER))
    kinds: I64 = np.where(large, int(ObjectClass.TRUCK), class_ids)
    return kinds


def _ranges(boxes_px: F64, points_base: F32, projection_base: F64) -> F64:
    """(N,) range of what each camera box shows: lower quartile of the points above the road in its middle, metres.

    Infinite where fewer than 20 points fall into the middle.
    """
    standing = points_base[points_base[:, 2] > _ABOVE_ROAD_M]
    pixel, _ = project_points(projection_base, standing)
    range_m = np.hypot(standing[:, 0], standing[:, 1])
    result = np.full(len(boxes_px), np.inf)
    for i, (x1, y1, x2, y2) in enumerate(boxes_px):
        low = (0.8 * x1 + 0.2 * x2, 0.8 * y1 + 0.2 * y2)
        high = (0.2 * x1 + 0.8 * x2, 0.2 * y1 + 0.8 * y2)
        with np.errstate(invalid="ignore"):
            inside = np.all((pixel >= low) & (pixel <= high), axis=1)
        if inside.sum() >= data.LEAST_POINTS:
            result[i] = np.percentile(range_m[inside], 25)
    return result


READERS: dict[str, tuple[str, Callable[[Path], Iterator[data.Sweep]]]] = {
    "kitti": ("kitti_frames", data.kitti),
    "recorded": ("pointpillars_recorded", data.recorded),
    "av2": ("av2_log", data.av2),
}
"""Data set -> (its folder under PERCEPT_DATA, reader)."""
DRIVE_FOLDER = "kitti_drive"


def known_datasets() -> Sequence[str]:
    """Names that ``percept evaluate detect --dataset`` takes."""
    return ("sim", *READERS, "kitti-drive", "nuscenes")
