"""A tree of frames: fixed and moving edges, looked up between any two frames at a stamp."""

from __future__ import annotations

import threading

import numpy as np

from percept_ros.core.geometry import inverse
from percept_ros.core.trajectory import PoseHistory
from percept_ros.errors import StampError, TransformError
from percept_ros.types import F64


class TransformTree:
    """Parent of each frame with the pose of the frame in it. Thread-safe. The equivalent of tf2's buffer.

    A frame given again under another parent moves there, as in tf2.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, F64] = {}
        self._moving: dict[str, PoseHistory] = {}

    def set_fixed(self, parent: str, child: str, parent_SE3_child: F64) -> None:
        """Enter or replace an edge that does not change."""
        with self._lock:
            self._parents[child] = parent
            self._fixed[child] = parent_SE3_child
            self._moving.pop(child, None)

    def add_moving(self, parent: str, child: str, parent_SE3_child: F64, stamp_ns: int) -> None:
        """Add one pose of a moving edge; poses older than the newest are ignored."""
        with self._lock:
            if self._parents.get(child) != parent or child not in self._moving:
                self._parents[child] = parent
                self._fixed.pop(child, None)
                self._moving[child] = PoseHistory()
            history = self._moving[child]
        try:
            history.add(stamp_ns, parent_SE3_child)
        except StampError:
            if history.newest_ns is not None and history.newest_ns - stamp_ns > 1_000_000_000:
                history.clear()  # time jumped back: the recording started again
                history.add(stamp_ns, parent_SE3_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> F64:
        """(4, 4) ``target_SE3_source`` at ``stamp_ns``. Raises TransformError when the frames are not connected."""
        with self._lock:
            up_source, up_target = self._chain(source), self._chain(target)
            known = set(self._parents) | set(self._parents.values())
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            missing = [frame for frame in (target, source) if frame not in known]
            what = f"frame '{missing[0]}' is not in the transform tree" if missing else "they are in separate trees"
            raise TransformError(f"no transform from '{source}' to '{target}': {what}; publish it on /tf or /tf_static")
        common_SE3_source = self._climb(up_source, common, stamp_ns)
        common_SE3_target = self._climb(up_target, common, stamp_ns)
        result: F64 = inverse(common_SE3_target) @ common_SE3_source
        return result

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while (parent := self._parents.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _climb(self, chain: list[str], top: str, stamp_ns: int) -> F64:
        pose: F64 = np.eye(4)
        for child in chain[: chain.index(top)]:
            pose = self._edge(child, stamp_ns) @ pose
        return pose

    def _edge(self, child: str, stamp_ns: int) -> F64:
        fixed = self._fixed.get(child)
        return fixed if fixed is not None else self._moving[child].at(stamp_ns)
