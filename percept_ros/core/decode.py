"""From network outputs to boxes: heat-map peaks, centre heads, and the ways to suppress double boxes.

Boxes here are rows ``[x, y, z, l, w, h, yaw]`` (see types.py); suppression looks at them from above only.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.errors import ConfigError, InputError
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64

_FROM_ABOVE = (0, 1, 3, 4, 6)
SUPPRESSIONS = ("rotated", "circle", "soft", "peaks")


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    address, count, real = ctypes.c_void_p, ctypes.c_int32, ctypes.c_double
    return {
        "iou": bind("percept_bev_iou", [address, count, address, count, address]),
        "nms": bind("percept_nms_rotated", [address, count, real, address]),
        "peaks": bind("percept_heat_peaks", [address, count, count, count, ctypes.c_float, count, address]),
    }


def _from_above(boxes: F64) -> F64:
    return np.ascontiguousarray(boxes[:, _FROM_ABOVE], np.float64)


def _checked(status: int, what: str) -> int:
    if status < 0:
        raise InputError(f"{what}: boxes must be finite with sizes >= 0 (kernel status {status})", "box")
    return status


def bev_iou(boxes_a: F64, boxes_b: F64) -> F64:
    """(N, M) overlap over union from above of (N, 7) and (M, 7) boxes. Raises InputError for non-finite boxes."""
    a, b = _from_above(boxes_a), _from_above(boxes_b)
    out = np.empty((len(a), len(b)))
    _checked(_functions()["iou"](pointer(a), len(a), pointer(b), len(b), pointer(out)), "overlap")
    return out


def nms_rotated(boxes: F64, scores: F64, iou: float) -> I64:
    """Indices kept, best first: greedily drops every box that overlaps a better one by more than ``iou``."""
    order = np.argsort(-scores, kind="stable")
    rows = _from_above(boxes[order])
    keep = np.empty(len(rows), np.uint8)
    _checked(_functions()["nms"](pointer(rows), len(rows), iou, pointer(keep)), "rotated suppression")
    kept: I64 = order[keep.astype(bool)]
    return kept


def nms_circle(boxes: F64, scores: F64, radius_m: float) -> I64:
    """Indices kept, best first: greedily drops every box whose centre lies within ``radius_m`` of a better one's."""
    order = np.argsort(-scores, kind="stable")
    xy = boxes[order, :2]
    near = ((xy[:, None] - xy[None]) ** 2).sum(-1) <= radius_m**2
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~near[i, i + 1 :]
    kept: I64 = order[alive]
    return kept


def nms_soft(boxes: F64, scores: F64, sigma: float, threshold: float) -> tuple[I64, F64]:
    """Indices kept, best first, and their lowered scores: overlap with each better box multiplies by exp(-iou^2 / sigma).

    Boxes that fall below ``threshold`` are dropped. Source: Bodla et al., "Soft-NMS", ICCV 2017, equation 5.
    """
    overlap = bev_iou(boxes, boxes)
    left, now = np.arange(len(boxes)), scores.astype(np.float64).copy()
    kept: list[int] = []
    while len(left):
        best = left[np.argmax(now[left])]
        if now[best] < threshold:
            break
        kept.append(int(best))
        left = left[left != best]
        now[left] *= np.exp(-(overlap[best, left] ** 2) / sigma)
    index = np.array(kept, np.int64)
    return index, now[index]


def heat_peaks(heat: F32, threshold: float, most: int) -> tuple[I64, I64, I64]:
    """(class, row, column) of 3 x 3 maxima of a (C, H, W) heat map at or above ``threshold``, best first, at most ``most``.

    On a plateau the earliest cell in memory order is the peak. Values that are not numbers are never peaks.
    """
    if heat.ndim != 3 or heat.size == 0:
        raise InputError(f"heat map has shape {heat.shape}, expected (C, H, W)", "shape")
    heat = np.ascontiguousarray(heat, np.float32)
    index = np.empty(most, np.int32)
    found = _functions()["peaks"](pointer(heat), *heat.shape, threshold, most, pointer(index))
    if found < 0:
        raise InputError(f"heat map peaks: kernel status {found}", "heat")
    c, y, x = np.unravel_index(index[:found].astype(np.int64), heat.shape)
    return c, y, x


