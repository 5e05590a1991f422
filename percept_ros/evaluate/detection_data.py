"""Real sweeps with references to score detectors on; read in place, never written.

Every frame is given in the base frame (x forward, y left, z up, z = 0 near the road). Objects count when their centre is
within ``RANGE_M`` and at least ``LEAST_POINTS`` points lie inside them; a box labelled twice counts once, a vehicle label
that the beams pass through not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.core.decode import bev_iou
from percept_ros.core.geometry import points_in_box
from percept_ros.errors import RecordingError
from percept_ros.evaluate.detection import Reference
from percept_ros.evaluate.seen_through import seen_through
from percept_ros.types import F32, F64, I64, Bool, ObjectClass

RANGE_M = 40.0
LEAST_POINTS = 20
KITTI_LIDAR_HEIGHT_M = 1.73
AV2_LIDAR_M = np.array([1.35, 0.0, 1.64])
Region = Callable[[F64], Bool]
"""(N, 7) boxes in the base frame -> (N,) whether an unmatched box there counts as false."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep to detect in. points: (P, 3) float32 in the sensor's frame; base_SE3_sensor: (4, 4).

    empty: (N,) references that would count if beams did not pass through them.
    """

    name: str
    points: F32
    base_SE3_sensor: F64
    reference: Reference
    region: Region
    empty: Bool


@dataclass(frozen=True, slots=True)
class KittiCalibration:
    """pixel = P2 @ R0 @ Tr @ point; all as (4, 4)."""

    image_SE3_camera: F64
    camera_SE3_lidar: F64

    @property
    def projection(self) -> F64:
        """(3, 4) from the LiDAR's frame to pixels of camera 2."""
        matrix: F64 = (self.image_SE3_camera @ self.camera_SE3_lidar)[:3]
        return matrix


def raised(height_m: float) -> F64:
    """Pose of a level sensor at this height above the base origin."""
    pose = np.eye(4)
    pose[2, 3] = height_m
    return pose


def within_range(boxes: F64) -> Bool:
    """(N,) whether the centre lies within ``RANGE_M``."""
    inside: Bool = np.hypot(boxes[:, 0], boxes[:, 1]) <= RANGE_M
    return inside


def count_inside(points: F32, boxes: F64) -> I64:
    """(N,) points within each box."""
    counts = [int(points_in_box(points, box).sum()) for box in boxes]
    return np.array(counts, np.int64)


def _require(folder: Path, *parts: str) -> None:
    missing = [part for part in parts if not (folder / part).exists()]
    if missing:
        raise RecordingError(f"'{folder}' lacks {', '.join(missing)}: is this the right data set?", "missing")


def read_velodyne(file: Path, columns: int = 4) -> F32:
    """(P, 3) float32 points of a KITTI .bin file."""
    raw = np.fromfile(file, np.float32)
    if raw.size % columns:
        raise RecordingError(f"'{file}' holds {raw.size} numbers, not a multiple of {columns}: cut off?", "cut")
    points: F32 = raw.reshape(-1, columns)[:, :3]
    return points


def read_kitti_calibration(file: Path) -> KittiCalibration:
    """Read ``P2``, ``R0_rect`` and ``Tr_velo_to_cam`` of a KITTI object calibration file."""
    rows = {}
    for line in file.read_text().splitlines():
        name, _, numbers = line.partition(":")
        rows[name] = np.array(numbers.split(), float)
    try:
        p2, r0, tr = rows["P2"].reshape(3, 4), rows["R0_rect"].reshape(3, 3), rows["Tr_velo_to_cam"].reshape(3, 4)
    except (KeyError, ValueError) as exc:
        raise RecordingError(f"calibration '{file}' is not usable: {exc}", "calibration") from exc
    rectified, camera = np.eye(4), np.eye(4)
    rectified[:3, :3], camera[:3] = r0, tr
    return KittiCalibration(np.vstack([p2, [0, 0, 0, 1]]), rectified @ camera)


