"""From the outputs of 2D networks to image boxes: YOLOX, YOLOv8, suppression per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from percept_ros.errors import InputError
from percept_ros.settings import setting
from percept_ros.types import F64, I64

Raw = npt.NDArray[np.floating[Any]]
Boxes2D = tuple[F64, F64, I64]
"""(N, 4) x1 y1 x2 y2 in input pixels, (N,) scores, (N,) the network's own class numbers."""


@dataclass(frozen=True, slots=True)
class YoloxParams:
    """Decoding of YOLOX."""

    strides: tuple[int, ...] = setting((8, 16, 32), "strides of the output grids", low=1, high=256)
    score_threshold: float = setting(0.3, "weaker boxes are dropped", low=0.0, high=1.0)
    nms_iou: float = setting(0.45, "boxes of a class that overlap more are one", low=0.0, high=1.0)
    max_boxes: int = setting(100, "at most so many boxes an image", low=1, high=10000)


@dataclass(frozen=True, slots=True)
class Yolov8Params:
    """Decoding of YOLOv8, YOLO11 and kin."""

    score_threshold: float = setting(0.3, "weaker boxes are dropped", low=0.0, high=1.0)
    nms_iou: float = setting(0.45, "boxes of a class that overlap more are one", low=0.0, high=1.0)
    max_boxes: int = setting(100, "at most so many boxes an image", low=1, high=10000)


@dataclass(frozen=True, slots=True)
class Decode:
    """A decoder with its parameters."""

    params: YoloxParams | Yolov8Params
    run: Callable[[Raw], Boxes2D]

    def __call__(self, raw: Raw) -> Boxes2D:
        return self.run(raw)


def decode_yolox(raw: Raw, params: YoloxParams, width_px: int, height_px: int) -> Boxes2D:
    """Boxes of one image from (cells, 5 + classes): x, y, w, h not yet on the grid, objectness, class scores.

    Centre = (o + cell) * stride, size = exp(o) * stride, score = objectness * class score. Source: Ge et al., "YOLOX",
    2021, and its published exports. Raises InputError when the number of cells is not that of the grids.
    """
    grid, stride = _cells(params.strides, width_px, height_px)
    if raw.ndim != 2 or len(raw) != len(grid) or raw.shape[1] < 6:
        raise InputError(f"YOLOX output {list(raw.shape)}, expected [{len(grid)}, 5 + classes]", "shape")
    strong = np.flatnonzero(raw[:, 4] >= params.score_threshold)
    rows = raw[strong].astype(np.float64)
    own = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + own]
    keep = scores >= params.score_threshold
    rows, cells = rows[keep], strong[keep]
    centre = (rows[:, :2] + grid[cells]) * stride[cells, None]
    half = np.exp(np.minimum(rows[:, 2:4], 20.0)) * stride[cells, None] * 0.5
    return np.hstack([centre - half, centre + half]), scores[keep], own[keep].astype(np.int64)


def _cells(strides: tuple[int, ...], width_px: int, height_px: int) -> tuple[F64, F64]:
    """(cells, 2) column and row of each output cell, and (cells,) its stride."""
    grids, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: height_px // stride, : width_px // stride]
        grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
        sizes.append(np.full(x.size, stride))
    return np.concatenate(grids).astype(np.float64), np.concatenate(sizes).astype(np.float64)


def decode_yolov8(raw: Raw, params: Yolov8Params) -> Boxes2D:
    """Boxes of one image from (4 + classes, anchors) or its transpose: centre x, y, w, h in input pixels, class scores."""
    if raw.ndim != 2 or min(raw.shape) < 5:
        raise InputError(f"YOLOv8 output {list(raw.shape)}, expected [4 + classes, anchors]", "shape")
    rows = raw.T if raw.shape[0] < raw.shape[1] else raw
    best = rows[:, 4:].max(axis=1)
    rows = rows[best >= params.score_threshold].astype(np.float64)
    own = rows[:, 4:].argmax(axis=1)
    half = rows[:, 2:4] * 0.5
    boxes = np.hstack([rows[:, :2] - half, rows[:, :2] + half])
    return boxes, rows[np.arange(len(rows)), 4 + own], own.astype(np.int64)


def suppress(boxes_px: F64, scores: F64, classes: I64, iou: float, most: int) -> I64:
    """Indices kept, best first: of boxes of one class that overlap by more than ``iou`` only the best stays."""
    if not len(boxes_px):
        return np.zeros(0, np.int64)
    corner_size = np.hstack([boxes_px[:, :2], boxes_px[:, 2:] - boxes_px[:, :2]])
    kept = np.asarray(
        cv2.dnn.NMSBoxesBatched(corner_size.tolist(), scores.tolist(), classes.tolist(), 0.0, iou), np.int64
    )
    best: I64 = kept[np.argsort(-scores[kept], kind="stable")][:most]
    return best
