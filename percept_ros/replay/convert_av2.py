"""An Argoverse 2 log as a bag: LiDAR sweeps, odometry from ``city_SE3_egovehicle``, annotations as ground truth.

Sweeps are in the ``egovehicle`` frame (rear axle) and motion-compensated to their stamp by the data set, so per-point
times are left out: compensating twice would be wrong. ``base_link`` lies on the road below ``egovehicle``; ``odom``
is the base frame of the first pose, and /tf_static places it in the ``city`` frame.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.geometry import from_quaternion, inverse, se3, transform_boxes, yaw_of
from percept_ros.core.trajectory import interpolate_pose
from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.convert_kitti import BASE, FIXED, TRUTH_TOPIC, Progress
from percept_ros.replay.kitti_files import need
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.truth import LabelledFrame, truth_arrays
from percept_ros.types import F64, I64, ObjectClass, PointCloud

EGO = "egovehicle"
POINTS = "num_interior_pts"
AXLE_HEIGHT_M = 0.33
"""Of the rear axle, the origin of ``egovehicle``, above the road."""
CLASSES = {
    "REGULAR_VEHICLE": ObjectClass.CAR,
    "LARGE_VEHICLE": ObjectClass.TRUCK,
    "BOX_TRUCK": ObjectClass.TRUCK,
    "TRUCK": ObjectClass.TRUCK,
    "TRUCK_CAB": ObjectClass.TRUCK,
    "VEHICULAR_TRAILER": ObjectClass.TRAILER,
    "BUS": ObjectClass.BUS,
    "SCHOOL_BUS": ObjectClass.BUS,
    "ARTICULATED_BUS": ObjectClass.BUS,
    "MOTORCYCLE": ObjectClass.MOTORCYCLE,
    "MOTORCYCLIST": ObjectClass.MOTORCYCLE,
    "BICYCLE": ObjectClass.BICYCLE,
    "BICYCLIST": ObjectClass.BICYCLE,
    "PEDESTRIAN": ObjectClass.PEDESTRIAN,
}
"""Category -> class; all others (bollards, cones, signs, strollers, animals) are UNKNOWN."""

Columns = dict[str, Any]


def read_feather(file: Path, columns: tuple[str, ...]) -> Columns:
    """Column name -> array (lists of text for text columns). Raises RecordingError."""
    import pyarrow
    from pyarrow import feather

    try:
        table = feather.read_table(need(file, "file"), columns=list(columns))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError, OSError) as exc:
        raise RecordingError(f"'{file}' is not a feather file with {', '.join(columns)}: {exc}") from exc
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise RecordingError(f"'{file}' lacks the columns {', '.join(missing)}")
    return {name: _column(table[name]) for name in columns}


def _column(column: Any) -> Any:
    import pyarrow

    return column.to_pylist() if pyarrow.types.is_string(column.type) else column.to_numpy()


def base_SE3_ego() -> F64:
    """The ``egovehicle`` frame in the base frame."""
    return se3(np.eye(3), (0.0, 0.0, AXLE_HEIGHT_M))


def read_poses(root: Path) -> tuple[I64, F64, F64]:
    """(T,) stamps, (T, 4, 4) ``odom_SE3_base`` and (4, 4) ``city_SE3_odom``. Raises RecordingError."""
    names = ("timestamp_ns", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
    rows = read_feather(root / "city_SE3_egovehicle.feather", names)
    if not len(rows["timestamp_ns"]):
        raise RecordingError(f"'{root / 'city_SE3_egovehicle.feather'}' holds no pose")
    order = np.argsort(rows["timestamp_ns"], kind="stable")
    city_SE3_base = _poses(rows)[order] @ inverse(base_SE3_ego())
    odom_SE3_base: F64 = inverse(city_SE3_base[0]) @ city_SE3_base
    return np.asarray(rows["timestamp_ns"][order], np.int64), odom_SE3_base, city_SE3_base[0]


def _poses(rows: Columns) -> F64:
    turns = np.stack([rows["qx"], rows["qy"], rows["qz"], rows["qw"]], axis=1)
    return from_quaternion(turns, np.stack([rows["tx_m"], rows["ty_m"], rows["tz_m"]], axis=1))


def read_truth(root: Path) -> list[LabelledFrame]:
    """Annotations by stamp, boxes in the base frame; without ego poses yet."""
    size = ("length_m", "width_m", "height_m")
    names = ("timestamp_ns", "track_uuid", "category", *size, "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m", POINTS)
    rows = read_feather(root / "annotations.feather", names)
    poses = _poses(rows)
    boxes_ego = np.column_stack([poses[:, :3, 3], rows["length_m"], rows["width_m"], rows["height_m"], yaw_of(poses)])
    boxes = transform_boxes(base_SE3_ego(), boxes_ego)
    frames = []
    for stamp_ns in np.unique(rows["timestamp_ns"]):
        chosen = np.flatnonzero(rows["timestamp_ns"] == stamp_ns)
        ids = tuple(rows["track_uuid"][i] for i in chosen)
        classes = tuple(CLASSES.get(rows["category"][i], ObjectClass.UNKNOWN) for i in chosen)
        seen = tuple(bool(rows[POINTS][i] > 0) for i in chosen)
        frames.append(LabelledFrame(int(stamp_ns), ids, boxes[chosen], classes, None, seen))
    return frames


def pose_at(stamps_ns: I64, poses: F64, at_ns: int) -> F64:
    """(4, 4) pose at ``at_ns``, clamped to the recording's ends."""
    left = int(np.clip(np.searchsorted(stamps_ns, at_ns, side="right") - 1, 0, max(0, len(stamps_ns) - 2)))
    right = min(left + 1, len(stamps_ns) - 1)
    span = max(1, int(stamps_ns[right] - stamps_ns[left]))
    share = float(np.clip((at_ns - int(stamps_ns[left])) / span, 0.0, 1.0))
    return interpolate_pose(poses[left], poses[right], share)


