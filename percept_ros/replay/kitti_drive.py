"""Where the files of a KITTI drive lie: the short layout, or the original one of a raw drive."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.errors import RecordingError
from percept_ros.replay.kitti_files import (
    KittiCalibration,
    OxtsPoses,
    calibration_of_matrices,
    first_row,
    need,
    parse_oxts,
    read_calibration,
    read_rows,
)
from percept_ros.types import F64

EPOCH_NS = 1_316_995_200_000_000_000
"""2011-09-26 00:00 UTC, the day of most recordings: a stamp of zero means "no stamp" in ROS."""
PERIOD_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class DriveFiles:
    """Files of one drive. images: frame name -> file. stamps_ns: of each scan. oxts: one row a scan, or None."""

    scans: tuple[Path, ...]
    images: dict[str, Path]
    stamps_ns: tuple[int, ...]
    calibration: KittiCalibration
    oxts: OxtsPoses | None


def find_drive(root: Path) -> DriveFiles:
    """``velodyne``, ``image_02``, ``calib`` (short layout, 10 Hz, no clock), or ``velodyne_points/data`` and so on (raw).

    Raises RecordingError naming the missing file.
    """
    return _find_raw(root) if (root / "velodyne_points").is_dir() else _find_short(root)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Files by name. Raises RecordingError when there are none."""
    files = sorted(need(folder, "folder").glob(pattern))
    if not files:
        raise RecordingError(f"folder '{folder}' holds no {pattern}")
    return files


def _find_short(root: Path) -> DriveFiles:
    calibration = read_calibration(root / "calib" / "calib.txt")
    scans = files_in(root / "velodyne", "*.bin")
    stamps = tuple(EPOCH_NS + _number(scan) * PERIOD_NS for scan in scans)
    images = {file.stem: file for file in files_in(root / "image_02", "*.png")}
    return DriveFiles(tuple(scans), images, stamps, calibration, None)


def _number(file: Path) -> int:
    try:
        return int(file.stem)
    except ValueError as exc:
        raise RecordingError(f"file '{file}' should be named by its frame number") from exc


def _find_raw(root: Path) -> DriveFiles:
    """Some raw drives lack single scans: stamps are taken by frame number, not by position."""
    scans = files_in(root / "velodyne_points" / "data", "*.bin")
    every_stamp = _timestamps(root / "velodyne_points" / "timestamps.txt")
    numbers = [_number(scan) for scan in scans]
    if max(numbers) >= len(every_stamp):
        raise RecordingError(f"scan {max(numbers)} of '{root}' has no line in velodyne_points/timestamps.txt")
    images = {file.stem: file for file in files_in(root / "image_02" / "data", "*.png")}
    stamps = tuple(every_stamp[number] for number in numbers)
    return DriveFiles(tuple(scans), images, stamps, _raw_calibration(root.resolve().parent), _raw_oxts(root, scans))


def _timestamps(file: Path) -> list[int]:
    """Lines such as 2011-09-26 13:02:25.964389445, UTC."""
    stamps = []
    for number, line in enumerate(need(file, "time stamps").read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        whole, _, fraction = line.strip().partition(".")
        try:
            moment = datetime.datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
            stamps.append(int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9]))
        except ValueError as exc:
            raise RecordingError(f"line {number} of '{file}' is no time stamp: {line[:40]!r}") from exc
    return stamps


def _raw_calibration(day: Path) -> KittiCalibration:
    """From the three calibration files in the folder of the day."""
    cameras = read_rows(day / "calib_cam_to_cam.txt")
    imu_file = day / "calib_imu_to_velo.txt"
    return calibration_of_matrices(
        first_row(cameras, day / "calib_cam_to_cam.txt", "R_rect_00"),
        first_row(cameras, day / "calib_cam_to_cam.txt", "P_rect_02"),
        _raw_transform(day / "calib_velo_to_cam.txt"),
        _raw_transform(imu_file) if imu_file.is_file() else None,
    )


def _raw_transform(file: Path) -> F64:
    rows = read_rows(file)
    return np.hstack([first_row(rows, file, "R").reshape(3, 3), first_row(rows, file, "T").reshape(3, 1)])


def _raw_oxts(root: Path, scans: list[Path]) -> OxtsPoses | None:
    folder = root / "oxts" / "data"
    if not folder.is_dir():
        return None
    lines = [need(folder / f"{scan.stem}.txt", "GPS/IMU file").read_text(encoding="utf-8").strip() for scan in scans]
    return parse_oxts(lines, str(folder))
