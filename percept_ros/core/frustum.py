"""3D boxes from 2D boxes: the nearest dense layer of returns inside the frustum of an image box."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from percept_ros.core.geometry import inverse
from percept_ros.core.shapes import SHAPES, box_as, shape_class
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64, LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Detections2D, ObjectClass

_LAYER_M = 0.5
_MAX_DEPTH_M = 80.0
_SHRINK = 0.12


@functools.cache
def _kernel() -> Callable[..., int]:
    return bind("percept_fit_rectangle", [ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p])


def fit_rectangle(points_xy: F32, sensor_xy: F64) -> F32:
    """(8,) x, y, yaw, extent along yaw, extent across, residual, cover along, cover across, round (P, 2) points.

    Raises ValueError for no points or non-finite ones.
    """
    points, sensor = np.ascontiguousarray(points_xy, np.float32), np.ascontiguousarray(sensor_xy, np.float64)
    row = np.empty(8, np.float32)
    if (
        points.ndim != 2
        or points.shape[1] != 2
        or _kernel()(pointer(points), len(points), pointer(sensor), pointer(row))
    ):
        raise ValueError(f"fit_rectangle: expected finite points (P, 2) with P > 0, got shape {points.shape}")
    return row


def propose(
    detections: Detections,
    seen: Detections2D,
    rows: I64,
    view: CameraView,
    points_base: F32,
    min_points: int,
) -> Detections:
    """``detections`` with a box for each of ``rows`` of ``seen`` that has returns inside; overlapped guesses give way."""
    pixels, depth, near = _project(points_base, view, seen.boxes_px[rows])
    found: list[tuple[F64, int, float]] = []
    for row in rows:
        class_id = ObjectClass(int(seen.class_ids[row]))
        if shape_class(class_id) not in SHAPES:
            continue
        reach_m = SHAPES[shape_class(class_id)].usual[0] + 0.5
        points = _layer(seen.boxes_px[row], reach_m, pixels, depth, near, min_points)
        if points is None:
            continue
        box = _box(class_id, points, seen.boxes_px[row], view)
        if box is not None:
            found.append((box, int(class_id), 0.75 * float(seen.scores[row])))
    return _append(detections, found, view)


def _project(points_base: F32, view: CameraView, boxes_px: F64) -> tuple[F32, F32, F32]:
    """Pixels (K, 2), depths (K,) and points (K, 3) of the returns in the image columns that ``boxes_px`` span."""
    linear = (view.projection @ inverse(view.base_SE3_camera)).astype(np.float32)
    across = points_base @ linear[[0, 2], :3].T + linear[[0, 2], 3]
    left, right = np.float32(boxes_px[:, 0].min()), np.float32(boxes_px[:, 2].max())
    depth = across[:, 1]
    wanted = np.flatnonzero(
        (depth > 0.5) & (depth < _MAX_DEPTH_M) & (across[:, 0] > left * depth) & (across[:, 0] < right * depth)
    )
    points, depth = points_base[wanted], depth[wanted]
    pixels = np.stack([across[wanted, 0], points @ linear[1, :3] + linear[1, 3]], axis=1) / depth[:, None]
    return pixels, depth, points


def _layer(box_px: F64, reach_m: float, pixels: F32, depth: F32, points: F32, min_points: int) -> F32 | None:
    """(K, 3) returns of the nearest dense depth layer in the middle of an image box and of what joins it behind, or None.

    reach_m: the layer is at most this deep; a gap of a metre ends it.
    """
    size = box_px[2:] - box_px[:2]
    low, high = box_px[:2] + _SHRINK * size, box_px[2:] - _SHRINK * size
    inside = ((pixels > low) & (pixels < high)).all(axis=1)
    if inside.sum() < min_points:
        return None
    near, where = depth[inside], points[inside]
    bins = np.bincount((near / _LAYER_M).astype(np.int64))
    dense = bins + np.append(bins[1:], 0)
    layers = np.flatnonzero(dense >= max(min_points, 0.3 * dense.max()))
    if not len(layers):
        return None
    first = int(layers[0])
    empty = np.flatnonzero(dense[first:] == 0)
    last = first + (int(empty[0]) if len(empty) else len(dense))
    layer = (near >= first * _LAYER_M) & (near < min(last * _LAYER_M, first * _LAYER_M + reach_m))
    kept: F32 = where[layer]
    return kept if len(kept) >= min_points else None


def _box(class_id: ObjectClass, points: F32, box_px: F64, view: CameraView) -> F64 | None:
    """Whole box, its bottom where the image box ends; None when it is no plausible size."""
    rectangle = fit_rectangle(points[:, :2], view.base_SE3_camera[:2, 3])
    shape = SHAPES[shape_class(class_id)]
    if max(rectangle[3:5]) > shape.length[3] or min(rectangle[3:5]) > shape.width[3]:
        return None
    scale = float(np.linalg.norm(view.projection[1, :3] @ inverse(view.base_SE3_camera)[:3, :3]))
    depth = float(((points - view.base_SE3_camera[:3, 3]) @ view.base_SE3_camera[:3, 2]).mean())
    height = float(np.clip((box_px[3] - box_px[1]) * depth / scale, 0.6 * shape.usual[2], 1.4 * shape.usual[2]))
    middle = float(points[:, 2].mean())
    bottom = max(-1.0, min(float(points[:, 2].min()), middle - height / 2))
    return box_as(class_id, rectangle, bottom, height, view.base_SE3_camera[:2, 3])


def _part_of_lorry(detections: Detections, box: F64) -> bool:
    """Whether the middle of ``box`` lies in a much longer box that may be a lorry."""
    boxes = detections.boxes
    dx, dy = box[0] - boxes[:, 0], box[1] - boxes[:, 1]
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    inside = (np.abs(dx * c + dy * s) < boxes[:, 3] / 2) & (np.abs(dy * c - dx * s) < boxes[:, 4] / 2)
    lorry = (boxes[:, 3] > 1.2 * box[3]) & (detections.class_probabilities[:, ObjectClass.TRUCK] > 0.1)
    return bool((inside & lorry).any())


def _append(detections: Detections, found: list[tuple[F64, int, float]], view: CameraView) -> Detections:
    scores = detections.scores.copy()
    new: list[tuple[F64, int, float]] = []
    for box, class_id, score in found:
        apart = np.hypot(*(detections.boxes[:, :2] - box[:2]).T)
        if _part_of_lorry(detections, box):
            continue
        same = apart < 0.5 * np.minimum(box[3], detections.boxes[:, 3]) + 0.3
        if (same & (detections.class_ids != ObjectClass.UNKNOWN) & (scores >= score)).any():
            continue
        scores[same] = np.minimum(scores[same], 0.05)
        new.append((box, class_id, score))
    if not new:
        return detections
    probabilities = np.full((len(new), NUM_CLASSES), 0.02)
    for row, (_, class_id, score) in enumerate(new):
        probabilities[row, class_id] = 0.5 + 0.4 * score
    return replace(
        detections,
        boxes=np.vstack([detections.boxes, *(b for b, _, _ in new)]),
        scores=np.append(scores, [s for _, _, s in new]),
        class_probabilities=np.vstack(
            [detections.class_probabilities, probabilities / probabilities.sum(1, keepdims=True)]
        ),
        velocity_mps=np.vstack([detections.velocity_mps, np.full((len(new), 2), np.nan)]),
        sensors=np.append(detections.sensors, np.full(len(new), LIDAR_BIT | view.bit, np.uint32)).astype(np.uint32),
    )
