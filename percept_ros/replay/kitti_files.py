"""Parsers of the KITTI data sets' text and binary files (Geiger et al., CVPR 2012 and IJRR 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.core.geometry import inverse, se3
from percept_ros.errors import RecordingError
from percept_ros.types import F32, F64, ObjectClass

VELODYNE_HEIGHT_M = 1.73
"""Of the scanner above the road (Geiger 2013, figure 3): the base frame lies that much below it."""
EARTH_RADIUS_M = 6378137.0
CLASSES = {
    "Car": ObjectClass.CAR,
    "Van": ObjectClass.CAR,
    "Truck": ObjectClass.TRUCK,
    "Pedestrian": ObjectClass.PEDESTRIAN,
    "Person": ObjectClass.PEDESTRIAN,
    "Person_sitting": ObjectClass.PEDESTRIAN,
    "Cyclist": ObjectClass.BICYCLE,
    "Tram": ObjectClass.UNKNOWN,
    "Misc": ObjectClass.UNKNOWN,
}
"""Label type -> class; DontCare regions have no box and are left out."""


@dataclass(frozen=True, slots=True)
class KittiCalibration:
    """Calibration of colour camera 2 and the velodyne.

    K: (3, 3) pixels of the rectified camera. camera_SE3_velo: velodyne in the optical frame of rectified camera 2.
    rect_SE3_velo: velodyne in the rectified camera-0 frame, in which labels are given. velo_SE3_imu: or None.
    """

    K: F64
    camera_SE3_velo: F64
    rect_SE3_velo: F64
    velo_SE3_imu: F64 | None

    @property
    def base_SE3_velo(self) -> F64:
        """The base frame: below the velodyne, on the road, with the velodyne's axes."""
        return se3(np.eye(3), (0.0, 0.0, VELODYNE_HEIGHT_M))

    @property
    def base_SE3_camera(self) -> F64:
        """Optical frame of camera 2 in the base frame."""
        pose: F64 = self.base_SE3_velo @ inverse(self.camera_SE3_velo)
        return pose

    @property
    def base_SE3_rect(self) -> F64:
        """Rectified camera-0 frame in the base frame."""
        pose: F64 = self.base_SE3_velo @ inverse(self.rect_SE3_velo)
        return pose


def need(path: Path, what: str) -> Path:
    """``path`` itself. Raises RecordingError when it is not there."""
    if not path.exists():
        raise RecordingError(f"{what} '{path}' is missing: is this the right folder and data set?")
    return path


def read_calibration(file: Path) -> KittiCalibration:
    """Read a calib file (object, tracking or combined raw form). Raises RecordingError."""
    rows = read_rows(file)
    velo = first_row(rows, file, "Tr_velo_to_cam", "Tr_velo_cam").reshape(3, 4)
    imu = rows.get("Tr_imu_to_velo", rows.get("Tr_imu_velo"))
    rotation, P2 = first_row(rows, file, "R0_rect", "R_rect"), first_row(rows, file, "P2")
    return calibration_of_matrices(rotation, P2, velo, None if imu is None else imu.reshape(3, 4))


def calibration_of_matrices(rotation: F64, P2: F64, cam_SE3_velo: F64, velo_SE3_imu: F64 | None) -> KittiCalibration:
    """From the rectifying rotation (9,), the projection P2 (12,) and (3, 4) transforms."""
    rect_SE3_velo = se3(rotation.reshape(3, 3)) @ _square(cam_SE3_velo)
    projection = P2.reshape(3, 4)
    K = projection[:, :3]
    camera_SE3_rect = se3(np.eye(3), np.linalg.solve(K, projection[:, 3]))
    imu = None if velo_SE3_imu is None else _square(velo_SE3_imu)
    return KittiCalibration(K, camera_SE3_rect @ rect_SE3_velo, rect_SE3_velo, imu)


def _square(transform: F64) -> F64:
    """(4, 4) of (3, 4)."""
    return np.vstack([transform, [0.0, 0.0, 0.0, 1.0]])


def read_rows(file: Path) -> dict[str, F64]:
    """Name -> numbers of each ``name: numbers`` line; other lines are passed over. Raises RecordingError."""
    rows: dict[str, F64] = {}
    for line in need(file, "calibration").read_text(encoding="utf-8").splitlines():
        name, _, values = line.strip().replace(":", " ").partition(" ")
        try:
            rows[name] = np.array(values.split(), np.float64)
        except ValueError:
            continue  # dates and other text of the raw form
    return rows


