"""The reading end of a frame ring; see ring.py."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from typing import Any

import numpy.typing as npt

from percept_ros.errors import InputError
from percept_ros.runtime import segment as segments
from percept_ros.runtime.frame import CONTROL_BYTES, Control, FrameFormat, FrameHandle
from percept_ros.runtime.ring_kernel import RingCounters, ring_kernel
from percept_ros.runtime.segment import HEAD_OFFSET, SLOT_CONTROL_BYTES, Segment


class RingFrame:
    """One frame looked at in place (read-only). Ask ``still_valid`` after use; only then trust what was computed.

    array: (H, W, 3) uint8 BGR; (H * 3 / 2, W) uint8 NV12; (P, 4 or 5) float32 points; (C, H, W) float32 tensor.
    """

    __slots__ = ("_counters", "_judged", "_segment", "_slot_address", "array", "handle", "stamp_ns")

    def __init__(self, segment: Segment, handle: FrameHandle, array: npt.NDArray[Any], counters: RingCounters) -> None:
        self._segment, self.handle, self.array, self._counters = segment, handle, array, counters
        self._slot_address = segment.slot_address(handle.slot)
        self.stamp_ns = handle.stamp_ns
        self._judged = False

    def still_valid(self) -> bool:
        """Whether the frame was intact during everything read from it so far; a first no is counted as torn."""
        if self._judged:
            return False
        if ring_kernel().valid(self._slot_address, self.handle.generation) == 1:
            return True
        self._judged = True
        self._counters.torn += 1
        return False


class RingReader:
    """Opens frames by handle. Holds the newest segments mapped. All calls from one thread."""

    def __init__(self, *, keep_segments: int = 2) -> None:
        self.counters = RingCounters()
        self._keep = keep_segments
        self._open: OrderedDict[str, Segment] = OrderedDict()
        self._control_line = bytearray(CONTROL_BYTES)
        self._control_address = ctypes.addressof(ctypes.c_char.from_buffer(self._control_line))
        self._heard = ("", 0)
        """Ring and generation of the last handle."""

    def view(self, handle: FrameHandle) -> RingFrame:
        """The frame in place, no copy.

        Raises InputError with reason ``ring_overwritten``, ``ring_gone`` (its writer went away) or ``ring_invalid``.
        """
        segment, control = self._control(handle)
        start = segment.slot_offset(handle.slot) + SLOT_CONTROL_BYTES
        payload = segment.memory[start : start + control.nbytes]
        array = control.array(payload, handle)
        self.counters.read += 1
        ring, generation = self._heard
        if ring == handle.ring and handle.generation > generation + 2:
            self.counters.unheard += (handle.generation - generation) // 2 - 1
        self._heard = handle.ring, handle.generation
        return RingFrame(segment, handle, array, self.counters)

    def copy(self, handle: FrameHandle) -> npt.NDArray[Any]:
        """A private copy of the frame's array, checked after copying. Raises as ``view``."""
        frame = self.view(handle)
        copied = frame.array.copy()
        if not frame.still_valid():
            raise InputError(f"frame {handle.generation // 2} of '{handle.ring}' was overwritten", "ring_overwritten")
        return copied

    def latest(self, ring: str) -> FrameHandle | None:
        """Handle of the newest frame of ring ``ring`` (for readers without a channel), or None when there is none."""
        for name in reversed(segments.names(ring)):
            try:
                segment = self._segment(name)
            except InputError:
                continue
            if generation := int(ring_kernel().load(segment.address + HEAD_OFFSET)):
                return self._handle_of(segment, generation)
        return None

    def close(self) -> None:
        """Unmap everything. Safe to call twice."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> RingReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _segment(self, name: str) -> Segment:
        if (known := self._open.get(name)) is not None:
            return known
        try:
            opened = segments.attach(name)
        except InputError as exc:
            if exc.reason == "ring_gone":
                self.counters.gone += 1
            else:
                self.counters.invalid += 1
            raise
        self._drop_removed()
        self._open[name] = opened
        while len(self._open) > self._keep:
            self._open.popitem(last=False)[1].close()
        return opened

    def _drop_removed(self) -> None:
        """Unmap what its writer removed: its frames are old, its memory is not."""
        for name in [name for name, segment in self._open.items() if not segment.linked]:
            self._open.pop(name).close()

    def _control(self, handle: FrameHandle) -> tuple[Segment, Control]:
        segment = self._segment(handle.ring)
        if not 0 <= handle.slot < segment.layout.slots:
            self.counters.invalid += 1
            raise InputError(f"slot {handle.slot} of '{handle.ring}' does not exist", "ring_invalid")
        address, limit = segment.slot_address(handle.slot), segment.slot_bytes
        done = ring_kernel().read(address, handle.generation, limit, self._control_address, None, 0)
        if done == -2:
            self.counters.overwritten += 1
            raise InputError(f"frame {handle.generation // 2} of '{handle.ring}' was overwritten", "ring_overwritten")
        if done < 0:
            self.counters.invalid += 1
            raise InputError(f"slot {handle.slot} of '{handle.ring}' is corrupt", "ring_invalid")
        return segment, Control.unpack(self._control_line)

    def _handle_of(self, segment: Segment, generation: int) -> FrameHandle | None:
        slot = (generation // 2 - 1) % segment.layout.slots
        probe = FrameHandle(segment.name, slot, generation, 0, 0, 0, FrameFormat.BGR8)
        try:
            control = self._control(probe)[1]
        except InputError:
            return None
        kind = FrameFormat(control.format)
        size = (control.width, control.height)
        return FrameHandle(segment.name, slot, generation, control.stamp_ns, *size, kind, control.is_keyframe)
