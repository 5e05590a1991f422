"""Obstacles from clusters: which class a cluster's shape speaks for, and the whole box behind the part that was seen.

Rules, not weights: every class has a range of sizes. A LiDAR sees at most the near sides of a box, so one edge that looks like
the class's length or width is enough when the other is not longer than the class allows; a side that was not seen is
extended away from the sensor to the usual size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from percept_ros.types import F32, F64, I64, NUM_CLASSES, ObjectClass

Corners = tuple[float, float, float, float]
"""Trapezium: 0 outside the outer numbers, 1 between the inner ones."""


class Column(IntEnum):
    """Columns of a cluster (PerceptClusterColumn in kernels/percept_cluster.h)."""

    X = 0
    Y = 1
    YAW = 2
    LENGTH = 3
    WIDTH = 4
    GROUND_Z = 5
    BOTTOM = 6
    TOP = 7
    POINTS = 8
    RANGE = 9
    RESIDUAL = 10
    COVER_A = 11
    COVER_B = 12
    HIDDEN = 13
    OVERHANG = 14
    DEPTH = 15
    SPLIT = 16
    CUT = 17
    FILL = 18


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one class, metres.

    usual: length, width, height that a hidden side is extended to. length, width: of an edge seen in full. top: height of the
    highest return. weight: score of a perfect fit. needs_both: both edges must fit. side_on, end_on: factors where
    only the length, only the width is seen. rough: how much farther from its rectangle's edges than a car's the outline may lie.
    """

    usual: tuple[float, float, float]
    length: Corners
    width: Corners
    top: Corners
    weight: float
    needs_both: bool = False
    side_on: float = 1.0
    end_on: float = 1.0
    rough: float = 1.0


SHAPES: dict[ObjectClass, Shape] = {
    ObjectClass.CAR: Shape(
        usual=(4.2, 1.75, 1.55),
        length=(2.0, 3.0, 5.2, 6.4),
        width=(1.1, 1.4, 2.0, 2.4),
        top=(0.8, 1.15, 2.0, 2.6),
        weight=0.95,
    ),
    ObjectClass.TRUCK: Shape(
        usual=(7.0, 2.5, 3.0),
        length=(4.0, 6.0, 14.0, 20.0),
        width=(1.9, 2.2, 2.8, 3.3),
        top=(1.9, 2.4, 4.2, 4.7),
        weight=0.8,
        side_on=0.6,
        end_on=0.7,
        rough=2.0,
    ),
    ObjectClass.PEDESTRIAN: Shape(
        usual=(0.6, 0.6, 1.7),
        length=(0.1, 0.25, 0.8, 1.1),
        width=(-2.0, -1.0, 0.7, 0.9),
        top=(1.1, 1.4, 1.9, 2.1),
        weight=0.5,
        needs_both=True,
    ),
    ObjectClass.BICYCLE: Shape(
        usual=(1.75, 0.6, 1.7),
        length=(1.0, 1.4, 1.9, 2.2),
        width=(-2.0, -1.0, 0.7, 1.0),
        top=(1.2, 1.45, 1.85, 2.1),
        weight=0.5,
        needs_both=True,
    ),
}
"""Ranges of road users' sizes; not fitted to a recording."""

_UNKNOWN_WEIGHT = 0.2
_THICK_M = 0.9
"""What is taken off something longer must be this thick to count by one edge: walls break into thin pieces."""


