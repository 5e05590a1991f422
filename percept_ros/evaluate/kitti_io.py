"""KITTI tracking files: labels, detections, calibration, ego motion; and results in the benchmark's format.

The base frame here is the rectified camera 0 with its axes renamed: x forward (camera z), y left (-x), z up (-y). Boxes
are ``[x, y, z, l, w, h, yaw]`` with the centre of the box; the camera's y is the bottom centre.
Source: KITTI tracking development kit; oxts: KITTI raw development kit (Mercator projection).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.errors import RecordingError
from percept_ros.types import F64, I64, Bool, CameraView, camera_bit

CAMERA_SE3_BASE = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""(4, 4) rectified camera 0 from the base frame."""

_IMAGE_SIZES = {721.5377: (1242, 375), 718.856: (1241, 376), 707.0493: (1226, 370), 718.3351: (1238, 374)}
"""Focal length of P2 in pixels -> image size of that recording day."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Ground truth rows of one sequence.

    frames, track_ids, truncation, occlusion: (N,) int64. kinds: (N,) str, lower case. boxes_px: (N, 4). boxes: (N, 7) base
    frame (NaN for DontCare).
    """

    frames: I64
    track_ids: I64
    kinds: tuple[str, ...]
    truncation: I64
    occlusion: I64
    boxes_px: F64
    boxes: F64


@dataclass(frozen=True, slots=True)
class Boxes3D:
    """Detections of one class: frames (N,), boxes (N, 7) base frame, raw scores (N,); frames ascend."""

    frames: I64
    boxes: F64
    scores: F64


@dataclass(frozen=True, slots=True)
class Boxes2D:
    """Camera detections of one class: frames (N,), boxes_px (N, 4), scores (N,); frames ascend."""

    frames: I64
    boxes_px: F64
    scores: F64


@dataclass(frozen=True, slots=True)
class Calibration:
    """view: colour camera 2 seen from the base frame. imu_SE3_base: (4, 4)."""

    view: CameraView
    imu_SE3_base: F64


def boxes_from_camera(hwl: F64, bottom_camera: F64, ry: F64) -> F64:
    """(N, 7) base-frame boxes from KITTI's height, width, length (N, 3), bottom centre (N, 3) and ry (N,)."""
    h, w, length = hwl.T
    x, y, z = bottom_camera.T
    yaw = np.arctan2(-np.cos(ry), -np.sin(ry))
    return np.stack([z, -x, -y + h / 2, length, w, h, yaw], axis=1)


def camera_from_boxes(boxes: F64) -> tuple[F64, F64, F64]:
    """Inverse of ``boxes_from_camera``: hwl (N, 3), bottom centre (N, 3), ry (N,) in (-pi, pi]."""
    x, y, z, length, w, h, yaw = boxes.T
    ry = np.arctan2(-np.cos(yaw), -np.sin(yaw))
    return np.stack([h, w, length], axis=1), np.stack([-y, -z + h / 2, x], axis=1), ry


def read_labels(path: Path) -> Labels:
    """Read ``label_02/NNNN.txt``. Raises RecordingError."""
    rows = [line.split() for line in _text(path).splitlines() if line.strip()]
    if any(len(row) < 17 for row in rows):
        raise RecordingError(f"label file '{path}' has rows with fewer than 17 fields")
    numbers = np.array([[*row[:2], *row[3:17]] for row in rows], np.float64).reshape(-1, 16)
    kinds = tuple(row[2].lower() for row in rows)
    boxes = boxes_from_camera(numbers[:, 9:12], numbers[:, 12:15], numbers[:, 15])
    boxes[[k == "dontcare" for k in kinds]] = np.nan
    whole = numbers[:, :4].astype(np.int64)
    return Labels(whole[:, 0], whole[:, 1], kinds, whole[:, 2], whole[:, 3], numbers[:, 5:9], boxes)


def read_boxes_3d(path: Path) -> Boxes3D:
    """Read ``frame,type,x1,y1,x2,y2,score,h,w,l,x,y,z,ry,alpha`` rows; a missing file is no detections."""
    rows = _rows(path, 15)
    boxes = boxes_from_camera(rows[:, 7:10], rows[:, 10:13], rows[:, 13])
    return Boxes3D(rows[:, 0].astype(np.int64), boxes, rows[:, 6].copy())


def read_boxes_2d(path: Path) -> Boxes2D:
    """Read ``frame,x1,y1,x2,y2,score`` rows; a missing file is no detections."""
    rows = _rows(path, 6)
    return Boxes2D(rows[:, 0].astype(np.int64), rows[:, 1:5].copy(), rows[:, 5].copy())


def read_calibration(path: Path) -> Calibration:
    """Read ``calib/NNNN.txt`` (either spelling of its keys). Raises RecordingError."""
    table = {}
    for line in _text(path).splitlines():
        key, *values = line.replace(":", " ").split() or [""]
        if len(values) in (9, 12):
            table[key.lower()] = np.array(values, np.float64)
    try:
        p2 = table["p2"].reshape(3, 4)
        rotation = np.eye(4)
        rotation[:3, :3] = _first(table, "r0_rect", "r_rect").reshape(3, 3)
        camera_SE3_imu = rotation @ _rigid(_first(table, "tr_velo_to_cam", "tr_velo_cam"))
        camera_SE3_imu = camera_SE3_imu @ _rigid(_first(table, "tr_imu_to_velo", "tr_imu_velo"))
    except KeyError as exc:
        raise RecordingError(f"calibration '{path}' lacks {exc}") from exc
    focal = min(_IMAGE_SIZES, key=lambda f: abs(f - p2[0, 0]))
    view = CameraView("image_02", camera_bit(0), p2, np.linalg.inv(CAMERA_SE3_BASE), *_IMAGE_SIZES[focal])
    return Calibration(view, np.linalg.inv(camera_SE3_imu) @ CAMERA_SE3_BASE)


