"""Bird's-eye view of one frame: points, boxes, ids, velocity arrows, predicted paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from percept_ros.core.geometry import box_corners
from percept_ros.replay.overlay import TRUTH_COLOUR
from percept_ros.replay.scene import COLOURS, DrawnTracks, Scene
from percept_ros.types import F32, F64, U8

BACKGROUND = (24, 20, 18)
RING_COLOUR = (62, 56, 52)
TEXT_COLOUR = (235, 235, 235)
SHIFT = 4
"""Fraction bits of OpenCV's drawing coordinates."""


@dataclass(frozen=True, slots=True)
class BirdsEye:
    """The part of the base frame that is shown, forward to the right. Metres, and pixels a metre."""

    x_min_m: float = -25.0
    x_max_m: float = 65.0
    y_min_m: float = -28.0
    y_max_m: float = 28.0
    scale: float = 12.0

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return round((self.x_max_m - self.x_min_m) * self.scale), round((self.y_max_m - self.y_min_m) * self.scale)

    def pixels(self, points: Any) -> F64:
        """(..., 2) pixels of (..., 2) metres x forward, y left."""
        xy = np.asarray(points, np.float64)
        return np.stack([(xy[..., 0] - self.x_min_m) * self.scale, (self.y_max_m - xy[..., 1]) * self.scale], axis=-1)


FRONT = BirdsEye()
ALL_AROUND = BirdsEye(-52.0, 52.0, -40.0, 40.0, 11.0)


def draw_birdseye(scene: Scene, view: BirdsEye) -> U8:
    """(height, width, 3) uint8 BGR picture."""
    width, height = view.size_px
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    _draw_rings(image, view)
    if scene.points is not None:
        _draw_points(image, scene.points, view)
    if scene.truth is not None:
        for outline in box_corners(scene.truth)[:, :4, :2]:
            _polyline(image, view.pixels(outline), TRUTH_COLOUR, 1, closed=True)
    _draw_vehicle(image, view)
    _draw_found(image, scene.found, view)
    _draw_tracks(image, scene.tracks, view)
    return image


def _draw_rings(image: U8, view: BirdsEye) -> None:
    centre = tuple(int(v) for v in view.pixels((0.0, 0.0)))
    for radius in range(10, 101, 10):
        cv2.circle(image, centre, round(radius * view.scale), RING_COLOUR, 1, cv2.LINE_AA)
        at = view.pixels((radius, 0.0))
        if 0 < at[0] < image.shape[1] - 40:
            _text(image, f"{radius} m", (int(at[0]) + 3, int(at[1]) + 14), (120, 112, 108), 0.4)


def _draw_points(image: U8, points: F32, view: BirdsEye) -> None:
    """Points coloured by height: road dark, higher lighter; the highest in a pixel wins."""
    at = np.floor(view.pixels(points[:, :2])).astype(np.int64)
    inside = (at >= 0).all(axis=1) & (at[:, 0] < image.shape[1]) & (at[:, 1] < image.shape[0])
    inside &= (points[:, 2] > -1.0) & (points[:, 2] < 4.5)
    order = np.argsort(points[inside, 2], kind="stable")
    height = points[inside, 2][order]
    shade = np.clip((height + 0.2) / 2.2, 0.0, 1.0)[:, None]
    low, high = np.array([92.0, 72.0, 58.0]), np.array([225.0, 214.0, 165.0])
    columns, rows = at[inside][order].T
    image[rows, columns] = (low + (high - low) * shade).astype(np.uint8)


def _draw_vehicle(image: U8, view: BirdsEye) -> None:
    outline = np.array([[2.6, 0.0], [1.8, 0.9], [-1.8, 0.9], [-1.8, -0.9], [1.8, -0.9]])
    cv2.fillPoly(image, [_fixed(view.pixels(outline))], (70, 160, 80), cv2.LINE_AA, SHIFT)
    _polyline(image, view.pixels(outline), (170, 235, 180), 1, closed=True)


def _draw_found(image: U8, found: DrawnTracks, view: BirdsEye) -> None:
    """Detections that are no track: thin outlines with their score."""
    corners = box_corners(found.boxes)[:, :4, :2] if len(found.boxes) else np.zeros((0, 4, 2))
    for i, outline in enumerate(corners):
        pixels = view.pixels(outline)
        _polyline(image, pixels, COLOURS[int(found.class_ids[i])], 1, closed=True)
        left, top = pixels.min(axis=0)
        _text(image, found.labels[i], (int(left), int(top) - 3), COLOURS[int(found.class_ids[i])], 0.36)


def _draw_tracks(image: U8, tracks: DrawnTracks, view: BirdsEye) -> None:
    corners = box_corners(tracks.boxes)[:, :4, :2] if len(tracks.boxes) else np.zeros((0, 4, 2))
    shade = image.copy()
    for i, outline in enumerate(corners):
        cv2.fillPoly(shade, [_fixed(view.pixels(outline))], COLOURS[int(tracks.class_ids[i])], cv2.LINE_AA, SHIFT)
    cv2.addWeighted(shade, 0.35, image, 0.65, 0.0, dst=image)
    for i, outline in enumerate(corners):
        colour = COLOURS[int(tracks.class_ids[i])]
        _draw_path(image, view.pixels(tracks.paths[i]), colour)
        _polyline(image, view.pixels(outline), colour, 1 if tracks.coasting[i] else 2, closed=True)
        _draw_motion(image, tracks, i, view)
    for i, label in enumerate(tracks.labels):
        left, top = view.pixels(corners[i]).min(axis=0)
        _text(image, label, (int(left), int(top) - 4), TEXT_COLOUR, 0.5)


def _draw_motion(image: U8, tracks: DrawnTracks, row: int, view: BirdsEye) -> None:
    """Nose line along the heading, and an arrow over one second of motion."""
    box, velocity = tracks.boxes[row], tracks.velocity_mps[row]
    nose = box[:2] + 0.5 * box[3] * np.array([np.cos(box[6]), np.sin(box[6])])
    _polyline(image, view.pixels(np.stack([box[:2], nose])), COLOURS[int(tracks.class_ids[row])], 1)
    if np.hypot(*velocity) > 0.5:
        start, end = view.pixels(box[:2]), view.pixels(box[:2] + velocity)
        tip = 8.0 / max(8.0, float(np.linalg.norm(end - start)))
        cv2.arrowedLine(image, _point(start), _point(end), (255, 255, 255), 1, cv2.LINE_AA, 0, tip)


def _draw_path(image: U8, pixels: F64, colour: tuple[int, int, int]) -> None:
    for step, at in enumerate(pixels[4::5]):
        if np.isfinite(at).all() and np.abs(at).max() < 8000:
            cv2.circle(image, _point(at), max(1, 3 - step // 3), colour, -1, cv2.LINE_AA)


def _fixed(pixels: F64) -> Any:
    return np.round(np.clip(pixels, -20000, 20000) * (1 << SHIFT)).astype(np.int32)


def _point(pixels: F64) -> tuple[int, int]:
    x, y = np.clip(pixels, -20000, 20000)
    return round(float(x)), round(float(y))


def _polyline(image: U8, pixels: F64, colour: tuple[int, int, int], width: int, *, closed: bool = False) -> None:
    cv2.polylines(image, [_fixed(pixels)], closed, colour, width, cv2.LINE_AA, SHIFT)


def _text(image: U8, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: float) -> None:
    """Light text with a dark rim."""
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, BACKGROUND, 3, cv2.LINE_AA)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
