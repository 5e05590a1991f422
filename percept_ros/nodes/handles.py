"""FrameReady handles as the bytes that DDS carries.

Filling and reading message objects costs a quarter of a millisecond a frame on cold caches; publishers and raw
subscriptions take the bytes as they are. Layout: OMG CDR version 1, little endian (see ``percept_ros.wire``).
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from percept_ros.errors import InputError
from percept_ros.runtime.frame import FORMATS
from percept_ros.runtime.ring import FrameHandle
from percept_ros.wire import CdrWriter

_STAMP, _SLOT, _REST, _LENGTH = struct.Struct("<iI"), struct.Struct("<I"), struct.Struct("<QIIBB"), struct.Struct("<I")
_HEAD = 4
"""Bytes before the first field; alignment counts from here."""
_LITTLE_ENDIAN = b"\x00\x01"
_ENCAPSULATION = _LITTLE_ENDIAN + b"\x00\x00"
_TEXTS = 12
"""Where the strings begin, behind the stamp."""
_NS = 1_000_000_000


class FrameMessage(NamedTuple):
    """Content of a FrameReady. trace_id: W3C traceparent, "" = not traced."""

    handle: FrameHandle
    frame_id: str
    trace_id: str = ""


class HandleEncoder:
    """Lays FrameReady messages down; of a ring's messages only the numbers change, so the last layout is kept."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] = ("", "", -1)
        self._texts = b""
        self._pack = _layout(0, 0).pack

    def encode(self, handle: FrameHandle, frame_id: str, trace_id: str = "") -> bytes:
        """CDR bytes of one FrameReady."""
        ring, slot, generation, stamp_ns, width, height, kind, is_keyframe = handle
        trace = trace_id.encode()
        key = (ring, frame_id, len(trace))
        if key != self._key:
            self._lay_out(*key)
        sec, nanosec = divmod(stamp_ns, _NS)
        numbers = (slot, generation, width, height, kind, is_keyframe)
        return self._pack(_ENCAPSULATION, sec, nanosec, self._texts, *numbers, len(trace) + 1, trace)

    def _lay_out(self, ring: str, frame_id: str, trace_bytes: int) -> None:
        writer = CdrWriter()
        writer.time(0)
        writer.text(frame_id)
        writer.text(ring)
        self._texts = bytes(writer.finish())[_TEXTS:]
        self._pack = _layout(len(self._texts), trace_bytes + 1).pack
        self._key = (ring, frame_id, trace_bytes)


class HandleDecoder:
    """Reads the FrameReady messages of one topic; of a ring's messages only the numbers change, so the last layout is kept."""

    def __init__(self) -> None:
        self._unpack = _layout(0, 0).unpack_from
        self._size = sys.maxsize
        self._known: tuple[bytes, bytes, int] = (b"", b"", 0)
        self._frame_id = self._ring = ""

    def decode(self, raw: bytes) -> FrameMessage:
        """Content of a FrameReady's bytes. Raises InputError (reason ``bad_handle``) when they are none."""
        if len(raw) < self._size:  # DDS fills the last word up
            return self._learn(raw)
        head, sec, nanosec, texts, slot, generation, width, height, kind, is_keyframe, length, trace = self._unpack(raw)
        if (head, texts, length) != self._known or kind >= len(FORMATS):
            return self._learn(raw)
        stamp_ns = sec * _NS + nanosec
        handle = FrameHandle(self._ring, slot, generation, stamp_ns, width, height, FORMATS[kind], is_keyframe != 0)
        try:
            return FrameMessage(handle, self._frame_id, trace[:-1].decode())
        except UnicodeDecodeError:
            return self._learn(raw)

    def _learn(self, raw: bytes) -> FrameMessage:
        found = decode_handle(raw)
        _, at = _text(raw, _TEXTS)
        _, at = _text(raw, at)
        length_at = _aligned(_aligned(_aligned(at, 4) + _SLOT.size, 8) + _REST.size, 4)
        (length,) = _LENGTH.unpack_from(raw, length_at)
        layout = _layout(at - _TEXTS, length)
        self._unpack, self._size = layout.unpack_from, layout.size
        self._known = (raw[:_HEAD], raw[_TEXTS:at], length)
        self._ring, self._frame_id = found.handle.ring, found.frame_id
        return found


def _layout(texts_bytes: int, trace_bytes: int) -> struct.Struct:
    """A whole FrameReady whose two first strings take so many bytes, and its last one with its end."""
    layout, at = f"<{_HEAD}siI{texts_bytes}s", _TEXTS + texts_bytes
    for part, align in ((_SLOT, 4), (_REST, 8), (_LENGTH, 4)):
        start = _aligned(at, align)
        layout += f"{start - at}x{part.format.removeprefix('<')}"
        at = start + part.size
    return struct.Struct(f"{layout}{trace_bytes}s")


def decode_handle(raw: bytes) -> FrameMessage:
    """Content of a FrameReady's bytes. Raises InputError (reason ``bad_handle``) when they are none."""
    try:
        if raw[:2] != _LITTLE_ENDIAN:
            raise ValueError(f"encapsulation {raw[:2].hex()} is not little-endian CDR")
        sec, nanosec = _STAMP.unpack_from(raw, _HEAD)
        frame_id, at = _text(raw, _TEXTS)
        ring, at = _text(raw, at)
        at = _aligned(at, 4)
        (slot,) = _SLOT.unpack_from(raw, at)
        at = _aligned(at + 4, 8)
        generation, width, height, kind, is_keyframe = _REST.unpack_from(raw, at)
        trace_id, _ = _text(raw, at + _REST.size)
        stamp_ns, image_kind = sec * _NS + nanosec, FORMATS[kind]
    except (struct.error, ValueError, IndexError) as exc:
        raise InputError(f"message of {len(raw)} bytes is no FrameReady: {exc}", "bad_handle") from exc
    handle = FrameHandle(ring, slot, generation, stamp_ns, width, height, image_kind, bool(is_keyframe))
    return FrameMessage(handle, frame_id, trace_id)


def _aligned(at: int, size: int) -> int:
    return at + (_HEAD - at) % size


def _text(raw: bytes, at: int) -> tuple[str, int]:
    """String at or behind ``at``, and where it ends."""
    at = _aligned(at, 4)
    (length,) = _LENGTH.unpack_from(raw, at)
    end = at + 4 + length
    if length == 0 or end > len(raw):
        raise ValueError(f"a string of {length} bytes does not fit")
    return raw[at + 4 : end - 1].decode(), end
