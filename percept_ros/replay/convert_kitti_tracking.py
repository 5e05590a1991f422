"""A KITTI tracking sequence as a bag: ground truth, ego motion, detector outputs, and images and scans where present."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.convert_kitti import (
    BASE,
    CAMERA,
    FIXED,
    OPTICAL,
    TRUTH_TOPIC,
    ImageFile,
    Progress,
    ego_poses,
    extrinsics,
    labelled,
    write_camera,
    write_ego,
    write_scan,
)
from percept_ros.replay.kitti_drive import EPOCH_NS, PERIOD_NS, files_in
from percept_ros.replay.kitti_files import (
    CLASSES,
    KittiCalibration,
    boxes_in_base,
    need,
    parse_labels,
    parse_oxts,
    read_calibration,
)
from percept_ros.replay.track_array import TrackArray
from percept_ros.replay.truth import truth_arrays, truth_id
from percept_ros.types import F64, LIDAR_BIT, NUM_CLASSES, Forecasts, ObjectClass, Tracks, TrackState

DETECTOR = "pointrcnn_3d"


def convert_tracking(
    root: Path, bag: BagWriter, progress: Progress, *, sequence: str = "", encoded_images: bool = False
) -> None:
    """A tracking sequence: labels, ego motion, calibration, detections, and images and scans where the copy has them.

    sequence: four digits; empty = the first that is there. Detections go to /detections/pointrcnn_3d in the base
    frame: existence is the logistic function of the detector's score, ids are of one frame only.
    """
    sequence = sequence or _first_sequence(root)
    calibration = read_calibration(root / "calib" / f"{sequence}.txt")
    oxts = parse_oxts(_lines(root / "oxts" / f"{sequence}.txt", "GPS/IMU file"), sequence)
    labels = parse_labels(_lines(root / "label_02" / f"{sequence}.txt", "label file"), tracking=True, where=sequence)
    poses = ego_poses(oxts, calibration)
    stamps = [EPOCH_NS + i * PERIOD_NS for i in range(len(poses))]
    frames = [labelled(labels.get(i), calibration, at, poses[i], f"{sequence}/") for i, at in enumerate(stamps)]
    truth = truth_arrays(frames, BASE, FIXED, CAMERA)
    detections = read_detections(root / "detections" / DETECTOR, sequence, calibration.base_SE3_rect)
    bag.tf_static(extrinsics(calibration, EPOCH_NS))
    for i, at in enumerate(stamps):
        write_ego(bag, poses[i], at, oxts, calibration, i)
        _write_sensors(bag, root, sequence, i, calibration, ImageFile(Path(), at, encoded_images))
        bag.tracks(TRUTH_TOPIC, truth[i])
        if i in detections:
            bag.tracks(f"/detections/{DETECTOR}", detection_array(detections[i], at, DETECTOR))
        progress(i + 1, len(stamps))


def _write_sensors(
    bag: BagWriter, root: Path, sequence: str, i: int, calibration: KittiCalibration, item: ImageFile
) -> None:
    image = root / "image_02" / sequence / f"{i:06d}.png"
    scan = root / "velodyne" / sequence / f"{i:06d}.bin"
    if image.is_file():
        write_camera(bag, ImageFile(image, item.stamp_ns, item.encoded), CAMERA, OPTICAL, calibration.K)
    if scan.is_file():
        write_scan(bag, scan, item.stamp_ns)


def _lines(file: Path, what: str) -> list[str]:
    return need(file, what).read_text(encoding="utf-8").splitlines()


def _first_sequence(root: Path) -> str:
    return files_in(root / "oxts", "*.txt")[0].stem


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """Detector output of one frame. boxes: (N, 7) in the base frame. scores: (N,) as the detector gave them."""

    boxes: F64
    scores: F64
    classes: tuple[ObjectClass, ...]


def read_detections(folder: Path, sequence: str, base_SE3_rect: F64) -> dict[int, FrameDetections]:
    """Frame -> detections of all classes under ``folder`` (``<class>/<sequence>.txt``). Raises RecordingError."""
    gathered: dict[int, list[tuple[F64, ObjectClass]]] = {}
    for file in sorted(folder.glob(f"*/{sequence}.txt")):
        kind = CLASSES.get(file.parent.name, ObjectClass.UNKNOWN)
        for row in _detection_rows(file):
            gathered.setdefault(int(row[0]), []).append((row, kind))
    return {frame: _detections(rows, base_SE3_rect) for frame, rows in gathered.items()}


def _detection_rows(file: Path) -> F64:
    """(N, 15) columns frame, type, x1, y1, x2, y2, score, h, w, l, x, y, z, ry, alpha."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return np.array([[float(v) for v in line.split(",")] for line in lines]).reshape(-1, 15)
    except ValueError as exc:
        raise RecordingError(f"detection file '{file}' should hold 15 numbers a line: {exc}") from exc


def _detections(rows: list[tuple[F64, ObjectClass]], base_SE3_rect: F64) -> FrameDetections:
    values = np.stack([row for row, _ in rows])
    boxes = boxes_in_base(values[:, 7:14], base_SE3_rect)
    return FrameDetections(boxes, values[:, 6], tuple(kind for _, kind in rows))


def detection_array(found: FrameDetections, stamp_ns: int, detector: str) -> TrackArray:
    """Detections as tentative tracks in the base frame."""
    count = len(found.boxes)
    spread = np.tile(np.eye(6), (count, 1, 1))
    ids = [truth_id(f"{detector}/{stamp_ns}/{i}") for i in range(count)]
    tracks = Tracks(
        stamp_ns=stamp_ns,
        frame_id=BASE,
        id=np.array(ids, np.uint8).reshape(-1, 16),
        state=np.full(count, TrackState.TENTATIVE, np.uint8),
        class_probabilities=np.eye(NUM_CLASSES)[[int(c) for c in found.classes]],
        existence=1.0 / (1.0 + np.exp(-found.scores)),
        boxes=found.boxes,
        velocity_mps=np.zeros((count, 2)),
        acceleration_mps2=np.zeros((count, 2)),
        yaw_rate_radps=np.zeros(count),
        pose_covariance=spread,
        twist_covariance=spread * 100.0,
        age_ns=np.zeros(count, np.int64),
        since_measurement_ns=np.zeros(count, np.int64),
        sensors=np.full(count, LIDAR_BIT, np.uint32),
        stationary=np.zeros(count, np.bool_),
    )
    return TrackArray(tracks, Forecasts.empty(0.1), stamp_ns, stamp_ns, stamp_ns, model=detector)