def first_row(rows: dict[str, F64], file: Path, *names: str) -> F64:
    """The first of ``names`` that is there. Raises RecordingError."""
    for name in names:
        if name in rows and rows[name].size in (3, 9, 12):
            return rows[name]
    raise RecordingError(f"calibration '{file}' lacks {names[0]}: expected a KITTI calib file")


def read_scan(file: Path) -> tuple[F32, F32]:
    """(P, 3) points and (P,) reflectance in [0, 1] of a velodyne .bin. Raises RecordingError when it is cut."""
    size = need(file, "velodyne scan").stat().st_size
    if size % 16:
        raise RecordingError(f"velodyne scan '{file}' has {size} bytes, not a multiple of 16: it is cut")
    scan = np.fromfile(file, np.float32).reshape(-1, 4)
    return scan[:, :3], np.clip(scan[:, 3], 0.0, 1.0)


def boxes_in_base(fields: F64, base_SE3_rect: F64) -> F64:
    """(N, 7) boxes in the base frame of (N, 7) label columns h w l x y z ry (bottom centre, rectified camera 0)."""
    height, width, length = fields[:, 0], fields[:, 1], fields[:, 2]
    centre = fields[:, 3:6] - np.stack([np.zeros_like(height), 0.5 * height, np.zeros_like(height)], axis=1)
    heading = np.stack([np.cos(fields[:, 6]), np.zeros_like(height), -np.sin(fields[:, 6])], axis=1)
    moved = centre @ base_SE3_rect[:3, :3].T + base_SE3_rect[:3, 3]
    ahead = heading @ base_SE3_rect[:3, :3].T
    return np.column_stack([moved, length, width, height, np.arctan2(ahead[:, 1], ahead[:, 0])])


@dataclass(frozen=True, slots=True)
class KittiLabels:
    """Labels of one frame. ids: track numbers (-1 in the object set). fields: (N, 7) h w l x y z ry."""

    ids: tuple[int, ...]
    kinds: tuple[str, ...]
    fields: F64


def parse_labels(lines: list[str], *, tracking: bool, where: str) -> dict[int, KittiLabels]:
    """Frame number -> labels (object set: frame 0). DontCare is left out. Raises RecordingError."""
    skip, found = (2 if tracking else 0), {}
    gathered: dict[int, list[tuple[int, str, list[float]]]] = {}
    for number, line in enumerate(lines, 1):
        parts = line.split()
        try:
            if not parts or parts[skip] == "DontCare":
                continue
            frame, track = (int(parts[0]), int(parts[1])) if tracking else (0, -1)
            values = [float(v) for v in parts[skip + 8 : skip + 15]]
        except (ValueError, IndexError):
            values = []
        if len(values) != 7:
            raise RecordingError(f"label line {number} of '{where}' has no 3D box: {line[:60]!r}")
        gathered.setdefault(frame, []).append((track, parts[skip], values))
    for frame, rows in gathered.items():
        ids, kinds, fields = zip(*rows, strict=True)
        found[frame] = KittiLabels(ids, kinds, np.array(fields))
    return found


@dataclass(frozen=True, slots=True)
class OxtsPoses:
    """Ego motion. world_SE3_imu: (F, 4, 4). velocity_mps: (F, 3) and rate_radps: (F, 3) in the IMU frame."""

    world_SE3_imu: F64
    velocity_mps: F64
    rate_radps: F64


def parse_oxts(lines: list[str], where: str) -> OxtsPoses:
    """Poses of GPS/IMU lines by Mercator projection at the first latitude (as the KITTI development kit does)."""
    try:
        rows = np.array([[float(v) for v in line.split()[:23]] for line in lines if line.strip()])
    except ValueError as exc:
        raise RecordingError(f"GPS/IMU file '{where}' holds something that is not a number: {exc}") from exc
    if rows.ndim != 2 or rows.shape[1] != 23:
        raise RecordingError(f"GPS/IMU file '{where}' has lines of unequal length, expected 30 numbers a line")
    scale = np.cos(np.radians(rows[0, 0]))
    east = scale * EARTH_RADIUS_M * np.radians(rows[:, 1])
    north = scale * EARTH_RADIUS_M * np.log(np.tan(np.radians(90.0 + rows[:, 0]) / 2.0))
    rotation = np.stack([_rotation(*angles) for angles in rows[:, 3:6]])
    poses = se3(rotation, np.stack([east, north, rows[:, 2]], axis=1))
    return OxtsPoses(poses, rows[:, 8:11], rows[:, 20:23])


def _rotation(roll: float, pitch: float, yaw: float) -> F64:
    """(3, 3) rotation Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (roll, pitch, yaw))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
