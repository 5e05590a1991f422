"""H.264 access units, one a message, to BGR images; what is lost or broken is dropped, counted and waited out.

A missing unit is seen by a gap in frame_num, a broken one by the decoder. Either makes all pictures up to the next key frame
wrong in places, so nothing is emitted until then. Each dropped picture is reported with a stamp: its own, or for one that
never came, one interpolated between its neighbours.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.core.h264_units import SequenceInfo, UnitInfo, inspect_unit
from percept_ros.core.images import bytes_of
from percept_ros.errors import ImageError, SetupError
from percept_ros.types import U8

_PERIODS = 9
_MAX_LOST = 100
_JUMP_NS = 1_000_000_000
_MAX_WAITING = 32
_MAX_PARAMETER_BYTES = 65536
_MAX_UNIT_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """image: (height, width, 3) uint8 BGR."""

    stamp_ns: int
    image: U8
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class DroppedUnit:
    """reason: lost_unit, broken_unit or awaiting_keyframe."""

    stamp_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one unit gave: usually one image or one drop; a gap before it adds the lost ones."""

    images: tuple[DecodedImage, ...]
    dropped: tuple[DroppedUnit, ...]


class H264Decoder:
    """One stream, one thread at a time. Decodes in hardware where ``hardware`` and the machine allow it.

    drops: reason -> pictures dropped since the start. Raises SetupError when PyAV is not installed.
    """

    def __init__(self, hardware: bool = False, threads: int = 1) -> None:
        self.drops: Counter[str] = Counter()
        self._av = _import_av()
        self._codec, self.backend = _open_codec(self._av, hardware, threads)
        self._sequence: SequenceInfo | None = None
        self._waiting: dict[int, tuple[int, bool]] = {}
        self._periods_ns: deque[int] = deque(maxlen=_PERIODS)
        self._count, self._reference_num, self._last_ns = 0, 0, 0
        self._synced = False
        self._parameter_sets: U8 = np.zeros(0, np.uint8)

    def decode(self, unit: Any, stamp_ns: int) -> Decoded:
        """Decode one access unit (byte-stream format, as in CompressedImage.data of format "h264").

        A stamp that is not newer than the last is replaced by the last plus the usual period; one more than a second older is
        a time jump, and the stream starts anew. Never raises for bad data: that is a drop.
        """
        stamp_ns = self._next_stamp(stamp_ns)
        dropped: list[DroppedUnit] = []
        images: list[DecodedImage] = []
        try:
            data = bytes_of(unit)
            info = self._inspect(data)
            if not info.has_picture:
                self._parameter_sets = data[:_MAX_PARAMETER_BYTES].copy()
                return Decoded((), ())
            self._follow(info, stamp_ns, dropped)
            images = self._run(data, stamp_ns, info, dropped)
        except ImageError as exc:
            self._lose(stamp_ns, exc.reason if exc.reason == "awaiting_keyframe" else "broken_unit", dropped)
        self._last_ns = stamp_ns
        self.drops.update(item.reason for item in dropped)
        return Decoded(tuple(images), tuple(dropped))

    def reset(self) -> None:
        """Forget the stream (after a time jump or a camera restart); waits for a key frame."""
        self._desync()
        self._last_ns = 0
        self._periods_ns.clear()

    def _next_stamp(self, stamp_ns: int) -> int:
        period_ns = self._period_ns()
        if 0 < stamp_ns < self._last_ns - _JUMP_NS:
            self.reset()
        if stamp_ns <= self._last_ns:
            return self._last_ns + (period_ns or 1)
        if self._last_ns and self._synced:
            self._periods_ns.append(stamp_ns - self._last_ns)
        return stamp_ns

    def _period_ns(self) -> int:
        return sorted(self._periods_ns)[len(self._periods_ns) // 2] if self._periods_ns else 0

    def _inspect(self, data: U8) -> UnitInfo:
        if data.size > _MAX_UNIT_BYTES:
            raise ImageError(f"h264 unit has {data.size} bytes, at most {_MAX_UNIT_BYTES} are taken", "broken_unit")
        info = inspect_unit(data.tobytes(), self._sequence)
        self._sequence = info.sequence
        return info

    def _follow(self, info: UnitInfo, stamp_ns: int, dropped: list[DroppedUnit]) -> None:
        """Keep account of which units came. Raises ImageError (awaiting_keyframe) while out of step."""
        if info.is_key:
            if not self._synced:
                self._codec.flush_buffers()
            self._synced = True
        elif self._synced and self._is_gap(info):
            dropped += [DroppedUnit(at_ns, "lost_unit") for at_ns in self._lost_stamps(stamp_ns)]
            self._desync()
        if not self._synced:
            raise ImageError("h264 picture before a key frame", "awaiting_keyframe")
        if info.is_reference and info.frame_num is not None:
            self._reference_num = info.frame_num

    def _is_gap(self, info: UnitInfo) -> bool:
        """Whether frame_num is neither that of the last reference picture nor the one after it (7.4.3)."""
        if info.frame_num is None or self._sequence is None or self._sequence.gaps_allowed:
            return False
        return (info.frame_num - self._reference_num) % (1 << self._sequence.frame_num_bits) > 1

    def _lost_stamps(self, stamp_ns: int) -> list[int]:
        """Stamps spread evenly between the last unit and this one, one usual period apart (at least one)."""
        span_ns, period_ns = stamp_ns - self._last_ns, self._period_ns()
        count = round(span_ns / period_ns) - 1 if period_ns else 1
        count = min(max(count, 1), _MAX_LOST)
        return [self._last_ns + span_ns * (i + 1) // (count + 1) for i in range(count)]

    def _run(self, data: U8, stamp_ns: int, info: UnitInfo, dropped: list[DroppedUnit]) -> list[DecodedImage]:
        self._count += 1
        packet = self._av.Packet(np.concatenate([self._parameter_sets, data]) if self._parameter_sets.size else data)
        packet.pts = packet.dts = self._count
        self._parameter_sets = np.zeros(0, np.uint8)
        self._waiting[self._count] = (stamp_ns, info.is_key)
        try:
            frames = self._codec.decode(packet)
        except self._av.FFmpegError as exc:
            self._waiting.pop(self._count, None)
            raise ImageError(f"h264 unit cannot be decoded: {exc}", "broken_unit") from exc
        images = [image for frame in frames if (image := self._image_of(frame, stamp_ns, dropped)) is not None]
        stalled = not frames and not self._codec.has_b_frames
        if stalled or len(self._waiting) > _MAX_WAITING:
            raise ImageError("h264 unit gave no picture", "broken_unit")
        return images

    def _image_of(self, frame: Any, stamp_ns: int, dropped: list[DroppedUnit]) -> DecodedImage | None:
        at_ns, is_key = self._waiting.pop(frame.pts, (stamp_ns, bool(frame.key_frame)))
        if frame.is_corrupt or not self._synced:
            self._lose(at_ns, "broken_unit" if self._synced else "awaiting_keyframe", dropped)
            return None
        return DecodedImage(at_ns, np.ascontiguousarray(frame.to_ndarray(format="bgr24")), is_key)

    def _lose(self, stamp_ns: int, reason: str, dropped: list[DroppedUnit]) -> None:
        dropped.append(DroppedUnit(stamp_ns, reason))
        if reason == "broken_unit":
            self._desync()

    def _desync(self) -> None:
        self._synced = False
        self._waiting.clear()
        self._codec.flush_buffers()


def _import_av() -> Any:
    try:
        import av
    except ImportError as exc:
        raise SetupError(f"H.264 needs PyAV ({exc}): pip install av, or use raw or jpeg images") from exc
    av.logging.set_level(av.logging.PANIC)
    return av


def _open_codec(av: Any, hardware: bool, threads: int) -> tuple[Any, str]:
    """The decoder and what it runs on: "software", or the name of the device."""
    if hardware:
        from av.codec.hwaccel import HWAccel

        for device in ("cuda", "vaapi"):
            try:
                codec = av.CodecContext.create("h264", "r", hwaccel=HWAccel(device, allow_software_fallback=False))
            except (av.FFmpegError, RuntimeError, ValueError):
                continue
            if codec.is_hwaccel:
                return codec, device
    codec = av.CodecContext.create("h264", "r")
    codec.thread_type, codec.thread_count = "SLICE", threads
    return codec, "software"