def project(points: F64, projection: F64) -> tuple[F64, F64]:
    """(N, 2) pixels and (N,) depths of (N, 3) points; depths <= 0 are behind the camera."""
    image = np.column_stack([points, np.ones(len(points))]) @ projection.T
    depth = image[:, 2]
    return image[:, :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[:, None], depth


def camera_region(projection_base: F64, size_px: tuple[int, int], ignored_px: F64 | None = None) -> Region:
    """Boxes within range whose centre is in the image, and not in one of the ``ignored_px`` rectangles."""

    def region(boxes: F64) -> Bool:
        pixel, depth = project(boxes[:, :3], projection_base)
        seen = (depth > 0.1) & np.all((pixel >= 0) & (pixel < size_px), axis=1)
        for x1, y1, x2, y2 in np.zeros((0, 4)) if ignored_px is None else ignored_px:
            seen &= ~np.all((pixel >= (x1, y1)) & (pixel <= (x2, y2)), axis=1)
        result: Bool = seen & within_range(boxes)
        return result

    return region


_KITTI_CLASS = {
    "Car": ObjectClass.CAR,
    "Van": ObjectClass.UNKNOWN,
    "Truck": ObjectClass.TRUCK,
    "Tram": ObjectClass.UNKNOWN,
    "Misc": ObjectClass.UNKNOWN,
    "Pedestrian": ObjectClass.PEDESTRIAN,
    "Person_sitting": ObjectClass.UNKNOWN,
    "Cyclist": ObjectClass.BICYCLE,
}


def _kitti_labels(file: Path, base_SE3_camera: F64) -> tuple[F64, I64, F64]:
    """Boxes (N, 7) in the base frame, classes (N,), and the rectangles to ignore (M, 4)."""
    boxes, classes, ignored = [], [], []
    for line in file.read_text().splitlines():
        name, *rest = line.split()
        v = [float(x) for x in rest]
        if name == "DontCare":
            ignored.append(v[3:7])
            continue
        height, width, length, x, y, z, ry = v[7:14]
        centre = base_SE3_camera @ (x, y - height / 2, z, 1.0)
        forward = base_SE3_camera[:3, :3] @ (np.cos(ry), 0.0, -np.sin(ry))
        boxes.append([*centre[:3], length, width, height, np.arctan2(forward[1], forward[0])])
        classes.append(int(_KITTI_CLASS.get(name, ObjectClass.UNKNOWN)))
    return np.array(boxes).reshape(-1, 7), np.array(classes, np.int64), np.array(ignored).reshape(-1, 4)


def _labelled_twice(boxes: F64, classes: I64) -> Bool:
    """(N,) whether an earlier box of the class lies on this one (overlap above 0.9): a slip of the labels."""
    same = (bev_iou(boxes, boxes) > 0.9) & (classes[:, None] == classes[None])
    twice: Bool = np.tril(same, -1).any(axis=1)
    return twice


def _reference(points_base: F32, boxes: F64, classes: I64, sensor: F64) -> tuple[Reference, Bool]:
    """The reference, and which labels would count if beams from ``sensor`` (3,) did not pass through them."""
    counted = within_range(boxes) & (count_inside(points_base, boxes) >= LEAST_POINTS)
    counted &= ~_labelled_twice(boxes, classes) & (classes != int(ObjectClass.UNKNOWN))
    vehicle = counted & np.isin(classes, (ObjectClass.CAR, ObjectClass.TRUCK))
    empty = np.zeros(len(boxes), bool)
    empty[vehicle] = seen_through(points_base, boxes[vehicle], sensor)
    return Reference(boxes, classes, counted & ~empty), empty


def in_base(points: F32, base_SE3_sensor: F64) -> F32:
    """(P, 3) points of the sensor's frame in the base frame."""
    pose = base_SE3_sensor.astype(np.float32)
    moved: F32 = points @ pose[:3, :3].T + pose[:3, 3]
    return moved


def kitti(root: Path) -> Iterator[Sweep]:
    """Labelled KITTI object frames: what camera 2 sees within 40 m."""
    import cv2

    _require(root, "velodyne", "label_2", "calib", "image_2")
    base_SE3_lidar = raised(KITTI_LIDAR_HEIGHT_M)
    for file in sorted((root / "velodyne").glob("*.bin")):
        calibration = read_kitti_calibration(root / "calib" / f"{file.stem}.txt")
        to_base = base_SE3_lidar @ np.linalg.inv(calibration.camera_SE3_lidar)
        boxes, classes, ignored = _kitti_labels(root / "label_2" / f"{file.stem}.txt", to_base)
        image = cv2.imread(str(root / "image_2" / f"{file.stem}.png"))
        size = (1242, 375) if image is None else (image.shape[1], image.shape[0])
        points = read_velodyne(file)
        region = camera_region(calibration.projection @ np.linalg.inv(base_SE3_lidar), size, ignored)
        reference, empty = _reference(in_base(points, base_SE3_lidar), boxes, classes, base_SE3_lidar[:3, 3])
        yield Sweep(file.stem, points, base_SE3_lidar, reference, region, empty)


def recorded(root: Path, least_score: float = 0.5) -> Iterator[Sweep]:
    """Front-view clouds with the boxes another detector gave; its boxes of at least ``least_score`` are the reference.

    Its weaker boxes excuse a detection but need not be found.
    """
    _require(root, "velodyne", "boxes_velo")
    base_SE3_lidar = raised(KITTI_LIDAR_HEIGHT_M)
    kinds = np.array([ObjectClass.CAR, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE], np.int64)
    for file in sorted((root / "velodyne").glob("*.bin")):
        rows = np.loadtxt(root / "boxes_velo" / f"{file.stem}.txt", ndmin=2).reshape(-1, 9)
        boxes = rows[:, :7].copy()
        boxes[:, 2] += KITTI_LIDAR_HEIGHT_M
        points = read_velodyne(file)
        classes, strong = kinds[rows[:, 7].astype(int)], rows[:, 8] >= least_score
        judged, empty = _reference(in_base(points, base_SE3_lidar), boxes, classes, base_SE3_lidar[:3, 3])
        reference = Reference(judged.boxes, judged.class_ids, judged.counted & strong)
        yield Sweep(file.stem, points, base_SE3_lidar, reference, within_range, empty & strong)


_AV2_CLASS: Mapping[str, ObjectClass] = {
    "REGULAR_VEHICLE": ObjectClass.CAR,
    **dict.fromkeys(
        (
            "LARGE_VEHICLE",
            "BUS",
            "BOX_TRUCK",
            "TRUCK",
            "TRUCK_CAB",
            "VEHICULAR_TRAILER",
            "SCHOOL_BUS",
            "ARTICULATED_BUS",
        ),
        ObjectClass.TRUCK,
    ),
    "PEDESTRIAN": ObjectClass.PEDESTRIAN,
    "BICYCLE": ObjectClass.BICYCLE,
    "BICYCLIST": ObjectClass.BICYCLE,
    "MOTORCYCLE": ObjectClass.BICYCLE,
    "MOTORCYCLIST": ObjectClass.BICYCLE,
}


def _av2_lidar(file: Path) -> F64:
    """(3,) the upper LiDAR in the ego frame; where it usually is without the file."""
    from pyarrow import feather

    if not file.is_file():
        return AV2_LIDAR_M
    table = feather.read_table(file)
    row = np.asarray(table["sensor_name"]).astype(str) == "up_lidar"
    place = np.array([np.asarray(table[name])[row] for name in ("tx_m", "ty_m", "tz_m")], np.float64)
    return place[:, 0] if row.any() else AV2_LIDAR_M


def av2(root: Path) -> Iterator[Sweep]:
    """Argoverse 2 sweeps of one log, full circle, in the ego frame (its own base frame)."""
    from pyarrow import feather

    _require(root, "annotations.feather", "sensors/lidar")
    table = feather.read_table(root / "annotations.feather")
    column = {name: np.asarray(table[name]) for name in table.column_names if name != "track_uuid"}
    sensor = _av2_lidar(root / "calibration" / "egovehicle_SE3_sensor.feather")
    for file in sorted((root / "sensors/lidar").glob("*.feather")):
        sweep = feather.read_table(file)
        points = np.column_stack([np.asarray(sweep[axis]).astype(np.float32) for axis in "xyz"])
        rows = column["timestamp_ns"] == int(file.stem)
        yaw = 2.0 * np.arctan2(column["qz"][rows], column["qw"][rows])
        names = ("tx_m", "ty_m", "tz_m", "length_m", "width_m", "height_m")
        boxes = np.column_stack([*(column[name][rows] for name in names), yaw]).astype(np.float64)
        known = [int(_AV2_CLASS.get(str(name), ObjectClass.UNKNOWN)) for name in column["category"][rows]]
        reference, empty = _reference(points, boxes, np.array(known, np.int64), sensor)
        yield Sweep(file.stem, points, np.eye(4), reference, within_range, empty)
