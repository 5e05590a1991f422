"""The reading end of a frame ring; see ring.py."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from typing import Any, NamedTuple

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

    __slots__ = ("_counters", "_judged", "_slot_address", "array", "handle")

    def __init__(self, address: int, handle: FrameHandle, array: npt.NDArray[Any], counters: RingCounters) -> None:
        self._slot_address, self.handle, self.array, self._counters = address, handle, array, counters
        self._judged = False

    @property
    def stamp_ns(self) -> int:
        """Sensor stamp."""
        return self.handle.stamp_ns

    def still_valid(self) -> bool:
        """Whether the frame was intact during everything read from it so far; a first no is counted as torn."""
        if self._judged:
            return False
        if ring_kernel().valid(self._slot_address, self.handle.generation) == 1:
            return True
        self._judged = True
        self._counters.torn += 1
        return False


class _Slot(NamedTuple):
    """How a slot was last looked at. control: its control line, at control_address."""

    address: int
    control: bytearray
    control_address: int
    array: npt.NDArray[Any]


class _Mapped:
    """One segment held open. heard: generation of the last handle."""

    __slots__ = ("heard", "segment", "slots")

    def __init__(self, segment: Segment) -> None:
        self.segment, self.heard = segment, 0
        self.slots: dict[int, _Slot] = {}

    def close(self) -> None:
        self.slots.clear()
        self.segment.close()


class RingReader:
    """Opens frames by handle. Holds the newest segments mapped. All calls from one thread."""

    def __init__(self, *, keep_segments: int = 2) -> None:
        self.counters = RingCounters()
        self._keep = keep_segments
        self._open: OrderedDict[str, _Mapped] = OrderedDict()

    def view(self, handle: FrameHandle) -> RingFrame:
        """The frame in place, no copy.

        Raises InputError with reason ``ring_overwritten``, ``ring_gone`` (its writer went away) or ``ring_invalid``.
        """
        ring, number, generation = handle[:3]
        mapped = self._open.get(ring) or self._map(ring)
        slot = mapped.slots.get(number)
        if slot is None or ring_kernel().alike(slot.address, generation, slot.control_address) != 1:
            slot = mapped.slots[number] = self._look(mapped.segment, handle)
        self.counters.read += 1
        if generation > mapped.heard + 2 and mapped.heard:
            self.counters.unheard += (generation - mapped.heard) // 2 - 1
        mapped.heard = generation
        return RingFrame(slot.address, handle, slot.array, self.counters)

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
                segment = (self._open.get(name) or self._map(name)).segment
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

    def _map(self, name: str) -> _Mapped:
        try:
            opened = _Mapped(segments.attach(name))
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
        for name in [name for name, mapped in self._open.items() if not mapped.segment.linked]:
            self._open.pop(name).close()

    def _look(self, segment: Segment, handle: FrameHandle) -> _Slot:
        """Read the slot's control line and lay an array over its payload."""
        if not 0 <= handle.slot < segment.layout.slots:
            self.counters.invalid += 1
            raise InputError(f"slot {handle.slot} of '{handle.ring}' does not exist", "ring_invalid")
        line = bytearray(CONTROL_BYTES)
        line_address = ctypes.addressof(ctypes.c_char.from_buffer(line))
        address, limit = segment.slot_address(handle.slot), segment.slot_bytes
        done = ring_kernel().read(address, handle.generation, limit, line_address, None, 0)
        if done == -2:
            self.counters.overwritten += 1
            raise InputError(f"frame {handle.generation // 2} of '{handle.ring}' was overwritten", "ring_overwritten")
        if done < 0:
            self.counters.invalid += 1
            raise InputError(f"slot {handle.slot} of '{handle.ring}' is corrupt", "ring_invalid")
        start = segment.slot_offset(handle.slot) + SLOT_CONTROL_BYTES
        control = Control.unpack(line)
        return _Slot(address, line, line_address, control.array(segment.memory[start : start + control.nbytes], handle))

    def _handle_of(self, segment: Segment, generation: int) -> FrameHandle | None:
        slot = (generation // 2 - 1) % segment.layout.slots
        probe = FrameHandle(segment.name, slot, generation, 0, 0, 0, FrameFormat.BGR8)
        try:
            control = Control.unpack(self._look(segment, probe).control)
        except InputError:
            return None
        kind = FrameFormat(control.format)
        size = (control.width, control.height)
        return FrameHandle(segment.name, slot, generation, control.stamp_ns, *size, kind, control.is_keyframe)
