"""Late fusion of 3D boxes with 2D boxes of cameras.

Projected 3D boxes are assigned to 2D boxes. A camera that sees what the LiDAR sees raises the existence and sharpens the
class; a camera that should see it and does not lowers the existence; a 2D box that no 3D box explains, but with returns
inside, becomes a 3D box of its own (frustum.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from percept_ros.core.assignment import best_assignment
from percept_ros.core.frustum import propose
from percept_ros.core.geometry import inverse, project_boxes
from percept_ros.core.shapes import SHAPES, extend_away, shape_class
from percept_ros.settings import setting
from percept_ros.types import F32, F64, I64, NUM_CLASSES, Bool, CameraView, Detections, Detections2D, ObjectClass


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Camera-LiDAR fusion."""

    min_affinity: float = setting(0.3, "a 3D and a 2D box that overlap less are not the same", low=0.0, high=1.0)
    min_height_px: float = setting(28.0, "a camera is expected to see objects at least this high", low=1.0, high=1000.0)
    expect_range_m: float = setting(45.0, "and at most this far away", low=1.0, high=500.0)
    miss_ratio: float = setting(
        0.45, "odds of existence are multiplied by this when a camera misses it", low=0.01, high=1
    )
    propose: bool = setting(True, "make 3D boxes from unexplained 2D boxes with returns inside")
    propose_score: float = setting(0.45, "2D boxes weaker than this make no 3D box", low=0.0, high=1.0)
    min_points: int = setting(5, "nor do those with fewer returns inside", low=1, high=1000)


_KIN = np.eye(NUM_CLASSES)
for _group in (
    (ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.BUS, ObjectClass.TRAILER),
    (ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE, ObjectClass.MOTORCYCLE),
):
    for _a in _group:
        for _b in _group:
            _KIN[_a, _b] = 1.0 if _a == _b else 0.35
_KIN[ObjectClass.UNKNOWN, :] = 0.5
_BELIEF = 0.2
"""Affinity that a 3D box of certain existence is worth."""
_UNNAMED_ODDS = 0.25
"""Odds that a cluster which fits no shape is an object at all, before a camera speaks: its score tells of shapes only."""
_CONFUSION = np.maximum(_KIN, 0.05)
"""(C, C) how likely a camera says class b (column) of an object of class a (row), up to a factor of each row."""


def fuse(
    detections: Detections,
    detections_2d: Mapping[str, Detections2D],
    views: Mapping[str, CameraView],
    points_base: F32 | None,
    config: FusionConfig | None = None,
) -> Detections:
    """Detections with existence, class and sensor mask updated by every camera, and proposals added.

    points_base: (P, 3) returns in the base frame, or None (then nothing is proposed). Without 2D boxes or views the
    detections come back as they are.
    """
    rules = config or FusionConfig()
    for name, seen in detections_2d.items():
        if name in views:
            detections = _fuse_camera(detections, seen, views[name], points_base, rules)
    return detections


def _fuse_camera(
    detections: Detections, seen: Detections2D, view: CameraView, points_base: F32 | None, rules: FusionConfig
) -> Detections:
    size = (view.width_px, view.height_px)
    camera_SE3_base = inverse(view.base_SE3_camera)
    projected, visible = project_boxes(view.projection, camera_SE3_base, detections.boxes, size)
    range_m = np.hypot(*(detections.boxes[:, :2] - view.base_SE3_camera[:2, 3]).T)
    rows, columns = match(detections, projected, visible, range_m, seen, rules)
    missed = _expected(projected, visible, range_m, size, rules)
    missed[rows] = False
    updated = _update(detections, seen, view, rows, columns, missed, rules)
    left = np.setdiff1d(np.arange(len(seen.scores)), columns)
    left = left[seen.scores[left] >= rules.propose_score]
    if points_base is None or not rules.propose or not len(left):
        return updated
    return propose(updated, seen, left, view, points_base, rules.min_points)


def match(
    detections: Detections, projected: F64, visible: Bool, range_m: F64, seen: Detections2D, rules: FusionConfig
) -> tuple[I64, I64]:
    """Rows of 3D and of 2D boxes that are the same object: best total affinity, likelier and nearer boxes first where equal."""
    if not visible.any() or not len(seen.scores):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    affinity = _affinity(projected, seen.boxes_px)
    kinship = detections.class_probabilities @ _KIN[:, seen.class_ids]
    affinity *= 0.5 + 0.5 * np.minimum(1.0, 2.0 * kinship)
    affinity *= _size_allows(detections.boxes, seen.class_ids)
    affinity[~visible] = 0.0
    preference = _BELIEF * detections.scores - 0.001 * np.minimum(range_m, 100.0)
    gain = np.where(affinity >= rules.min_affinity, affinity + preference[:, None], 0.0)
    rows, columns = best_assignment(gain)
    real = gain[rows, columns] > 0.0
    return rows[real].astype(np.int64), columns[real].astype(np.int64)


