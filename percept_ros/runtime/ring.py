"""Frame ring in shared memory: one writer, many readers, no locks, no copies but the one in.

The writer never waits: it takes the next slot, whatever readers do. Each slot has a generation, odd while it is being
written; a reader knows from its handle which generation it wants, looks at the pixels in place, and asks
``still_valid`` afterwards. An overwritten frame is never mistaken for a good one; it is dropped and counted.

Handles are small and travel by any channel (over DDS as FrameReady). A frame that does not fit makes the writer go on
in a new, larger segment under a new name; readers follow by the name in the handle.
"""

from __future__ import annotations

from percept_ros.runtime.frame import FrameFormat, FrameHandle
from percept_ros.runtime.ring_kernel import RingCounters
from percept_ros.runtime.ring_reader import RingFrame, RingReader
from percept_ros.runtime.ring_writer import OpenSlot, RingWriter

__all__ = ["FrameFormat", "FrameHandle", "OpenSlot", "RingCounters", "RingFrame", "RingReader", "RingWriter"]
