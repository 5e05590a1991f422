"""A sparse look at what a sensor sent, and at how much of it is as it was: kernels/percept_screen.h."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from percept_ros.native import bind, pointer
from percept_ros.types import F32, U8, PointCloud

_STRIDE_PX = 32
_STRIDE_POINTS = 64


class Look(NamedTuple):
    """What was seen of one message.

    sample: what the next one is compared with. same: whether it is the sample before, to the bit. alike: share of it that is,
    of what could have changed. roughness: mean difference of pixels side by side, of 255; median difference of the ranges of
    points side by side, metres. level, spread: mean and standard deviation of an image's sample.
    """

    sample: U8 | F32
    same: bool
    alike: float
    roughness: float
    level: float = 0.0
    spread: float = 0.0


def look_at_image(image: U8, before: U8 | F32 | None = None) -> Look:
    """Every 32nd pixel of an image (H, W, 3). before: sample of the image before."""
    if image.strides[1:] != (3, 1) or image.strides[0] < 3 * image.shape[1]:
        image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    row_bytes = image.strides[0] if height > 1 else 3 * width
    sample: U8 = np.empty((-(-height // _STRIDE_PX), -(-width // _STRIDE_PX), 3), np.uint8)
    figures = np.empty(5)
    known = before is not None and before.shape == sample.shape and before.dtype == np.uint8
    code = _image_kernel()(
        image.ctypes.data,
        height,
        width,
        row_bytes,
        _STRIDE_PX,
        pointer(before) if before is not None and known else None,
        pointer(sample),
        pointer(figures),
    )
    if code < 0:
        raise ValueError(f"image of shape {image.shape} and strides {image.strides} cannot be looked at")
    level, spread, roughness, same, alike = figures.tolist()
    return Look(sample, known and same == 1.0, alike if known else 0.0, roughness, level, spread)


def look_at_sweep(cloud: PointCloud, before: U8 | F32 | None = None) -> Look:
    """Every 64th point of a sweep that is not empty: of it, what stays the same when it comes again. Intensities where they
    tell anything, for motion compensation moves points; else points."""
    points, intensity = cloud.points, cloud.intensity
    if points.dtype != np.float32 or points.strides[1] != 4:
        points = np.ascontiguousarray(points, np.float32)
    if intensity is not None and intensity.dtype != np.float32:
        intensity = np.ascontiguousarray(intensity, np.float32)
    sample: F32 = np.empty(3 * -(-len(points) // _STRIDE_POINTS), np.float32)
    figures = np.empty(2)
    known = before is not None and before.dtype == np.float32
    size = _points_kernel()(
        points.ctypes.data,
        len(points),
        points.strides[0],
        None if intensity is None else intensity.ctypes.data,
        0 if intensity is None else intensity.strides[0],
        _STRIDE_POINTS,
        pointer(before) if before is not None and known else None,
        before.size if before is not None and known else 0,
        pointer(sample),
        pointer(figures),
    )
    if size < 0:
        raise ValueError(f"sweep of shape {points.shape} and strides {points.strides} cannot be looked at")
    roughness, alike = figures.tolist()
    return Look(sample[:size], alike == 1.0, alike, roughness)


@cache
def _image_kernel() -> Callable[..., int]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_screen_image", [address, size, size, size, size, address, address, address], size)


@cache
def _points_kernel() -> Callable[..., int]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind(
        "percept_screen_points", [address, size, size, address, size, size, address, size, address, address], size
    )
