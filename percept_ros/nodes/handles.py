"""FrameReady messages and the ring frames that they name."""

from __future__ import annotations

from typing import Any

from percept_ros.msg import FrameReady
from percept_ros.nodes.convert import stamp_ns, time_message
from percept_ros.runtime.ring import FrameFormat, FrameHandle


def to_message(handle: FrameHandle, frame_id: str, trace_id: str = "") -> FrameReady:
    """FrameReady of a handle."""
    message = FrameReady(
        ring=handle.ring,
        slot=int(handle.slot),
        generation=int(handle.generation),
        width=int(handle.width),
        height=int(handle.height),
        format=int(handle.format),
        is_keyframe=bool(handle.is_keyframe),
        trace_id=trace_id,
    )
    message.header.stamp, message.header.frame_id = time_message(handle.stamp_ns), frame_id
    return message


def from_message(message: Any) -> FrameHandle:
    """The handle in a FrameReady."""
    return FrameHandle(
        message.ring,
        message.slot,
        message.generation,
        stamp_ns(message.header.stamp),
        message.width,
        message.height,
        FrameFormat(message.format),
        message.is_keyframe,
    )
