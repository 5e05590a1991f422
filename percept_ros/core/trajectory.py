"""Poses over time: slerp between them, and a bounded history that may be asked a little beyond its ends."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from percept_ros.core.geometry import rotation_from_quaternion, se3, to_quaternion
from percept_ros.errors import StampError, TransformError
from percept_ros.types import F64, I64


def slerp(start_xyzw: F64, end_xyzw: F64, share: npt.ArrayLike) -> F64:
    """(..., 4) unit quaternions on the shorter arc; share 0 = start, 1 = end, beyond = the same turn rate goes on.

    Source: Shoemake 1985.
    """
    part = np.asarray(share, np.float64)[..., None]
    dot = np.sum(start_xyzw * end_xyzw, axis=-1, keepdims=True)
    target = np.where(dot < 0.0, -end_xyzw, end_xyzw)
    across = target - np.abs(dot) * start_xyzw
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.abs(dot))
    unit = across / np.where(sine > 1e-12, sine, 1.0)
    turned: F64 = np.cos(part * angle) * start_xyzw + np.sin(part * angle) * unit
    return turned


def interpolate_pose(start: F64, end: F64, share: npt.ArrayLike) -> F64:
    """(..., 4, 4) poses between two (..., 4, 4) poses: slerp of the rotation, straight line of the position."""
    part = np.asarray(share, np.float64)
    rotation = rotation_from_quaternion(slerp(to_quaternion(start), to_quaternion(end), part))
    position = start[..., :3, 3] + part[..., None] * (end[..., :3, 3] - start[..., :3, 3])
    return se3(rotation, position)


class PoseHistory:
    """The newest poses of one frame in another, ascending in time. Thread-safe.

    depth: poses kept. max_extrapolation_ns: how far beyond the first or last pose may be asked.
    max_gap_ns: neighbours farther apart than this are not interpolated between.
    """

    def __init__(
        self, depth: int = 400, max_extrapolation_ns: int = 200_000_000, max_gap_ns: int = 1_000_000_000
    ) -> None:
        self._depth, self._beyond_ns, self._gap_ns = depth, max_extrapolation_ns, max_gap_ns
        self._lock = threading.Lock()
        self._stamps_ns: list[int] = []
        self._poses: list[F64] = []
        self._arrays: tuple[I64, F64] | None = None

    def __len__(self) -> int:
        return len(self._stamps_ns)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest pose."""
        return self._stamps_ns[-1] if self._stamps_ns else None

    def add(self, stamp_ns: int, pose: F64) -> None:
        """Append a (4, 4) pose. Raises StampError unless it is newer than all before; ``clear`` after a time jump."""
        with self._lock:
            if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
                last = self._stamps_ns[-1]
                raise StampError(f"pose stamp {stamp_ns} ns is not newer than {last} ns: check the source", "old_pose")
            self._stamps_ns.append(stamp_ns)
            self._poses.append(pose)
            self._arrays = None
            if len(self._stamps_ns) > self._depth:
                del self._stamps_ns[0], self._poses[0]

    def clear(self) -> None:
        """Forget everything (after a backward time jump)."""
        with self._lock:
            self._stamps_ns, self._poses, self._arrays = [], [], None

    def at(self, stamps_ns: int | I64) -> F64:
        """(..., 4, 4) pose at one stamp or at each of an array of stamps.

        Raises TransformError when there is no pose, a stamp is too far beyond the ends, or in too wide a gap.
        """
        known_ns, poses = self._snapshot()
        asked = np.asarray(stamps_ns, np.int64)
        self._check(known_ns, asked)
        if len(known_ns) == 1:
            return np.broadcast_to(poses[0], (*asked.shape, 4, 4)).copy()
        left = np.clip(np.searchsorted(known_ns, asked, side="right") - 1, 0, len(known_ns) - 2)
        span = known_ns[left + 1] - known_ns[left]
        if np.any(span > self._gap_ns):
            raise TransformError(f"poses around stamp {asked.flat[0]} ns are {span.max() / 1e9:.3f} s apart: too far")
        return interpolate_pose(poses[left], poses[left + 1], (asked - known_ns[left]) / span)

    def _snapshot(self) -> tuple[I64, F64]:
        with self._lock:
            if not self._stamps_ns:
                raise TransformError("no ego pose received yet: check the odometry source (ego_motion.source, .topic)")
            if self._arrays is None:
                self._arrays = (np.array(self._stamps_ns, np.int64), np.stack(self._poses))
            return self._arrays

    def _check(self, known_ns: I64, asked: I64) -> None:
        if not asked.size:
            return
        early, late = int(known_ns[0]) - int(asked.min()), int(asked.max()) - int(known_ns[-1])
        if max(early, late) > self._beyond_ns:
            side, by = ("before the first", early) if early > late else ("after the last", late)
            raise TransformError(
                f"stamp {by / 1e9:.3f} s {side} ego pose (at most {self._beyond_ns / 1e9:.3f} s): no pose"
            )