@dataclass(frozen=True, slots=True)
class CentreHeads:
    """How centre-head outputs become boxes.

    origin_m: x and y of the grid's corner. cell_m: side of an output cell. suppression: one of SUPPRESSIONS.
    iou: for ``rotated``. radius_m: for ``circle``. sigma: for ``soft``. max_boxes: limit before suppression.
    heading: attachment that judges which end of a car is its front (core/heading.py), "" = the network's own answer stands.
    """

    origin_m: float = -51.2
    cell_m: float = 0.8
    score_threshold: float = 0.1
    max_boxes: int = 400
    suppression: str = "rotated"
    iou: float = 0.2
    radius_m: float = 1.0
    sigma: float = 0.3
    heading: str = ""

    def __post_init__(self) -> None:
        if self.suppression not in SUPPRESSIONS:
            raise ConfigError(f"suppression '{self.suppression}' is none of {', '.join(SUPPRESSIONS)}")


BOX_CHANNELS = ("dx", "dy", "z", "log_l", "log_w", "log_h", "cos", "sin", "cos2", "sin2")
"""Channels of the ``box`` output: offset of the centre from the cell centre in cells, height of the box centre above
the road (m), logarithms of the sizes (m), heading, and axis (double angle)."""


def decode_yaw(heading: F64) -> F64:
    """(N,) yaw from (N, 4) cos, sin, cos 2yaw, sin 2yaw: the axis from the double angle, which way round from the single."""
    axis = 0.5 * np.arctan2(heading[:, 3], heading[:, 2])
    forward = np.cos(axis) * heading[:, 0] + np.sin(axis) * heading[:, 1] >= 0.0
    yaw: F64 = np.where(forward, axis, np.where(axis > 0.0, axis - np.pi, axis + np.pi))
    return yaw


def decode_centres(heat: F32, box: F32, how: CentreHeads) -> tuple[F64, F64, F64]:
    """Boxes (N, 7) with z above the road, scores (N,), and the class scores at each centre (N, C), best first.

    heat: (C, H, W) scores in [0, 1]. box: (10, H, W), channels as in ``BOX_CHANNELS``.
    """
    c, y, x = heat_peaks(heat, how.score_threshold, how.max_boxes)
    values = box[:, y, x].T.astype(np.float64)
    boxes = np.empty((len(c), 7))
    boxes[:, 0] = how.origin_m + (x + 0.5 + values[:, 0]) * how.cell_m
    boxes[:, 1] = how.origin_m + (y + 0.5 + values[:, 1]) * how.cell_m
    boxes[:, 2] = values[:, 2]
    boxes[:, 3:6] = np.exp(np.clip(values[:, 3:6], -2.5, 3.5))
    boxes[:, 6] = decode_yaw(values[:, 6:10])
    scores = heat[c, y, x].astype(np.float64)
    kept, scores = suppress(boxes, scores, how)
    return boxes[kept], scores, heat[:, y[kept], x[kept]].T.astype(np.float64)


def suppress(boxes: F64, scores: F64, how: CentreHeads) -> tuple[I64, F64]:
    """Indices kept by ``how.suppression``, best first, and their scores."""
    if how.suppression == "soft":
        return nms_soft(boxes, scores, how.sigma, how.score_threshold)
    if how.suppression == "rotated":
        kept = nms_rotated(boxes, scores, how.iou)
    elif how.suppression == "circle":
        kept = nms_circle(boxes, scores, how.radius_m)
    else:
        kept = np.argsort(-scores, kind="stable")
    return kept, scores[kept]
