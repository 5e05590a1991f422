"""Labels where nothing stands: boxes of vehicles through whose body most beams pass."""

from __future__ import annotations

import numpy as np

from percept_ros.types import F32, F64, Bool

_CORE = ((0.35, 0.3), (0.3, 0.5))
"""Half length and half width of the body's core, and its lowest and highest part, as shares of the box."""
_MOST = 0.5


def seen_through(points: F32, boxes: F64, sensor: F64) -> Bool:
    """(N,) whether more beams pass through the core of a box and go on than end in the box.

    No beam passes through bonnet, engine and seats of a true car, so such a label is empty or out of place. points: (P, 3)
    and boxes (N, 7) in the base frame; sensor: (3,) where the beams start.
    """
    result: Bool = np.array([_share(points, box, sensor) > _MOST for box in boxes], bool).reshape(-1)
    return result


def _share(points: F32, box: F64, sensor: F64) -> float:
    """Beams that pass the core, of those and of the returns within the box above its sill."""
    own, start = _in_box(points, box), _in_box(sensor[None], box)[0]
    length, width, height = box[3:6]
    (along, across), (low, high) = _CORE
    least = np.array([-along * length, -across * width, low * height])
    most = np.array([along * length, across * width, high * height])
    passing = _crosses(start, own - start, least, most).sum()
    inside = (np.abs(own[:, 0]) < length / 2) & (np.abs(own[:, 1]) < width / 2)
    ending = (inside & (own[:, 2] > 0.25 * height) & (own[:, 2] < height)).sum()
    return float(passing / max(1, passing + ending))


def _in_box(points: F32 | F64, box: F64) -> F64:
    """(P, 3) points with the box's bottom centre as origin and its length along x."""
    shifted = points - np.array([box[0], box[1], box[2] - box[5] / 2])
    c, s = np.cos(box[6]), np.sin(box[6])
    return np.column_stack(
        [c * shifted[:, 0] + s * shifted[:, 1], c * shifted[:, 1] - s * shifted[:, 0], shifted[:, 2]]
    )


def _crosses(start: F64, way: F64, least: F64, most: F64) -> Bool:
    """(P,) whether the beams from ``start`` over ``way`` (P, 3) leave an axis-parallel block again before they end."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (least - start) / way, (most - start) / way
    enter, leave = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
    crosses: Bool = (enter < leave) & (leave > 0.0) & (leave < 1.0)
    return crosses