def convert_av2(root: Path, bag: BagWriter, progress: Progress) -> None:
    """A log folder: ``sensors/lidar/*.feather``, ``annotations.feather``, ``city_SE3_egovehicle.feather``."""
    stamps_ns, poses, city_SE3_odom = read_poses(root)
    sweeps = {int(file.stem): file for file in sorted(need(root / "sensors" / "lidar", "folder").glob("*.feather"))}
    if not sweeps:
        raise RecordingError(f"folder '{root / 'sensors' / 'lidar'}' holds no sweep")
    first_ns = int(min(stamps_ns[0], min(sweeps)))
    bag.tf_static(
        [
            StampedTransform(first_ns, "city", FIXED, city_SE3_odom),
            StampedTransform(first_ns, BASE, EGO, base_SE3_ego()),
        ]
    )
    truth = _truth_by_stamp(root, stamps_ns, poses)
    events = [(int(at), 0, i) for i, at in enumerate(stamps_ns)]
    events += [(at, 1, i) for i, at in enumerate(sweeps)] + [(at, 2, i) for i, at in enumerate(truth)]
    arrays, files = list(truth.values()), list(sweeps.values())
    for done, (at, kind, i) in enumerate(sorted(events), 1):
        if kind == 0:
            _write_ego(bag, at, i, stamps_ns, poses)
        elif kind == 1:
            _write_sweep(bag, files[i], at)
        else:
            bag.tracks(TRUTH_TOPIC, arrays[i])
        progress(done, len(events))


def _truth_by_stamp(root: Path, stamps_ns: I64, poses: F64) -> dict[int, Any]:
    if not (root / "annotations.feather").is_file():  # the test split has none
        return {}
    placed = [dataclasses.replace(f, fixed_SE3_base=pose_at(stamps_ns, poses, f.stamp_ns)) for f in read_truth(root)]
    return {array.tracks.stamp_ns: array for array in truth_arrays(placed, BASE, FIXED)}


def _write_ego(bag: BagWriter, at: int, i: int, stamps_ns: I64, poses: F64) -> None:
    before, after = max(0, i - 1), min(len(poses) - 1, i + 1)
    span_s = max(1, int(stamps_ns[after] - stamps_ns[before])) / 1e9
    moved = inverse(poses[before]) @ poses[after]
    velocity = poses[i][:3, :3].T @ (poses[after][:3, 3] - poses[before][:3, 3]) / span_s
    transform = StampedTransform(at, FIXED, BASE, poses[i])
    bag.odometry("/odom", transform, velocity.tolist(), float(yaw_of(moved)) / span_s)
    bag.tf([transform])


def _write_sweep(bag: BagWriter, file: Path, stamp_ns: int) -> None:
    rows = read_feather(file, ("x", "y", "z", "intensity", "laser_number"))
    points = np.stack([rows["x"], rows["y"], rows["z"]], axis=1).astype(np.float32)
    intensity = rows["intensity"].astype(np.float32) / np.float32(255.0)
    ring = rows["laser_number"].astype(np.uint16)
    bag.cloud("/lidar/points", PointCloud("lidar", stamp_ns, EGO, points, intensity, ring))
