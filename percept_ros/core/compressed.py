"""JPEG and PNG images to (height, width, 3) uint8 BGR, checked before they are decoded.

The size is read from the header first, so that a small file that would unpack to gigabytes is refused unopened.
"""

from __future__ import annotations

from typing import Any

import cv2

from percept_ros.core.images import MAX_SIDE_PX, bytes_of, check_output, deliver
from percept_ros.errors import ImageError
from percept_ros.types import U8

MAX_PIXELS = 64_000_000
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_TAIL_BYTES = 64
_PADDING_BYTES = 65536
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


def decode_compressed(data: Any, image_format: str, out: U8 | None = None, max_pixels: int = MAX_PIXELS) -> U8:
    """(height, width, 3) uint8 BGR of the bytes of a sensor_msgs/CompressedImage.

    image_format: its ``format``: "jpeg", "png", or like "rgb8; jpeg compressed bgr8". out: written and returned where given.
    Raises ImageError (reasons: encoding, format_mismatch, broken, truncated, zero_size, too_large, bad_buffer, output_size).
    """
    raw = bytes_of(data)
    kind = format_of(image_format)
    view = raw.data
    start, end = (_JPEG_START, _JPEG_END) if kind == "jpeg" else (_PNG_START, _PNG_END)
    if bytes(view[: len(start)]) != start:
        text = (
            f"compressed image says '{image_format}' but starts with {bytes(view[:8]).hex()}: format and data disagree"
        )
        raise ImageError(text, "format_mismatch")
    width, height = _jpeg_size(view) if kind == "jpeg" else _png_size(view)
    _check_size(width, height, max_pixels)
    check_output(out, height, width)
    if end not in bytes(view[-_PADDING_BYTES:]).rstrip(b"\0")[-_TAIL_BYTES:]:
        raise ImageError(f"{kind} image of {len(view)} bytes has no end: message is cut", "truncated")
    return deliver(_decode(raw, kind, height, width), out)


def format_of(image_format: Any) -> str:
    """ "jpeg" or "png" of a CompressedImage format string. Raises ImageError (reason encoding)."""
    text = image_format.lower() if isinstance(image_format, str) else ""
    if "compresseddepth" not in text:
        for kind, names in (("jpeg", ("jpeg", "jpg")), ("png", ("png",))):
            if any(name in text for name in names):
                return kind
    raise ImageError(
        f"compressed image format '{image_format}' is not known: use jpeg or png (or the h264 transport)", "encoding"
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width == 0 or height == 0:
        raise ImageError(f"compressed image of {width} x {height} px is empty: check the camera", "zero_size")
    if width * height > max_pixels or max(width, height) > MAX_SIDE_PX:
        text = f"compressed image would unpack to {width} x {height} px, at most {max_pixels} px are taken: refused unopened"
        raise ImageError(text, "too_large")


def _decode(raw: U8, kind: str, height: int, width: int) -> U8:
    try:
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as exc:
        raise ImageError(f"{kind} image of {raw.size} bytes cannot be decoded: {exc.err}", "broken") from exc
    if image is None or image.shape != (height, width, 3):
        raise ImageError(f"{kind} image of {raw.size} bytes cannot be decoded: data is broken", "broken")
    return image  # type: ignore[return-value]


def _png_size(view: memoryview) -> tuple[int, int]:
    if len(view) < 24 or bytes(view[12:16]) != b"IHDR":
        raise ImageError(f"png image of {len(view)} bytes has no header chunk", "broken")
    return int.from_bytes(view[16:20], "big"), int.from_bytes(view[20:24], "big")


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    """Width and height from the first frame header. Source: ITU-T T.81, B.1.1 and B.2.2."""
    at, size = 2, len(view)
    while at + 4 <= size:
        if view[at] != 0xFF:
            break
        marker = view[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS and at + 9 <= size:
            return int.from_bytes(view[at + 7 : at + 9], "big"), int.from_bytes(view[at + 5 : at + 7], "big")
        elif marker in (0xD9, 0xDA):
            break
        else:
            at += 2 + max(2, int.from_bytes(view[at + 2 : at + 4], "big"))
    raise ImageError(f"jpeg image of {size} bytes has no frame header", "broken")
