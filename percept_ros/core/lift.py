"""What a bird's-eye network needs of the cameras: small images, and projections from the road frame to them.

The road frame is the base frame with the fitted road taken off: z is height above the road.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from percept_ros.core.bev import GroundPlane
from percept_ros.core.geometry import inverse
from percept_ros.types import F32, F64, U8, CameraFrame, CameraView


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Size of the network's camera images, and most cameras it takes."""

    width_px: int = 384
    height_px: int = 208
    most: int = 8


def small_image(image: U8, how: ImageInput) -> U8:
    """(height_px, width_px, 3) uint8: the whole image, squeezed (projections are squeezed with it)."""
    resized: U8 = np.asarray(cv2.resize(image, (how.width_px, how.height_px), interpolation=cv2.INTER_AREA), np.uint8)
    return resized


def base_SE3_road(ground: GroundPlane) -> F64:
    """(4, 4) shear from the road frame to the base frame."""
    matrix = np.eye(4)
    matrix[2, :2], matrix[2, 3] = (ground.slope_x, ground.slope_y), ground.height_m
    return matrix


def road_projection(view: CameraView, ground: GroundPlane) -> F32:
    """(3, 4) from the road frame to (u d, v d, d), u and v in [-1, 1] across the image, d depth in metres."""
    across = np.array([[2.0 / view.width_px, 0.0, -1.0], [0.0, 2.0 / view.height_px, -1.0], [0.0, 0.0, 1.0]])
    matrix = across @ view.projection @ inverse(view.base_SE3_camera) @ base_SE3_road(ground)
    projection: F32 = matrix.astype(np.float32)
    return projection


def camera_inputs(
    frames: Mapping[str, CameraFrame], views: Mapping[str, CameraView], ground: GroundPlane, how: ImageInput
) -> tuple[F32, F32, int]:
    """Images (N, 3, height, width) float32 BGR in [0, 1], projections (N, 3, 4), and the mask bits of the cameras used.

    Cameras beyond ``how.most`` are left out, the last in configured order first. With no camera N is 1: a black image
    whose projection sees nothing, for the network needs at least one.
    """
    used = sorted(views.values(), key=lambda view: view.bit)[: how.most]
    if not used:
        return np.zeros((1, 3, how.height_px, how.width_px), np.float32), np.zeros((1, 3, 4), np.float32), 0
    images = np.stack([small_image(frames[view.name].image, how) for view in used])
    scaled = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255.0)
    return scaled, np.stack([road_projection(view, ground) for view in used]), sum(view.bit for view in used)
