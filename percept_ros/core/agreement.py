"""How well cameras and LiDAR agree on one sensor set: who sees what the other sees, and by how much projections miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from percept_ros.core.fusion import FusionConfig, match
from percept_ros.core.geometry import inverse, project_boxes
from percept_ros.types import F64, Bool, CameraView, Detections, Detections2D

_SURE = 0.4
_NEAREST_M = 8.0
_BORDER_PX = 2.0


@dataclass(frozen=True, slots=True)
class CameraAgreement:
    """One camera. expected: boxes that it should see; seen: those it sees.

    residual_rad: (K, 2) right and down, image box less projected box, of matched boxes that lie whole in the image.
    """

    expected: int
    seen: int
    residual_rad: F64


def camera_agreement(
    detections: Detections, detections_2d: Mapping[str, Detections2D], views: Mapping[str, CameraView]
) -> dict[str, CameraAgreement]:
    """Camera -> agreement, for the cameras that were looked at. ``detections`` are those of the LiDAR, not yet fused."""
    sure = _strong(detections)
    return {name: _agree(sure, seen, views[name]) for name, seen in detections_2d.items() if name in views}


def _strong(detections: Detections) -> Detections:
    keep = detections.scores >= _SURE
    return Detections(
        detections.stamp_ns,
        detections.frame_id,
        detections.boxes[keep],
        detections.scores[keep],
        detections.class_probabilities[keep],
        detections.velocity_mps[keep],
        detections.sensors[keep],
    )


def _agree(detections: Detections, seen: Detections2D, view: CameraView) -> CameraAgreement:
    rules = FusionConfig()
    size = (view.width_px, view.height_px)
    projected, visible = project_boxes(view.projection, inverse(view.base_SE3_camera), detections.boxes, size)
    range_m = np.hypot(*(detections.boxes[:, :2] - view.base_SE3_camera[:2, 3]).T)
    rows, columns = match(detections, projected, visible, range_m, seen, rules)
    whole = _whole(projected, size) & visible
    expected = whole & (projected[:, 3] - projected[:, 1] >= rules.min_height_px) & (range_m <= rules.expect_range_m)
    measured = whole[rows] & (range_m[rows] > _NEAREST_M) & _whole(seen.boxes_px[columns], size)
    miss_px = _centre(seen.boxes_px[columns[measured]]) - _centre(projected[rows[measured]])
    focal_px = np.array([view.projection[0, 0], view.projection[1, 1]])
    return CameraAgreement(int(expected.sum()), int(expected[rows].sum()), miss_px / focal_px)


def _whole(boxes_px: F64, size: tuple[int, int]) -> Bool:
    low, high = boxes_px[:, :2] > _BORDER_PX, boxes_px[:, 2:] < np.array(size) - _BORDER_PX
    return np.asarray(np.concatenate([low, high], axis=1).all(axis=1), np.bool_)


def _centre(boxes_px: F64) -> F64:
    centre: F64 = 0.5 * (boxes_px[:, :2] + boxes_px[:, 2:])
    return centre
