"""A 2D detector that looks at the whole image and at enlarged tiles of it, as a better judge of what an image shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from percept_ros.detectors.detector import ImageDetector
from percept_ros.types import F64, I64, Bool, CameraFrame, Detections2D, SensorSet

STEP = 0.5
"""From tile to tile, in tiles: what one tile cuts lies whole in the next unless it is larger than half a tile."""
EDGE_PX = 3.0
"""A box this near to an inner edge of its tile is cut off there, and is not used."""
SAME_IOU, WITHIN = 0.45, 0.8
"""Boxes are one object at this overlap, or when the smaller lies inside the larger by this share; the better score is kept."""


def detect_tiled(camera: ImageDetector, sensors: SensorSet, name: str) -> Detections2D:
    """Boxes in the image of camera ``name``, from the whole of it and from square tiles as high as it is.

    A network that shrinks a wide image overlooks what is small in it. Nothing but the image takes part.
    """
    frame = sensors.cameras[name]
    whole = camera.detect(sensors)[name]
    parts = [(whole.boxes_px, whole.scores, whole.class_ids)]
    for x, y, piece in _tiles(frame):
        found = camera.detect(replace(sensors, cameras={name: piece}))[name]
        use = ~_cut(found.boxes_px, x, y, piece, frame)
        parts.append((found.boxes_px[use] + (x, y, x, y), found.scores[use], found.class_ids[use]))
    boxes_px, scores, class_ids = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = _once(boxes_px, scores)
    return replace(whole, boxes_px=boxes_px[keep], scores=scores[keep], class_ids=class_ids[keep])


def _tiles(frame: CameraFrame) -> Iterator[tuple[int, int, CameraFrame]]:
    height, width = frame.image.shape[:2]
    side = min(height, width)
    for y in _starts(height, side):
        for x in _starts(width, side):
            yield x, y, replace(frame, image=np.ascontiguousarray(frame.image[y : y + side, x : x + side]))


def _starts(length: int, side: int) -> list[int]:
    count = int(np.ceil((length - side) / (STEP * side))) + 1
    return [int(start) for start in np.linspace(0, length - side, count)]


def _cut(boxes_px: F64, x: int, y: int, piece: CameraFrame, frame: CameraFrame) -> Bool:
    """(N,) whether a box ends at an edge of its tile that is no edge of the image."""
    height, width = piece.image.shape[:2]
    low, high = boxes_px[:, :2] < EDGE_PX, boxes_px[:, 2:] > np.array([width, height]) - EDGE_PX
    inner_low = np.array([x > 0, y > 0])
    inner_high = np.array([x + width < frame.image.shape[1], y + height < frame.image.shape[0]])
    cut: Bool = ((low & inner_low) | (high & inner_high)).any(axis=1)
    return cut


def _once(boxes_px: F64, scores: F64) -> I64:
    """Indices of boxes kept, best score first."""
    area = np.maximum((boxes_px[:, 2:] - boxes_px[:, :2]).prod(axis=1), 1e-9)
    low = np.maximum(boxes_px[:, None, :2], boxes_px[None, :, :2])
    high = np.minimum(boxes_px[:, None, 2:], boxes_px[None, :, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    same = common / (area[:, None] + area[None] - common) > SAME_IOU
    same |= common / np.minimum(area[:, None], area[None]) > WITHIN
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not same[i, kept].any():
            kept.append(int(i))
    return np.array(kept, np.int64)