def read_poses(folder: Path, sequence: str) -> F64 | None:
    """(N, 4, 4) pose of the inertial unit, the first at the origin; None when there is no file.

    ``NNNN.txt`` holds oxts packets (30 numbers a line) or poses (12 or 16 numbers); ``NNNN.json`` holds (N, 4, 4) poses.
    """
    if (file := folder / f"{sequence}.json").exists():
        rows = np.array(json.loads(file.read_text(encoding="utf-8")), np.float64)
        rows = rows.reshape(len(rows), -1)
    elif (file := folder / f"{sequence}.txt").exists():
        rows = np.array([line.split() for line in _text(file).splitlines() if line.strip()], np.float64)
    else:
        return None
    if rows.ndim == 2 and rows.shape[1] in (12, 16):
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3] = rows[:, :12].reshape(-1, 3, 4)
        return poses
    if rows.ndim != 2 or rows.shape[1] < 6:
        raise RecordingError(f"ego motion '{file}' has {rows.shape} numbers, expected 30, 12 or 16 a line")
    return poses_from_oxts(rows)


def poses_from_oxts(packets: F64) -> F64:
    """(N, 4, 4) poses from latitude, longitude (degrees), altitude (m), roll, pitch, yaw (rad) in the first six columns."""
    radius = 6378137.0
    lat, lon, alt, roll, pitch, yaw = packets[:, :6].T
    scale = np.cos(np.radians(lat[0]))
    poses = np.tile(np.eye(4), (len(packets), 1, 1))
    poses[:, 0, 3] = scale * radius * np.radians(lon)
    poses[:, 1, 3] = scale * radius * np.log(np.tan(np.pi / 4 + np.radians(lat) / 2))
    poses[:, 2, 3] = alt
    poses[:, :3, 3] -= poses[0, :3, 3].copy()
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
    poses[:, 0, :3] = np.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], axis=1)
    poses[:, 1, :3] = np.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], axis=1)
    poses[:, 2, :3] = np.stack([-sp, cp * sr, cp * cr], axis=1)
    return poses


def project_boxes(boxes: F64, projection_base: F64, width_px: int, height_px: int) -> tuple[F64, Bool]:
    """2D boxes of the projected corners of 3D boxes.

    boxes: (N, 7) base frame. Returns (N, 4) x1, y1, x2, y2 clipped to the image, and (N,) whether any of it is in view.
    Corners behind the camera are moved to 0.1 m in front of it.
    """
    signs = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    local = signs[None] * boxes[:, None, 3:6]
    c, s = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    x, y = c * local[..., 0] - s * local[..., 1], s * local[..., 0] + c * local[..., 1]
    corners = np.stack([x, y, local[..., 2]], axis=-1) + boxes[:, None, :3]
    pixels = corners @ projection_base[:, :3].T + projection_base[:, 3]
    front = (pixels[..., 2] > 0.1).any(axis=1)
    uv = pixels[..., :2] / np.maximum(pixels[..., 2:], 0.1)
    limit = np.array([width_px - 1.0, height_px - 1.0])
    low, high = np.clip(uv.min(axis=1), 0, limit), np.clip(uv.max(axis=1), 0, limit)
    return np.hstack([low, high]), front & (high > low).all(axis=1)


def result_rows(
    kind: str, frames: I64, numbers: I64, boxes: F64, boxes_px: F64, scores: F64
) -> list[tuple[tuple[int, int], str]]:
    """One line of the benchmark's result format a row, keyed by (frame, number) for sorting."""
    hwl, bottom, ry = camera_from_boxes(boxes)
    alpha = ry - np.arctan2(bottom[:, 0], bottom[:, 2])
    alpha = np.arctan2(np.sin(alpha), np.cos(alpha))
    numeric = np.column_stack([alpha, boxes_px, hwl, bottom, ry, scores])
    return [
        ((int(f), int(n)), f"{f} {n} {kind} 0 0 " + " ".join(f"{v:.6f}" for v in row))
        for f, n, row in zip(frames.tolist(), numbers.tolist(), numeric.tolist(), strict=True)
    ]


def write_results(path: Path, rows: Iterable[tuple[tuple[int, int], str]]) -> None:
    """Write ``NNNN.txt`` of results, sorted by frame and track."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for _, line in sorted(rows)), encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise RecordingError(f"'{path}' cannot be read: {exc}") from exc


def _rows(path: Path, width: int) -> F64:
    if not path.exists():
        return np.zeros((0, width))
    try:
        rows = np.array([line.split(",") for line in _text(path).split()], np.float64).reshape(-1, width)
    except ValueError as exc:
        raise RecordingError(f"'{path}' must hold rows of {width} numbers: {exc}") from exc
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _first(table: dict[str, F64], *names: str) -> F64:
    return table[next((name for name in names if name in table), names[0])]


def _rigid(values: F64) -> F64:
    return np.vstack([values.reshape(3, 4), [0.0, 0, 0, 1]])
