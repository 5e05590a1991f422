"""The writing end of a frame ring; see ring.py."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from percept_ros.errors import InputError
from percept_ros.native import pointer
from percept_ros.runtime import segment as segments
from percept_ros.runtime.frame import FORMATS, Control, FrameFormat, FrameHandle, image_geometry, pack_control
from percept_ros.runtime.ring_kernel import RingCounters, ring_kernel
from percept_ros.runtime.segment import SLOT_CONTROL_BYTES, Segment
from percept_ros.types import U8, PointCloud

_PACKED = {FrameFormat.BGR8: (3, 1), FrameFormat.NV12: (1,)}
"""Strides within a row without gaps, bytes."""


class RingWriter:
    """Writes frames into the ring ``name``. All calls from one thread.

    slots: frames kept before the oldest is overwritten. headroom: spare share of a slot for frames that vary in size
    (clouds). Start-up removes segments of dead writers.
    """

    def __init__(self, name: str, *, slots: int = 8, headroom: float = 0.0) -> None:
        if slots < 2:
            raise ValueError(f"ring '{name}' has {slots} slots, expected 2 or more")
        self.name, self.slots, self.headroom = name, slots, headroom
        self.counters = RingCounters()
        self._segment: Segment | None = None
        self._drawn: dict[int, tuple[tuple[int, ...], int, npt.NDArray[Any]]] = {}
        """By slot: shape, format and array of the last frame drawn into it."""
        self._sequence = 0
        self.removed_stale = tuple(segments.remove_stale())

    @property
    def segment_name(self) -> str:
        """Name of the segment in use, "" before the first frame."""
        return "" if self._segment is None else self._segment.name

    def write_image(
        self, image: U8, stamp_ns: int, *, kind: FrameFormat = FrameFormat.BGR8, is_keyframe: bool = True
    ) -> FrameHandle:
        """Copy one image in: (height, width, 3) BGR, or (height * 3 / 2, width) NV12. Rows may be strided.

        Raises ImageError for another shape or dtype, ResourceExhausted when /dev/shm is full.
        """
        height, width, row_bytes = image_geometry(image, kind)
        rows = image if image.strides[1:] == _PACKED[kind] else np.ascontiguousarray(image)
        count = rows.shape[0]
        slot = self._next_slot(count * row_bytes)
        segment, generation = slot.segment, 2 * self._sequence
        control = pack_control(count * row_bytes, stamp_ns, width, height, row_bytes, is_keyframe, kind, 3)
        source = pointer(rows) if rows.flags.c_contiguous else rows.ctypes.data
        ring_kernel().write(
            slot.address, slot.capacity, generation, control, source, count, row_bytes, rows.strides[0], segment.head
        )
        self.counters.written += 1
        return FrameHandle(segment.name, slot.number, generation, stamp_ns, width, height, kind, is_keyframe)

    def open_image(
        self, height: int, width: int, stamp_ns: int, *, kind: FrameFormat = FrameFormat.BGR8, is_keyframe: bool = True
    ) -> OpenSlot:
        """A slot for an image to be drawn in place (no copy); ``slot.array`` is as in ``write_image``.

        Raises ImageError for an impossible size, ResourceExhausted when /dev/shm is full.
        """
        shape = (height, width, 3) if kind == FrameFormat.BGR8 else (height * 3 // 2, width)
        height, width, row_bytes = image_geometry(np.broadcast_to(np.uint8(0), shape), kind)
        control = Control(math.prod(shape), stamp_ns, width, height, row_bytes, is_keyframe, kind, 3)
        return self._open(control, shape)

    def write_cloud(self, cloud: PointCloud) -> FrameHandle:
        """Copy one sweep in: x, y, z, intensity (0 when absent), and time offsets when the cloud has them."""
        columns = 4 if cloud.time_offset_s is None else 5
        count = int(cloud.points.shape[0])
        with self.open_tensor((1, count, columns), cloud.stamp_ns, kind=FrameFormat.POINTS_XYZI_F32) as slot:
            table = slot.array
            table[:, :3] = cloud.points
            table[:, 3] = 0.0 if cloud.intensity is None else cloud.intensity
            if cloud.time_offset_s is not None:
                table[:, 4] = cloud.time_offset_s
        return slot.handle

    def write_tensor(self, tensor: npt.NDArray[np.float32], stamp_ns: int) -> FrameHandle:
        """Copy one (channels, height, width) float32 tensor in."""
        if tensor.ndim != 3 or tensor.dtype != np.float32:
            raise InputError(
                f"tensor is {tensor.dtype}{list(tensor.shape)}, expected float32 [C, H, W]", "tensor_shape"
            )
        with self.open_tensor((tensor.shape[0], tensor.shape[1], tensor.shape[2]), stamp_ns) as slot:
            slot.array[...] = tensor
        return slot.handle

    def open_tensor(
        self, shape: tuple[int, int, int], stamp_ns: int, *, kind: FrameFormat = FrameFormat.TENSOR_F32
    ) -> OpenSlot:
        """A slot to fill in place (no copy): ``with writer.open_tensor(...) as slot: slot.array[...] = ...``.

        shape: (channels, height, width); for clouds (1, points, columns). An exception inside leaves the slot invalid.
        """
        points = kind == FrameFormat.POINTS_XYZI_F32
        width, height, channels = (shape[1], 1, shape[2]) if points else (shape[2], shape[1], shape[0])
        control = Control(4 * math.prod(shape), stamp_ns, width, height, 4 * shape[2], True, kind, channels)
        return self._open(control, shape[1:] if points else shape)

    def close(self) -> None:
        """Remove the segment. Safe to call twice."""
        if self._segment is not None:
            self._segment.unlink()
            self._segment.close()
            self._segment = None
            self._drawn.clear()

    def __enter__(self) -> RingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, control: Control, shape: tuple[int, ...]) -> OpenSlot:
        slot = self._next_slot(control.nbytes)
        known = self._drawn.get(slot.number)
        if known is None or known[:2] != (shape, control.format):
            payload = slot.payload[: control.nbytes]
            typed = payload if control.format <= FrameFormat.NV12 else payload.view(np.float32)
            known = self._drawn[slot.number] = shape, control.format, typed.reshape(shape)
        return OpenSlot(self, slot, 2 * self._sequence, control, known[2])

    def _next_slot(self, nbytes: int) -> _Slot:
        if self._segment is None or nbytes > self._segment.slot_bytes:
            self._grow(nbytes)
        segment = self._segment
        assert segment is not None
        index = self._sequence % self.slots
        self._sequence += 1
        return _Slot(segment, index, segment.slot_address(index), segment.slot_bytes)

    def _grow(self, nbytes: int) -> None:
        old = self._segment
        size = max(64, int(nbytes * (1.0 + self.headroom)))
        self._segment = segments.create(self.name, self.slots, size)
        self._drawn.clear()
        if old is not None:
            self.counters.grown += 1
            old.unlink()
            old.close()


class _Slot(NamedTuple):
    segment: Segment
    number: int
    address: int
    capacity: int

    @property
    def payload(self) -> U8:
        start = self.segment.slot_offset(self.number) + SLOT_CONTROL_BYTES
        return self.segment.memory[start : start + self.capacity]


class OpenSlot:
    """A slot being filled in place, by ``with`` or by ``begin`` and ``commit``; without a commit it stays invalid.

    array: uint8 image, float32 (points, columns) of a cloud, or float32 (channels, height, width).
    """

    def __init__(
        self, writer: RingWriter, slot: _Slot, generation: int, control: Control, array: npt.NDArray[Any]
    ) -> None:
        self._writer, self._slot, self._generation, self._control = writer, slot, generation, control
        self.array = array
        self._handle: FrameHandle | None = None

    @property
    def handle(self) -> FrameHandle:
        """Handle of the frame, once it was committed."""
        if self._handle is None:
            raise ValueError("the slot was not committed")
        return self._handle

    def begin(self) -> OpenSlot:
        """Take the slot from its readers. Before the first write to ``array``."""
        ring_kernel().begin(self._slot.address, self._generation, self._control.pack())
        return self

    def commit(self) -> FrameHandle:
        """The frame is whole: readers may have it."""
        slot, generation, c = self._slot, self._generation, self._control
        ring_kernel().commit(slot.address, generation, slot.segment.head)
        self._writer.counters.written += 1
        kind = FORMATS[c.format]
        self._handle = FrameHandle(
            slot.segment.name, slot.number, generation, c.stamp_ns, c.width, c.height, kind, c.is_keyframe
        )
        return self._handle

    def __enter__(self) -> OpenSlot:
        return self.begin()

    def __exit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
