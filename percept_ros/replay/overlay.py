"""Camera image with the tracks projected into it: 3D boxes, predicted paths, and the 2D detections dashed."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np

from percept_ros.core.geometry import BOX_EDGES, box_corners, inverse
from percept_ros.replay.scene import COLOURS, DrawnTracks, Scene
from percept_ros.types import F64, U8, CameraView, Detections2D

NEAR_M = 0.4
FAR_PATH_M = 80.0
FAR_TRUTH_M = 60.0
TRUTH_COLOUR = (200, 200, 200)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(scene: Scene, camera: str, width_px: int) -> U8 | None:
    """Picture ``width_px`` wide, or None when the camera is absent from the frame or not calibrated."""
    sensors = scene.result.sensors
    frame, view = sensors.cameras.get(camera), sensors.views.get(camera)
    if frame is None or view is None:
        return None
    scale = width_px / frame.image.shape[1]
    size = (width_px, round(frame.image.shape[0] * scale))
    image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes_2d = scene.result.detections_2d.get(camera)
    if boxes_2d is not None:
        _draw_detections(image, boxes_2d, scale)
    if scene.truth is not None:
        _draw_truth(image, scene.truth, view, scale)
    _draw_tracks(image, scene.found, view, scale)
    _draw_tracks(image, scene.tracks, view, scale)
    return np.asarray(image, np.uint8)


def _draw_detections(image: Any, found: Detections2D, scale: float) -> None:
    for box, kind in zip(found.boxes_px * scale, found.class_ids, strict=True):
        x1, y1, x2, y2 = (float(v) for v in box)
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
        for start, end in itertools.pairwise(corners):
            _dashed(image, start, end, COLOURS[int(kind)])


def _dashed(image: Any, start: F64, end: F64, colour: tuple[int, int, int], dash_px: float = 5.0) -> None:
    count = max(1, int(np.linalg.norm(end - start) / dash_px))
    marks = start + np.linspace(0.0, 1.0, count + 1)[:, None] * (end - start)
    for a, b in zip(marks[:-1:2], marks[1::2], strict=False):
        cv2.line(image, _pixel(a), _pixel(b), colour, 1, cv2.LINE_AA)


def _draw_truth(image: Any, boxes: F64, view: CameraView, scale: float) -> None:
    """Ground truth as thin grey boxes, below everything else."""
    linear = _linear(view, scale)
    near = boxes[np.hypot(boxes[:, 0], boxes[:, 1]) <= FAR_TRUTH_M]
    for corners in box_corners(near) if len(near) else ():
        points = _camera_points(corners, linear)
        if _touches(points, image):
            for a, b in BOX_EDGES:
                _segment(image, points[a], points[b], TRUTH_COLOUR, 1)


def _linear(view: CameraView, scale: float) -> F64:
    """(3, 4) from base-frame points to homogeneous pixels of the scaled picture."""
    linear: F64 = np.diag([scale, scale, 1.0]) @ view.projection @ inverse(view.base_SE3_camera)
    return linear


def _draw_tracks(image: Any, tracks: DrawnTracks, view: CameraView, scale: float) -> None:
    if not len(tracks.boxes):
        return
    linear = _linear(view, scale)
    corners = box_corners(tracks.boxes)
    far_first = np.argsort(-np.linalg.norm(tracks.boxes[:, :2], axis=1))
    for row in map(int, far_first):
        colour = COLOURS[int(tracks.class_ids[row])]
        ground = tracks.boxes[row, 2] - 0.5 * tracks.boxes[row, 5]
        _draw_path(image, tracks.paths[row], ground, linear, colour)
        _draw_box(image, corners[row], linear, colour, thin=bool(tracks.coasting[row]))
        _draw_label(image, corners[row], linear, tracks.labels[row], colour)


def _camera_points(points: F64, linear: F64) -> F64:
    """(P, 3) homogeneous pixels: u w, v w, w."""
    scaled: F64 = points @ linear[:, :3].T + linear[:, 3]
    return scaled


def _draw_box(image: Any, corners: F64, linear: F64, colour: tuple[int, int, int], *, thin: bool) -> None:
    points = _camera_points(corners, linear)
    if not _touches(points, image):
        return
    for a, b in BOX_EDGES:
        _segment(image, points[a], points[b], colour, 1)
    front = points[[0, 1, 5, 4]]  # the face ahead is drawn stronger, so that the heading shows
    for a, b in zip(front, np.roll(front, -1, axis=0), strict=True):
        _segment(image, a, b, colour, 1 if thin else 2)


def _touches(points: F64, image: Any) -> bool:
    """Whether the part of a box before the camera reaches into the image."""
    ahead = points[points[:, 2] > NEAR_M]
    if not len(ahead):
        return False
    pixels = ahead[:, :2] / ahead[:, 2:]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return bool((high > 0).all() and low[0] < image.shape[1] and low[1] < image.shape[0])


def _segment(image: Any, a: F64, b: F64, colour: tuple[int, int, int], width: int) -> None:
    """A line between two homogeneous points, cut at the near plane."""
    if a[2] < NEAR_M and b[2] < NEAR_M:
        return
    if a[2] < NEAR_M or b[2] < NEAR_M:
        share = (NEAR_M - a[2]) / (b[2] - a[2])
        cut = a + share * (b - a)
        a, b = (cut, b) if a[2] < NEAR_M else (a, cut)
    start, end = _pixel(a[:2] / a[2]), _pixel(b[:2] / b[2])
    inside, first, last = cv2.clipLine((0, 0, image.shape[1], image.shape[0]), start, end)
    if inside:
        cv2.line(image, first, last, colour, width, cv2.LINE_AA)


def _draw_path(image: Any, path: F64, ground_m: float, linear: F64, colour: tuple[int, int, int]) -> None:
    if len(path) < 2 or np.linalg.norm(path[-1] - path[0]) < 1.0:
        return
    points = _camera_points(np.column_stack([path, np.full(len(path), ground_m)]), linear)
    for a, b in itertools.pairwise(points):
        if max(a[2], b[2]) < FAR_PATH_M:
            _segment(image, a, b, colour, 2)


def _draw_label(image: Any, corners: F64, linear: F64, label: str, colour: tuple[int, int, int]) -> None:
    points = _camera_points(corners, linear)
    if (points[:, 2] <= NEAR_M).any() or not _touches(points, image):
        return
    pixels = points[:, :2] / points[:, 2:]
    x, y = _pixel(np.array([pixels[:, 0].min(), pixels[:, 1].min()]))
    (width, height), _ = cv2.getTextSize(label, FONT, 0.42, 1)
    x, y = int(np.clip(x, 0, image.shape[1] - width - 4)), int(np.clip(y, height + 5, image.shape[0]))
    cv2.rectangle(image, (x, y - height - 5), (x + width + 4, y), colour, -1)
    cv2.putText(image, label, (x + 2, y - 3), FONT, 0.42, (20, 20, 20), 1, cv2.LINE_AA)


def _pixel(at: F64) -> tuple[int, int]:
    x, y = np.clip(at, -20000, 20000)
    return round(float(x)), round(float(y))