def obstacles(clusters: F32, sensor_xy: F64) -> tuple[F64, F64, F64]:
    """Boxes (N, 7), scores (N,) in [0, 1] and class probabilities (N, C) of clusters (N, 19).

    sensor_xy: (2,) position of the sensor. All in the base frame. A cluster that fits no class stays UNKNOWN with the box
    that was seen and a low score.
    """
    if not len(clusters):
        return np.zeros((0, 7)), np.zeros(0), np.zeros((0, NUM_CLASSES))
    c = clusters.astype(np.float64)
    fits = np.stack([_fits(c, shape) for shape in SHAPES.values()], axis=1) * _quality(c)[:, None, None]
    probabilities = np.zeros((len(c), NUM_CLASSES))
    probabilities[:, list(SHAPES)] = fits.max(axis=2)
    scores: F64 = probabilities.max(axis=1)
    probabilities[:, ObjectClass.UNKNOWN] = np.maximum(_UNKNOWN_WEIGHT, 0.5 - scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    unknown = probabilities.argmax(axis=1) == ObjectClass.UNKNOWN
    turned = fits.max(axis=1).argmax(axis=1)
    boxes = _complete(c, np.where(unknown, -1, fits.max(axis=2).argmax(axis=1)), turned, sensor_xy)
    return boxes, np.clip(scores, 0.01, 0.99), probabilities


def _trapezium(x: F64, corners: Corners) -> F64:
    a, b, c, d = corners
    value: F64 = np.clip(np.minimum((x - a) / (b - a), (d - x) / (d - c)), 0.0, 1.0)
    return value


def _at_most(x: F64, sure: float, never: float) -> F64:
    value: F64 = np.clip((never - x) / (never - sure), 0.0, 1.0)
    return value


def _quality(c: F64) -> F64:
    """How much a cluster looks like one solid body that stands on the road, [0, 1], whatever its outline."""
    far = 0.004 * c[:, Column.RANGE]
    solid = _at_most(c[:, Column.DEPTH], 1.2, 2.2)
    stands = _at_most(c[:, Column.BOTTOM] - far, 0.45, 0.9)
    count: F64 = 1.0 - np.exp(-c[:, Column.POINTS] / 10.0)
    dense = np.where(c[:, Column.POINTS] > 150, 1.0, np.clip((c[:, Column.FILL] - 0.05) / 0.25, 0.0, 1.0))
    whole = np.where(c[:, Column.SPLIT] > 0, 0.7, 1.0)
    return solid * stands * count * dense * whole


def _fits(c: F64, shape: Shape) -> F64:
    """(N, 2) how well the shape fits with its length along the rectangle's yaw, and across it."""
    top = np.where(c[:, Column.CUT] > 0, np.maximum(c[:, Column.TOP], shape.top[1]), c[:, Column.TOP])
    high = shape.weight * _trapezium(top, shape.top)
    sides = (
        (Column.LENGTH, Column.WIDTH, Column.COVER_A, Column.COVER_B),
        (Column.WIDTH, Column.LENGTH, Column.COVER_B, Column.COVER_A),
    )
    return np.stack([high * _seen(c, shape, *side) for side in sides], axis=1)


def _seen(c: F64, shape: Shape, along: Column, across: Column, cover_along: Column, cover_across: Column) -> F64:
    """How well the outline fits a shape whose length lies along the column ``along``."""
    length, width = c[:, along], c[:, across]
    as_length, as_width = _trapezium(length, shape.length), _trapezium(width, shape.width)
    both = np.minimum(as_length, as_width)
    room = _at_most(length, *shape.length[2:]) * _at_most(width, *shape.width[2:])
    if shape.needs_both:
        return both * room * _surface(c, shape.rough)
    side_on = as_length * (0.5 + 0.5 * c[:, cover_along]) * np.where(_wall_like(c, width), 0.5, 1.0) * shape.side_on
    end_on = as_width * (0.4 + 0.5 * c[:, cover_across]) * shape.end_on
    apart = (c[:, Column.SPLIT] == 0) | (np.minimum(length, width) >= _THICK_M)
    one = np.where(apart, np.maximum(side_on, end_on), 0.0) * _surface(c, shape.rough)
    return room * np.maximum(one, 0.9 * both * _surface(c, shape.rough * (1.0 + 0.5 * both)))


def _surface(c: F64, rough: float | F64) -> F64:
    """How closely the outline follows the rectangle's visible edges; a car seen over another one shows roof and glass too."""
    return np.clip((0.35 * rough - c[:, Column.RESIDUAL] + 0.004 * c[:, Column.RANGE]) / (0.25 * rough), 0.0, 1.0)


def _wall_like(c: F64, width: F64) -> npt.NDArray[np.bool_]:
    """Thin, and higher than seen or hidden at both ends: a piece of something longer."""
    more: npt.NDArray[np.bool_] = (c[:, Column.TOP] > 1.9) | (c[:, Column.CUT] > 0) | (c[:, Column.HIDDEN] > 0.9)
    return (width < 0.5) & more


def _complete(c: F64, best: I64, turned: I64, sensor_xy: F64) -> F64:
    """Whole boxes. best: index into SHAPES or -1. turned: 1 where the length lies across the rectangle's yaw."""
    usual = np.array([shape.usual for shape in SHAPES.values()] + [(0.0, 0.0, 0.0)])[best]
    across = turned > 0
    yaw = c[:, Column.YAW] + np.where(across, np.pi / 2, 0.0)
    seen = np.where(across[:, None], c[:, [Column.WIDTH, Column.LENGTH]], c[:, [Column.LENGTH, Column.WIDTH]])
    height = np.maximum(c[:, Column.TOP], np.where(c[:, Column.CUT] > 0, usual[:, 2], 0.3))
    yaw = np.mod(yaw + np.where(np.cos(yaw) < 0, np.pi, 0.0) + np.pi, 2 * np.pi) - np.pi
    boxes = np.column_stack([c[:, :2], c[:, Column.GROUND_Z] + height / 2, seen, height, yaw])
    return extend_away(boxes, np.maximum(usual[:, :2], 0.1), sensor_xy)


def alone(boxes: F64, scores: F64) -> I64:
    """Indices of boxes, best first, without those deep in a better one: parts of an object give way to the whole.

    Deep: along and across the better box their centres are nearer than three quarters of where the boxes would touch.
    Boxes of score 0 push nothing away.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order]
    c, s = np.cos(ranked[:, 6]), np.sin(ranked[:, 6])
    dx, dy = (ranked[None, :, k] - ranked[:, None, k] for k in (0, 1))
    along, across = np.abs(dx * c[:, None] + dy * s[:, None]), np.abs(dy * c[:, None] - dx * s[:, None])
    touch = 0.375 * (ranked[:, None, 3:5] + ranked[None, :, 3:5])
    within = (along < touch[..., 0]) & (across < touch[..., 1])
    np.fill_diagonal(within, False)
    kept = np.ones(len(order), np.bool_)
    for i in range(len(order)):
        if kept[i] and scores[order[i]] > 0.0:
            kept[i + 1 :] &= ~within[i, i + 1 :]
    chosen: I64 = order[kept].astype(np.int64)
    return chosen


def extend_away(boxes: F64, least: F64, sensor_xy: F64) -> F64:
    """(N, 7) boxes made at least (N, 2) ``least`` long and wide; the sides that face the sensor stay where they are."""
    grown = boxes.copy()
    seen = boxes[:, 3:5]
    full = np.maximum(seen, least)
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    directions = np.stack([c, s, -s, c], axis=1).reshape(-1, 2, 2)
    toward = np.einsum("nki,ni->nk", directions, sensor_xy - boxes[:, :2])
    side = np.where(np.abs(toward) > seen / 2, np.sign(toward), 0.0)
    grown[:, :2] -= np.einsum("nk,nki->ni", side * (full - seen) / 2, directions)
    grown[:, 3:5] = full
    return grown


def box_as(class_id: ObjectClass, rectangle: F32, ground_z: float, top_m: float, sensor_xy: F64) -> F64:
    """(7,) whole box of something known to be ``class_id``. rectangle: (8,) of ``fit_rectangle``, top_m: above the ground."""
    shape = SHAPES[shape_class(class_id)]
    c = np.zeros((1, len(Column)))
    c[0, [Column.X, Column.Y, Column.YAW, Column.LENGTH, Column.WIDTH]] = rectangle[:5]
    c[0, [Column.COVER_A, Column.COVER_B]] = rectangle[6:8]
    c[0, [Column.GROUND_Z, Column.TOP]] = ground_z, max(top_m, shape.usual[2] * 0.8)
    turned = _fits(c, replace(shape, top=(-1.0, 0.0, 9.0, 10.0))).argmax(axis=1)
    whole: F64 = _complete(c, np.array([list(SHAPES).index(shape_class(class_id))]), turned, sensor_xy)[0]
    return whole


def shape_class(class_id: ObjectClass) -> ObjectClass:
    """The class of SHAPES whose sizes stand for ``class_id``."""
    kin = {ObjectClass.BUS: ObjectClass.TRUCK, ObjectClass.TRAILER: ObjectClass.TRUCK}
    kin[ObjectClass.MOTORCYCLE] = ObjectClass.BICYCLE
    return kin.get(class_id, class_id)
