"""Rigid transforms, oriented boxes and their projection into images (REP-103 axes).

``a_SE3_b`` is the (4, 4) float64 transform that takes points of frame ``b`` into frame ``a``; quaternions are x, y, z, w.
All functions take and give arrays with any number of leading axes unless a shape is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import CalibrationError
from percept_ros.types import F64, Bool

Floats = npt.NDArray[np.floating[Any]]

NEAR_M = 0.1
"""Nearest depth in front of a camera at which boxes are cut off."""

_CORNER_SIGNS = np.array(
    [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]], np.float64
)
BOX_EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]], np.int64
)
"""(12, 2) corner numbers of each edge of ``box_corners``."""


def wrap_angle(angle_rad: npt.ArrayLike) -> F64:
    """Same angle in (-pi, pi], radians."""
    wrapped = np.pi - np.mod(np.pi - np.asarray(angle_rad, np.float64), 2.0 * np.pi)
    return np.where(wrapped <= -np.pi, np.pi, wrapped)


def rotation_z(yaw_rad: npt.ArrayLike) -> F64:
    """(..., 3, 3) rotation about z."""
    yaw = np.asarray(yaw_rad, np.float64)
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack([c, -s, o, s, c, o, o, o, i], axis=-1).reshape(*yaw.shape, 3, 3)


def se3(rotation: npt.ArrayLike, translation_m: npt.ArrayLike = (0.0, 0.0, 0.0)) -> F64:
    """(..., 4, 4) transform of a (..., 3, 3) rotation and a (..., 3) translation."""
    rot, shift = np.asarray(rotation, np.float64), np.asarray(translation_m, np.float64)
    out = np.zeros((*np.broadcast_shapes(rot.shape[:-2], shift.shape[:-1]), 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = rot, shift, 1.0
    return out


def from_yaw(yaw_rad: npt.ArrayLike, translation_m: npt.ArrayLike = (0.0, 0.0, 0.0)) -> F64:
    """(..., 4, 4) transform that turns by ``yaw_rad`` about z, then moves."""
    return se3(rotation_z(yaw_rad), translation_m)


def from_quaternion(xyzw: npt.ArrayLike, translation_m: npt.ArrayLike = (0.0, 0.0, 0.0)) -> F64:
    """(..., 4, 4) transform of (..., 4) quaternions (normalised here) and (..., 3) translations.

    Raises CalibrationError for a quaternion that is zero or not finite (nothing stands for "no rotation" but 0 0 0 1).
    """
    return se3(rotation_from_quaternion(xyzw), translation_m)


def rotation_from_quaternion(xyzw: npt.ArrayLike) -> F64:
    """(..., 3, 3) rotation of (..., 4) quaternions. Raises CalibrationError for zero or non-finite ones."""
    quat = np.asarray(xyzw, np.float64)
    norm = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-6):
        raise CalibrationError(f"quaternion {quat.tolist()} is no rotation: send a unit x y z w", "bad_quaternion")
    x, y, z, w = np.moveaxis(quat / norm, -1, 0)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack(rows, axis=-1).reshape(*quat.shape[:-1], 3, 3)


def to_quaternion(transform: npt.ArrayLike) -> F64:
    """(..., 4) unit quaternion x, y, z, w with w >= 0 of (..., 3, 3) rotations or (..., 4, 4) transforms.

    Source: Bar-Itzhack 2000, in the four-branch form of Shepperd 1978: the largest of the squared parts is the pivot.
    """
    m = np.asarray(transform, np.float64)[..., :3, :3]
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = [
        *(1 + xx - yy - zz, xy, xz, wx),
        *(xy, 1 - xx + yy - zz, yz, wy),
        *(xz, yz, 1 - xx - yy + zz, wz),
        *(wx, wy, wz, 1 + xx + yy + zz),
    ]
    candidates = np.stack(rows, axis=-1).reshape(*m.shape[:-2], 4, 4)
    best = np.argmax(np.diagonal(candidates, axis1=-2, axis2=-1), axis=-1)
    quat = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    signed: F64 = np.where(quat[..., 3:] < 0.0, -quat, quat)
    return signed


def inverse(a_SE3_b: npt.ArrayLike) -> F64:
    """(..., 4, 4) ``b_SE3_a``."""
    t = np.asarray(a_SE3_b, np.float64)
    turned = np.swapaxes(t[..., :3, :3], -1, -2)
    return se3(turned, -(turned @ t[..., :3, 3:])[..., 0])


def compose(*transforms: npt.ArrayLike) -> F64:
    """``compose(a_SE3_b, b_SE3_c, ...)``: the product from left to right; identity when empty."""
    out = np.eye(4)
    for item in transforms:
        out = out @ np.asarray(item, np.float64)
    return out


def check_rigid(a_SE3_b: npt.ArrayLike, name: str = "transform") -> F64:
    """The (4, 4) transform itself. Raises CalibrationError unless it is finite and a rotation with a translation."""
    t = np.asarray(a_SE3_b, np.float64)
    if t.size != 16 or not np.all(np.isfinite(t)):
        raise CalibrationError(f"{name} must be 16 finite numbers, got {t.ravel().tolist()}", "bad_extrinsic")
    t = t.reshape(4, 4)
    off = np.abs(t[:3, :3] @ t[:3, :3].T - np.eye(3)).max()
    if off > 1e-3 or np.linalg.det(t[:3, :3]) < 0.0 or np.abs(t[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise CalibrationError(
            f"{name} is no rotation with a translation (row major 4 x 4): {t.tolist()}", "bad_extrinsic"
        )
    return t


def yaw_of(a_SE3_b: npt.ArrayLike) -> F64:
    """(...,) heading about z of (..., 4, 4) transforms (or (..., 3, 3) rotations), radians."""
    t = np.asarray(a_SE3_b, np.float64)
    return np.arctan2(t[..., 1, 0], t[..., 0, 0])


def transform_points(a_SE3_b: npt.ArrayLike, points_b: Floats) -> Floats:
    """(P, 3) points in frame ``a``, in the floating type of the input."""
    t = np.asarray(a_SE3_b, np.float64).astype(points_b.dtype, copy=False)
    moved: Floats = points_b @ t[:3, :3].T
    moved += t[:3, 3]
    return moved


def transform_boxes(a_SE3_b: npt.ArrayLike, boxes_b: F64) -> F64:
    """(N, 7) boxes in frame ``a``; exact for the centre, the heading is turned by the yaw of the transform."""
    t = np.asarray(a_SE3_b, np.float64)
    out = np.array(boxes_b, np.float64)
    out[:, :3] = boxes_b[:, :3] @ t[:3, :3].T + t[:3, 3]
    heading = np.stack([np.cos(boxes_b[:, 6]), np.sin(boxes_b[:, 6])], axis=-1) @ t[:2, :2].T
    out[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    return out


def box_corners(boxes: F64) -> F64:
    """(N, 8, 3) corners of (N, 7) boxes.

    Order: the bottom face from front left, front right, rear right, rear left; then the top face alike.
    """
    half = _CORNER_SIGNS * (boxes[:, None, 3:6] * 0.5)
    corners: F64 = half @ np.swapaxes(rotation_z(boxes[:, 6]), -1, -2) + boxes[:, None, :3]
    return corners


def points_in_box(points: Floats, box: F64, margin_m: float = 0.0) -> Bool:
    """(P,) whether each of (P, 3) points lies inside one (7,) box grown by ``margin_m`` on each side."""
    c, s = np.cos(box[6]), np.sin(box[6])
    dx, dy, dz = points[:, 0] - box[0], points[:, 1] - box[1], points[:, 2] - box[2]
    half = box[3:6] * 0.5 + margin_m
    inside: Bool = (np.abs(c * dx + s * dy) <= half[0]) & (np.abs(c * dy - s * dx) <= half[1]) & (np.abs(dz) <= half[2])
    return inside


def project_points(projection: F64, points_camera: Floats) -> tuple[F64, F64]:
    """Pixels and depths of (P, 3) points in the optical frame, through a (3, 4) projection.

    Returns (P, 2) pixels u right, v down (NaN where the depth is not positive) and (P,) depth in metres.
    """
    image = np.asarray(points_camera, np.float64) @ projection[:, :3].T + projection[:, 3]
    depth = image[:, 2]
    pixels = np.full((len(image), 2), np.nan)
    np.divide(image[:, :2], depth[:, None], out=pixels, where=(depth > 0.0)[:, None])
    return pixels, depth


def project_boxes(
    projection: F64, camera_SE3_base: F64, boxes: F64, size_px: tuple[int, int] | None, near_m: float = NEAR_M
) -> tuple[F64, Bool]:
    """Image boxes of (N, 7) boxes in the base frame: the part before the near plane is projected and enclosed.

    projection: (3, 4) pixels. size_px: width and height to clip to, None = no clipping.
    Returns (N, 4) x1, y1, x2, y2 (zeros where not visible) and (N,) whether any of the box is in the image.
    """
    if not len(boxes):
        return np.zeros((0, 4)), np.zeros(0, np.bool_)
    linear = projection @ camera_SE3_base
    corners = box_corners(boxes) @ linear[:, :3].T + linear[:, 3]
    vertices, valid = _cut_at_near_plane(corners, near_m)
    pixels = vertices[..., :2] / np.where(valid, vertices[..., 2], 1.0)[..., None]
    low = np.where(valid[..., None], pixels, np.inf).min(axis=1)
    high = np.where(valid[..., None], pixels, -np.inf).max(axis=1)
    return _clip(low, high, size_px)


def _cut_at_near_plane(corners: F64, near_m: float) -> tuple[F64, Bool]:
    """(N, 20, 3) homogeneous corners and near-plane cuts of the edges, and (N, 20) which of them bound the visible part."""
    start, end = corners[:, BOX_EDGES[:, 0]], corners[:, BOX_EDGES[:, 1]]
    before, after = start[..., 2] - near_m, end[..., 2] - near_m
    crossing = (before < 0.0) != (after < 0.0)
    share = np.where(crossing, before / np.where(crossing, before - after, 1.0), 0.0)
    cuts = start + share[..., None] * (end - start)
    valid = np.concatenate([corners[..., 2] >= near_m, crossing], axis=1)
    return np.concatenate([corners, cuts], axis=1), valid


def _clip(low: F64, high: F64, size_px: tuple[int, int] | None) -> tuple[F64, Bool]:
    limit = np.array(size_px if size_px is not None else (np.inf, np.inf), np.float64)
    floor = 0.0 if size_px is not None else -np.inf
    out = np.concatenate([np.clip(low, floor, limit), np.clip(high, floor, limit)], axis=1)
    visible: Bool = (out[:, 2] > out[:, 0]) & (out[:, 3] > out[:, 1]) & np.all(np.isfinite(out), axis=1)
    out[~visible] = 0.0
    return out, visible
