"""What the headers of an H.264 access unit tell: key frame or not, and whether units before it are missing.

Source: ITU-T H.264, 7.3 (syntax), 7.4.3 (frame_num), D.1.8 (recovery point), annex B (byte stream).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from percept_ros.errors import ImageError

SLICE, IDR_SLICE, SEI, SPS = 1, 5, 6, 7
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_HEADER_BYTES = 256
_RECOVERY_POINT = 6


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """frame_num_bits: length of frame_num. gaps_allowed: whether the encoder leaves frames out on purpose."""

    frame_num_bits: int
    gaps_allowed: bool
    separate_planes: bool


@dataclass(frozen=True, slots=True)
class UnitInfo:
    """One access unit. has_picture: false for parameter sets alone. frame_num: None before the first parameter set."""

    has_picture: bool
    is_key: bool
    is_reference: bool
    frame_num: int | None
    sequence: SequenceInfo | None


class _Bits:
    """Reads big-endian bits; runs out with ImageError."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ImageError("h264 header is cut", "broken_unit")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        """Exp-Golomb, 9.1."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise ImageError("h264 header is broken", "broken_unit")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def inspect_unit(data: bytes, sequence: SequenceInfo | None) -> UnitInfo:
    """Read the headers of an access unit in byte-stream format.

    sequence: that of the units before. Raises ImageError (reason broken_unit) where there is no start code or a header is cut.
    """
    is_key = has_picture = is_reference = found = False
    frame_num: int | None = None
    for start in _unit_starts(data):
        found = True
        kind, reference = data[start] & 31, bool(data[start] >> 5 & 3)
        if kind == SPS:
            sequence = _read_sequence(_payload(data, start))
        elif kind == SEI:
            is_key = is_key or _recovers_at_once(_payload(data, start))
        elif kind in (SLICE, IDR_SLICE) and not has_picture:
            has_picture, is_reference = True, reference
            is_key = is_key or kind == IDR_SLICE
            frame_num = _read_frame_num(_payload(data, start), sequence)
    if not found:
        raise ImageError(
            f"h264 unit of {len(data)} bytes has no start code: send byte-stream format (annex B)", "broken_unit"
        )
    return UnitInfo(has_picture, is_key, is_reference, frame_num, sequence)


def _unit_starts(data: bytes) -> Iterator[int]:
    at = data.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(data):
        yield at + 3
        at = data.find(b"\0\0\1", at + 3)


def _payload(data: bytes, start: int) -> bytes:
    """The first bytes after the unit's type byte, without emulation prevention (7.3.1)."""
    raw = data[start + 1 : start + 1 + _HEADER_BYTES]
    end = raw.find(b"\0\0\1")
    return (raw if end < 0 else raw[:end]).replace(b"\0\0\3", b"\0\0")


def _recovers_at_once(payload: bytes) -> bool:
    """Whether a SEI unit holds a recovery point after zero frames (an intra picture that is no IDR)."""
    at = 0
    while at + 2 < len(payload):
        kind, size = payload[at], payload[at + 1]
        if kind == _RECOVERY_POINT:
            return bool(payload[at + 2] & 0x80)
        if kind == 0xFF or size == 0xFF:
            return False
        at += 2 + size
    return False


def _read_frame_num(payload: bytes, sequence: SequenceInfo | None) -> int | None:
    if sequence is None:
        return None
    bits = _Bits(payload[:32])
    for _ in range(3):
        bits.unsigned()
    if sequence.separate_planes:
        bits.take(2)
    return bits.take(sequence.frame_num_bits)


def _read_sequence(payload: bytes) -> SequenceInfo:
    bits = _Bits(payload)
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    separate = _skip_high_profile(bits) if profile in _HIGH_PROFILES else False
    frame_num_bits = bits.unsigned() + 4
    if frame_num_bits > 16:
        raise ImageError("h264 sequence parameter set is broken", "broken_unit")
    _skip_order_count(bits)
    bits.unsigned()
    return SequenceInfo(frame_num_bits, bool(bits.take(1)), separate)


def _skip_high_profile(bits: _Bits) -> bool:
    chroma = bits.unsigned()
    separate = bool(bits.take(1)) if chroma == 3 else False
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.take(1):
        for index in range(8 if chroma != 3 else 12):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return separate


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_order_count(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
