"""Raw images of every usual encoding to (height, width, 3) uint8 BGR.

Encodings are the strings of sensor_msgs/image_encodings. Sixteen-bit values use the full range, so their high byte is kept.
YUV is BT.601 video range, as camera drivers deliver it. Packed rows may be padded (``step``).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from percept_ros.errors import ImageError
from percept_ros.types import U8

MAX_SIDE_PX = 32768


class ImageMessage(Protocol):
    """An image, as in sensor_msgs/Image (``data``: anything with a buffer)."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True, slots=True)
class RawImage:
    """A plain ``ImageMessage``."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pixels are stored.

    channels: values a pixel in a packed row. depth: bytes a value. code: OpenCV conversion to BGR, None = is BGR.
    planes: 1 packed; 2 = a luma plane, then interleaved chroma of half the height. even: width (and with two planes height)
    must be even.
    """

    channels: int
    code: int | None
    depth: int = 1
    planes: int = 1
    even: bool = False


_BAYER = {
    "rggb": cv2.COLOR_BayerRGGB2BGR,
    "bggr": cv2.COLOR_BayerBGGR2BGR,
    "gbrg": cv2.COLOR_BayerGBRG2BGR,
    "grbg": cv2.COLOR_BayerGRBG2BGR,
}
_UYVY = Encoding(2, cv2.COLOR_YUV2BGR_UYVY, even=True)
_YUYV = Encoding(2, cv2.COLOR_YUV2BGR_YUYV, even=True)
ENCODINGS: Mapping[str, Encoding] = MappingProxyType(
    {
        "bgr8": Encoding(3, None),
        "rgb8": Encoding(3, cv2.COLOR_RGB2BGR),
        "bgra8": Encoding(4, cv2.COLOR_BGRA2BGR),
        "rgba8": Encoding(4, cv2.COLOR_RGBA2BGR),
        "mono8": Encoding(1, cv2.COLOR_GRAY2BGR),
        "mono16": Encoding(1, cv2.COLOR_GRAY2BGR, depth=2),
        "bgr16": Encoding(3, None, depth=2),
        "rgb16": Encoding(3, cv2.COLOR_RGB2BGR, depth=2),
        "bgra16": Encoding(4, cv2.COLOR_BGRA2BGR, depth=2),
        "rgba16": Encoding(4, cv2.COLOR_RGBA2BGR, depth=2),
        **dict.fromkeys(("yuv422", "uyvy"), _UYVY),
        **dict.fromkeys(("yuv422_yuy2", "yuyv", "yuy2"), _YUYV),
        "nv12": Encoding(1, cv2.COLOR_YUV2BGR_NV12, planes=2, even=True),
        "nv21": Encoding(1, cv2.COLOR_YUV2BGR_NV21, planes=2, even=True),
        **{f"bayer_{name}8": Encoding(1, code) for name, code in _BAYER.items()},
        **{f"bayer_{name}16": Encoding(1, code, depth=2) for name, code in _BAYER.items()},
    }
)
"""Encoding -> how it is stored."""


def decode_image(message: ImageMessage, out: U8 | None = None) -> U8:
    """(height, width, 3) uint8 BGR.

    out: written and returned where given; else ``bgr8`` comes back as a view of the message's bytes, the others as new arrays.
    Raises ImageError (reasons: bad_size, zero_size, encoding, step, truncated, too_long, bad_buffer).
    """
    height, width, step = _size(message)
    encoding = _encoding(message.encoding)
    if encoding.even and (width % 2 or (encoding.planes == 2 and height % 2)):
        text = f"image of {width} x {height} px cannot be '{message.encoding}': sides must be even"
        raise ImageError(text, "bad_size")
    data = _checked_bytes(message, encoding, height, width, step)
    check_output(out, height, width)
    if encoding.planes == 2:
        return _from_two_planes(encoding, data, height, width, step, out)
    return _from_packed(encoding, data, (height, width, step), bool(message.is_bigendian), out)