def _affinity(a: F64, b: F64) -> F64:
    """(N, M) of image boxes: overlap over union, or half the share of the smaller box where one lies in the other."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    area_a, area_b = _area(a)[:, None], _area(b)[None]
    iou = shared / np.maximum(area_a + area_b - shared, 1e-9)
    within = shared / np.maximum(np.minimum(area_a, area_b), 1e-9)
    affinity: F64 = np.maximum(iou, np.where(iou > 0.12, 0.5 * within, 0.0))
    return affinity


def _area(boxes_px: F64) -> F64:
    area: F64 = (boxes_px[:, 2] - boxes_px[:, 0]) * (boxes_px[:, 3] - boxes_px[:, 1])
    return area


def _size_allows(boxes: F64, class_ids: I64) -> F64:
    """(N, M) 1 where a box is not larger than the class may be, else 0."""
    most = np.array([_largest(ObjectClass(int(c))) for c in class_ids]).reshape(-1, 2)
    edges = np.sort(boxes[:, 3:5], axis=1)[:, ::-1]
    return np.asarray((edges[:, None] <= most[None]).all(axis=2), np.float64)


def _largest(class_id: ObjectClass) -> tuple[float, float]:
    shape = SHAPES.get(shape_class(class_id))
    return (1e9, 1e9) if shape is None else (shape.length[3] * 1.2, shape.width[3] * 1.3)


def _expected(projected: F64, visible: Bool, range_m: F64, size: tuple[int, int], rules: FusionConfig) -> Bool:
    """Whether a camera should see each box: large enough, near enough, well inside and not behind another."""
    high = (projected[:, 3] - projected[:, 1]) >= rules.min_height_px
    inside = (projected[:, 0] > 2) & (projected[:, 2] < size[0] - 2) & visible
    expected: Bool = high & inside & (range_m <= rules.expect_range_m)
    for i in np.flatnonzero(expected):
        nearer = visible & (range_m < range_m[i] - 1.0)
        low = np.maximum(projected[nearer, :2], projected[i, :2])
        cover = np.clip(np.minimum(projected[nearer, 2:], projected[i, 2:]) - low, 0, None).prod(axis=1)
        area = (projected[i, 2:] - projected[i, :2]).prod()
        expected[i] = not cover.size or cover.max() < 0.4 * area
    return expected


def _update(
    detections: Detections,
    seen: Detections2D,
    view: CameraView,
    rows: I64,
    columns: I64,
    missed: Bool,
    rules: FusionConfig,
) -> Detections:
    """Bayes: odds of existence times P(camera | object) / P(camera | none); class times the camera's confusion."""
    odds = detections.scores / np.clip(1.0 - detections.scores, 0.01, None)
    odds[missed] *= rules.miss_ratio
    probabilities = detections.class_probabilities.copy()
    before = detections.class_ids
    said = seen.scores[columns]
    least = np.where(before[rows] == ObjectClass.UNKNOWN, _UNNAMED_ODDS, 0.0)
    odds[rows] = np.maximum(odds[rows], least) * (0.1 + 0.9 * said) / (0.3 - 0.25 * said)
    probabilities[rows] = _named(probabilities[rows], seen.class_ids[columns], said)
    sensors = detections.sensors.copy()
    sensors[rows] |= np.uint32(view.bit)
    named = replace(
        detections,
        scores=np.clip(odds / (1.0 + odds), 0.01, 0.99),
        class_probabilities=probabilities,
        sensors=sensors,
    )
    changed = rows[(before[rows] == ObjectClass.UNKNOWN) & (named.class_ids[rows] != ObjectClass.UNKNOWN)]
    return replace(named, boxes=_grow(named, changed, view)) if len(changed) else named


def _named(probabilities: F64, class_ids: I64, said: F64) -> F64:
    """(K, C) class after the camera said ``class_ids`` with scores ``said``; being unknown is no class but ignorance, and the
    camera's word takes its place in as far as it is sure."""
    rows = np.arange(len(said))
    unknown = probabilities[:, ObjectClass.UNKNOWN].copy()
    likelihood = said[:, None] * _CONFUSION[:, class_ids].T + (1.0 - said[:, None]) * 0.3
    known = probabilities * likelihood
    known[:, ObjectClass.UNKNOWN] = unknown * (1.0 - said)
    known[rows, class_ids] += unknown * said
    total: F64 = known.sum(axis=1, keepdims=True)
    return known / total


def _grow(detections: Detections, rows: I64, view: CameraView) -> F64:
    """Boxes, where those of ``rows`` are extended to the usual size of their class."""
    boxes = detections.boxes.copy()
    ids = detections.class_ids
    for row in rows:
        shape = SHAPES.get(shape_class(ObjectClass(int(ids[row]))))
        if shape is None:
            continue
        one = boxes[row : row + 1].copy()
        if shape.usual[0] > 3.0 and one[0, 4] < one[0, 3] < 2.4:  # a vehicle seen end-on: its longer edge is the width
            one[0, 3:5] = one[0, 4], one[0, 3]
            one[0, 6] += np.pi / 2
            one[0, 6] += np.pi * (np.cos(one[0, 6]) < 0)
        boxes[row] = extend_away(one, np.array([shape.usual[:2]]), view.base_SE3_camera[:2, 3])[0]
    boxes[:, 6] = np.mod(boxes[:, 6] + np.pi, 2 * np.pi) - np.pi
    return boxes
