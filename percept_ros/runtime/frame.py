"""What one slot of a frame ring holds: the packed header, the handle that names it, and its array."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ImageError, InputError
from percept_ros.types import U8

FRAME_HEADER = struct.Struct("<QIIIBBxx")
"""The 24-byte packed frame header: timestamp_us, width, height, stride_y, is_keyframe, format, padding."""
CONTROL_BYTES = 56
"""Bytes of a slot's control line after its generation."""
_CONTROL = struct.Struct("<QqQIIIBBxxI12x")
"""The header and what stands around it."""


class FrameFormat(IntEnum):
    """What a slot holds (numbers of FrameReady.msg)."""

    BGR8 = 0
    NV12 = 1
    POINTS_XYZI_F32 = 2
    TENSOR_F32 = 3


_LAST_IMAGE = int(FrameFormat.NV12)
FORMATS = tuple(FrameFormat)
"""By number: looking one up takes a tenth of what calling the enumeration takes."""


class FrameHandle(NamedTuple):
    """Names one frame in one ring: the content of a FrameReady message.

    ring: segment name under /dev/shm. width, height: pixels; points of a cloud and 1; tensor columns and rows.
    """

    ring: str
    slot: int
    generation: int
    stamp_ns: int
    width: int
    height: int
    format: FrameFormat
    is_keyframe: bool = True


class Control(NamedTuple):
    """Control line of a slot. width, height, stride in bytes of a row, channels: columns of a cloud."""

    nbytes: int
    stamp_ns: int
    width: int
    height: int
    stride: int
    is_keyframe: bool
    format: int
    channels: int

    def pack(self) -> bytes:
        """The bytes after the generation."""
        return pack_control(*self)

    @staticmethod
    def unpack(raw: bytes | bytearray) -> Control:
        """Read the bytes after the generation."""
        nbytes, stamp_ns, _, width, height, stride, is_keyframe, kind, channels = _CONTROL.unpack(raw)
        return Control(nbytes, stamp_ns, width, height, stride, bool(is_keyframe), kind, channels)

    def array(self, payload: U8, handle: FrameHandle) -> npt.NDArray[Any]:
        """The payload as its array, no copy. Raises InputError (reason ``ring_invalid``) when shape and size disagree."""
        try:
            typed: npt.NDArray[Any] = payload if self.format <= _LAST_IMAGE else payload.view(np.float32)
            return typed.reshape(_SHAPES[self.format](self))
        except (ValueError, IndexError) as exc:
            where = f"slot {handle.slot} of '{handle.ring}'"
            raise InputError(f"{where} holds an impossible frame: {exc}", "ring_invalid") from exc


def pack_control(
    nbytes: int, stamp_ns: int, width: int, height: int, stride: int, is_keyframe: bool, kind: int, channels: int
) -> bytes:
    """A control line without its generation; see Control."""
    time_us = stamp_ns // 1000 if stamp_ns > 0 else 0
    return _CONTROL.pack(nbytes, stamp_ns, time_us, width, height, stride, is_keyframe, kind, channels)


_SHAPES: tuple[Callable[[Control], tuple[int, ...]], ...] = (
    lambda c: (c.height, c.width, 3),
    lambda c: (c.height * 3 // 2, c.width),
    lambda c: (c.width, c.channels),
    lambda c: (c.channels, c.height, c.width),
)
"""Shape of a slot's array, by ``FrameFormat``."""


def image_geometry(image: U8, kind: FrameFormat) -> tuple[int, int, int]:
    """Height and width in pixels and bytes of a row. Raises ImageError when the array does not fit the format."""
    if image.dtype != np.uint8 or 0 in image.shape:
        raise ImageError(f"image is {image.dtype}{list(image.shape)}, expected non-empty uint8", "image_shape")
    if kind == FrameFormat.BGR8 and image.ndim == 3 and image.shape[2] == 3:
        return image.shape[0], image.shape[1], 3 * image.shape[1]
    if kind == FrameFormat.NV12 and image.ndim == 2 and image.shape[0] % 3 == 0 and image.shape[1] % 2 == 0:
        return image.shape[0] * 2 // 3, image.shape[1], image.shape[1]
    wanted = "[H, W, 3]" if kind == FrameFormat.BGR8 else "[H * 3 / 2, W] with even sides"
    raise ImageError(f"image is {list(image.shape)}, expected {wanted} for {kind.name}", "image_shape")