def deliver(image: npt.NDArray[Any], out: U8 | None) -> U8:
    """``image`` in ``out`` where given (copied unless it is there already), else ``image`` itself."""
    if out is None or image is out:
        return image
    if not np.shares_memory(image, out):
        np.copyto(out, image)
    return out


def check_output(out: U8 | None, height: int, width: int) -> None:
    """Raises ImageError (reason output_size) unless ``out`` is None or (height, width, 3) uint8."""
    if out is not None and (out.shape != (height, width, 3) or out.dtype != np.uint8):
        text = (
            f"image of {width} x {height} px does not fit the buffer of shape {out.shape} {out.dtype}: its size changed"
        )
        raise ImageError(text, "output_size")


def _size(message: ImageMessage) -> tuple[int, int, int]:
    try:
        height, width, step = (operator.index(v) for v in (message.height, message.width, message.step))
    except TypeError as exc:
        raise ImageError(f"image height, width and step must be whole numbers: {exc}", "bad_size") from exc
    if height == 0 or width == 0:
        raise ImageError(f"image of {width} x {height} px is empty: check the camera", "zero_size")
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise ImageError(f"image of {width} x {height} px: sides must be 1 to {MAX_SIDE_PX}", "bad_size")
    return height, width, step


def _encoding(name: Any) -> Encoding:
    found = ENCODINGS.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise ImageError(f"image encoding '{name}' is not known: use one of {', '.join(ENCODINGS)}", "encoding")
    return found


def _checked_bytes(message: ImageMessage, encoding: Encoding, height: int, width: int, step: int) -> U8:
    row = width * encoding.channels * encoding.depth
    if not row <= step <= MAX_SIDE_PX * 16:
        text = f"image step is {step} bytes, but {width} px of '{message.encoding}' take {row}: step counts bytes a row"
        raise ImageError(text, "step")
    data = bytes_of(message.data)
    needed = step * height * 3 // 2 if encoding.planes == 2 else step * height
    if data.size < needed:
        text = f"image data has {data.size} bytes, but {width} x {height} '{message.encoding}' with step {step} takes {needed}"
        raise ImageError(f"{text}: message is cut", "truncated")
    if data.size >= needed + step:
        text = f"image data has {data.size} bytes, but {width} x {height} '{message.encoding}' with step {step} takes {needed}"
        raise ImageError(f"{text}: height or step is wrong", "too_long")
    return data


def bytes_of(data: Any) -> U8:
    """(n,) uint8 view of a buffer. Raises ImageError (reason bad_buffer)."""
    try:
        return np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError) as exc:
        raise ImageError(f"image data of type {type(data).__name__} has no bytes: {exc}", "bad_buffer") from exc


def _from_packed(encoding: Encoding, data: U8, size: tuple[int, int, int], big: bool, out: U8 | None) -> U8:
    height, width, step = size
    if encoding.depth == 2:
        data, step = _high_bytes(data, height, width * encoding.channels, step, big), width * encoding.channels
    shape, strides = (height, width, encoding.channels), (step, encoding.channels, 1)
    pixels: U8 = np.ndarray(shape, np.uint8, data.data, 0, strides)
    if encoding.channels == 1:
        pixels = pixels[:, :, 0]
    return deliver(pixels if encoding.code is None else cv2.cvtColor(pixels, encoding.code, dst=out), out)


def _high_bytes(data: U8, height: int, values: int, step: int, big: bool) -> U8:
    """(height, values) high byte of each sixteen-bit value."""
    pairs: U8 = np.ndarray((height, values, 2), np.uint8, data.data, 0, (step, 2, 1))
    return np.ascontiguousarray(cv2.extractChannel(pairs, 0 if big else 1))


def _from_two_planes(encoding: Encoding, data: U8, height: int, width: int, step: int, out: U8 | None) -> U8:
    luma: U8 = np.ndarray((height, width), np.uint8, data.data, 0, (step, 1))
    chroma: U8 = np.ndarray((height // 2, width // 2, 2), np.uint8, data.data, step * height, (step, 2, 1))
    assert encoding.code is not None
    return deliver(cv2.cvtColorTwoPlane(luma, chroma, encoding.code, dst=out), out)
