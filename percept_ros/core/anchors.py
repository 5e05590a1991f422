"""Decoding of anchor heads (PointPillars) and of models that give boxes themselves.

Boxes come out in the model's frame as rows ``[x, y, z, l, w, h, yaw]`` with z at the middle of the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.decode import nms_rotated
from percept_ros.errors import ConfigError, InputError
from percept_ros.settings import setting
from percept_ros.types import F64, I64

Raw = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class AnchorHead:
    """Anchors and the coding of boxes against them, as OpenPCDet's AnchorHeadSingle has them.

    The channels of a cell are ordered by anchor, anchors by size, then by rotation.
    """

    classes_output: str = setting("cls_preds", "output with class scores (logits)")
    boxes_output: str = setting("box_preds", "output with coded boxes")
    directions_output: str = setting("dir_cls_preds", "output with direction bins; empty = none")
    layout: str = setting("nhwc", "order of the outputs' axes", choices=("nhwc", "nchw"))
    sizes_m: tuple[tuple[float, ...], ...] = setting(
        ((3.9, 1.6, 1.56), (0.8, 0.6, 1.73), (1.76, 0.6, 1.73)), "length, width, height of each anchor"
    )
    bottoms_m: tuple[float, ...] = setting((-1.78, -0.6, -0.6), "height of each anchor's bottom, model frame")
    rotations_rad: tuple[float, ...] = setting((0.0, 1.57), "rotations of each anchor")
    direction_offset_rad: float = setting(0.78539, "where the first direction bin begins")
    direction_limit: float = setting(0.0, "offset of the period, 0 to 1", low=0.0, high=1.0)
    score_threshold: float = setting(0.1, "weaker boxes are dropped", low=0.0, high=1.0)
    nms_iou: float = setting(0.01, "boxes that overlap more are one", low=0.0, high=1.0)
    max_boxes: int = setting(500, "boxes kept before suppression", low=1, high=100000)

    def __post_init__(self) -> None:
        if any(len(size) != 3 for size in self.sizes_m) or len(self.bottoms_m) != len(self.sizes_m):
            raise ConfigError(
                f"anchors: each of sizes_m needs 3 numbers and a bottom, got {self.sizes_m}, {self.bottoms_m}"
            )

    @property
    def per_cell(self) -> int:
        """Anchors of a cell."""
        return len(self.sizes_m) * len(self.rotations_rad)


@dataclass(frozen=True, slots=True)
class BoxRows:
    """Outputs that already are boxes: rows x, y, z, l, w, h, yaw, class, score (NVIDIA TAO), or boxes beside class scores."""

    boxes_output: str = setting("output_boxes", "output with rows of boxes")
    number_output: str = setting("", "output with the number of valid rows; empty = all")
    scores_output: str = setting(
        "", "output (rows, classes) with class scores; empty = class and score are in the rows"
    )
    logits: bool = setting(False, "the class scores are logits")
    score_threshold: float = setting(0.1, "weaker boxes are dropped", low=0.0, high=1.0)
    nms_iou: float = setting(1.0, "boxes that overlap more are one; 1 = already done by the model", low=0.0, high=1.0)
    max_boxes: int = setting(500, "boxes kept before suppression", low=1, high=100000)


def decode_anchors(
    classes: Raw, boxes: Raw, directions: Raw | None, head: AnchorHead, range_m: tuple[float, ...]
) -> tuple[F64, F64]:
    """(N, 7) boxes and (N, C) class scores, best first, from outputs of one sweep without batch axis.

    range_m: x, y, z from, x, y, z to of the anchors; the first and last cell lie on the borders. Source: Lang et al.,
    "PointPillars", CVPR 2019, equation for the residuals; Yan et al., "SECOND", 2018, for the direction bins.
    Raises InputError for shapes that do not fit the anchors.
    """
    scored = _cells_last(classes, head.layout)
    height, width = scored.shape[:2]
    n = height * width * head.per_cell
    logits, codes = _per_anchor(scored, n, 0), _per_anchor(_cells_last(boxes, head.layout), n, 7)
    bins = None if directions is None else _per_anchor(_cells_last(directions, head.layout), n, 0)
    best = logits.max(axis=1)
    strong = np.flatnonzero(best > _logit(head.score_threshold))
    strong = strong[np.argsort(-best[strong], kind="stable")][: head.max_boxes]
    scores = _sigmoid(logits[strong])
    anchors = _anchors(strong, width, height, head, range_m)
    found: F64 = _uncode(codes[strong].astype(np.float64), anchors, None if bins is None else bins[strong], head)
    sane = np.flatnonzero(np.isfinite(found).all(axis=1))
    kept = sane[nms_rotated(found[sane], scores[sane].max(axis=1, initial=0.0), head.nms_iou)]
    return found[kept], scores[kept]


def decode_rows(rows: Raw, scores: Raw | None, rules: BoxRows, classes: int) -> tuple[F64, F64]:
    """(N, 7) boxes and (N, C) class scores, best first. rows: (M, 7 or more), see BoxRows. Raises InputError."""
    if rows.ndim != 2 or rows.shape[1] < (9 if scores is None else 7):
        raise InputError(
            f"rows of boxes have shape {list(rows.shape)}, expected 7 numbers and class and score", "shape"
        )
    table: F64 = rows.astype(np.float64)
    if scores is None:
        own = table[:, 7].astype(np.int64)
        valid = (own >= 0) & (own < classes)
        shares = np.zeros((len(table), classes))
        shares[np.flatnonzero(valid), own[valid]] = table[valid, 8]
    else:
        shares = _sigmoid(scores) if rules.logits else scores.astype(np.float64)
    best = shares.max(axis=1, initial=0.0)
    strong = np.flatnonzero((best >= max(rules.score_threshold, 1e-6)) & np.isfinite(table[:, :7]).all(axis=1))
    strong = strong[np.argsort(-best[strong], kind="stable")][: rules.max_boxes]
    boxes, shares = table[strong, :7], shares[strong]
    if rules.nms_iou < 1.0:
        kept = nms_rotated(boxes, best[strong], rules.nms_iou)
        boxes, shares = boxes[kept], shares[kept]
    boxes[:, 6] = np.mod(boxes[:, 6] + np.pi, 2 * np.pi) - np.pi
    return boxes, shares


def _cells_last(output: Raw, layout: str) -> Raw:
    if output.ndim != 3:
        raise InputError(f"anchor head output has shape {list(output.shape)}, expected 3 axes after the batch", "shape")
    return np.moveaxis(output, 0, -1) if layout == "nchw" else output


def _per_anchor(output: Raw, anchors: int, numbers: int) -> Raw:
    """(anchors, numbers) rows of a map; numbers = 0: any."""
    if output.size % anchors or (numbers and output.size != anchors * numbers):
        raise InputError(f"anchor head output {list(output.shape)} does not fit {anchors} anchors", "shape")
    return output.reshape(anchors, -1)


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))


def _sigmoid(x: Raw) -> F64:
    value: F64 = 1.0 / (1.0 + np.exp(-np.clip(x.astype(np.float64), -60.0, 60.0)))
    return value


def _anchors(index: I64, width: int, height: int, head: AnchorHead, range_m: tuple[float, ...]) -> F64:
    """(N, 7) anchors of flat indices over (row, column, size, rotation)."""
    row, column, size, turn = np.unravel_index(index, (height, width, len(head.sizes_m), len(head.rotations_rad)))
    x = range_m[0] + column * (range_m[3] - range_m[0]) / max(width - 1, 1)
    y = range_m[1] + row * (range_m[4] - range_m[1]) / max(height - 1, 1)
    sizes = np.array(head.sizes_m)[size].reshape(-1, 3)
    z = np.array(head.bottoms_m)[size] + sizes[:, 2] / 2
    return np.column_stack([x, y, z, sizes, np.array(head.rotations_rad)[turn]])


def _uncode(code: F64, anchors: F64, bins: Raw | None, head: AnchorHead) -> F64:
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])
    boxes = np.empty_like(anchors)
    boxes[:, :2] = code[:, :2] * diagonal[:, None] + anchors[:, :2]
    boxes[:, 2] = code[:, 2] * anchors[:, 5] + anchors[:, 2]
    boxes[:, 3:6] = np.exp(np.clip(code[:, 3:6], -10.0, 10.0)) * anchors[:, 3:6]
    yaw = code[:, 6] + anchors[:, 6]
    if bins is not None:
        period = 2 * np.pi / bins.shape[1]
        start = yaw - head.direction_offset_rad
        yaw = start - np.floor(start / period + head.direction_limit) * period + head.direction_offset_rad
        yaw = yaw + period * bins.argmax(axis=1)
    boxes[:, 6] = np.mod(yaw + np.pi, 2 * np.pi) - np.pi
    return boxes
