"""FrameReady handles as the bytes that DDS carries.

Filling and reading message objects costs a quarter of a millisecond a frame on cold caches; publishers and raw
subscriptions take the bytes as they are. Layout: OMG CDR version 1, little endian (see ``percept_ros.wire``).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from percept_ros.errors import InputError
from percept_ros.runtime.frame import FORMATS
from percept_ros.runtime.ring import FrameHandle
from percept_ros.wire import CdrWriter

_STAMP, _SLOT, _REST, _LENGTH = struct.Struct("<iI"), struct.Struct("<I"), struct.Struct("<QIIBB"), struct.Struct("<I")
_HEAD = 4
"""Bytes before the first field; alignment counts from here."""
_LITTLE_ENDIAN = b"\x00\x01"
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
        self._buffer = bytearray()
        self._slot_at = self._trace_at = 0

    def encode(self, handle: FrameHandle, frame_id: str, trace_id: str = "") -> bytes:
        """CDR bytes of one FrameReady."""
        trace = trace_id.encode()
        key = (handle.ring, frame_id, len(trace))
        if key != self._key:
            self._lay_out(*key)
        buffer, slot_at = self._buffer, self._slot_at
        _STAMP.pack_into(buffer, _HEAD, handle.stamp_ns // _NS, handle.stamp_ns % _NS)
        _SLOT.pack_into(buffer, slot_at, handle.slot)
        rest = (handle.generation, handle.width, handle.height, handle.format, handle.is_keyframe)
        _REST.pack_into(buffer, _aligned(slot_at + 4, 8), *rest)
        buffer[self._trace_at : self._trace_at + len(trace)] = trace
        return bytes(buffer)

    def _lay_out(self, ring: str, frame_id: str, trace_bytes: int) -> None:
        writer = CdrWriter()
        writer.time(0)
        writer.text(frame_id)
        writer.text(ring)
        self._slot_at = _aligned(len(writer.finish()), 4)
        writer.pack("I", 4, 0)
        writer.pack("QIIBB", 8, 0, 0, 0, 0, 0)
        writer.text(" " * trace_bytes)
        self._buffer = bytearray(writer.finish())
        self._trace_at = len(self._buffer) - trace_bytes - 1
        self._key = (ring, frame_id, trace_bytes)


class HandleDecoder:
    """Reads the FrameReady messages of one topic; of a ring's messages only the numbers change, so the last layout is kept."""

    def __init__(self) -> None:
        self._head = self._trace_length = b""
        self._frame_id = self._ring = ""
        self._slot_at = self._rest_at = self._trace_at = self._size = 0

    def decode(self, raw: bytes) -> FrameMessage:
        """Content of a FrameReady's bytes. Raises InputError (reason ``bad_handle``) when they are none."""
        if not self._knows(raw):
            return self._learn(raw)
        sec, nanosec = _STAMP.unpack_from(raw, _HEAD)
        (slot,) = _SLOT.unpack_from(raw, self._slot_at)
        generation, width, height, kind, is_keyframe = _REST.unpack_from(raw, self._rest_at)
        if kind >= len(FORMATS):
            return decode_handle(raw)
        stamp_ns = sec * _NS + nanosec
        handle = FrameHandle(self._ring, slot, generation, stamp_ns, width, height, FORMATS[kind], bool(is_keyframe))
        try:
            return FrameMessage(handle, self._frame_id, raw[self._trace_at : self._size - 1].decode())
        except UnicodeDecodeError:
            return decode_handle(raw)

    def _knows(self, raw: bytes) -> bool:
        at = self._trace_at
        return (
            len(raw) == self._size
            and raw[:2] == _LITTLE_ENDIAN
            and raw[_TEXTS : self._slot_at] == self._head
            and raw[at - 4 : at] == self._trace_length
        )

    def _learn(self, raw: bytes) -> FrameMessage:
        found = decode_handle(raw)
        _, at = _text(raw, _TEXTS)
        _, at = _text(raw, at)
        self._slot_at = _aligned(at, 4)
        self._rest_at = _aligned(self._slot_at + 4, 8)
        length_at = _aligned(self._rest_at + _REST.size, 4)
        (length,) = _LENGTH.unpack_from(raw, length_at)
        self._trace_at = length_at + 4
        self._size = (
            self._trace_at + length if self._trace_at + length == len(raw) else -1
        )  # with bytes behind: never known
        self._head, self._trace_length = raw[_TEXTS : self._slot_at], raw[length_at : self._trace_at]
        self._ring, self._frame_id = found.handle.ring, found.frame_id
        return found


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
