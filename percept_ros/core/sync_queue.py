"""The frames of one camera that wait for a sweep, sorted by corrected stamp. Not thread-safe by itself."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from percept_ros.types import AbsenceReason

F = TypeVar("F")

USED = ""
_PERIODS = 8
_PERIOD_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class CameraTiming:
    """tolerance_ns: largest distance of a used frame from the pivot. time_offset_ns: added to every stamp of the camera."""

    tolerance_ns: int = 55_000_000
    time_offset_ns: int = 0


class FrameQueue(Generic[F]):
    """Bounded, sorted, without duplicates. All stamps here are corrected ones.

    newest_ns: newest stamp seen, of frames since refused too (0 = none). arrival_ns: clock at the last frame.
    misses: sets in a row that went out before this camera had come so far.
    """

    def __init__(self, timing: CameraTiming, depth: int) -> None:
        self.timing, self._depth = timing, depth
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stamps_ns: list[int] = []
        self._frames: list[F] = []
        self._fates: list[str] = []
        self._periods_ns: deque[int] = deque(maxlen=_PERIODS)
        self.newest_ns, self.arrival_ns, self.misses = 0, 0, 0
        self._overflowed_ns, self.invalid_ns = 0, 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def period_ns(self) -> int | None:
        """Shortest recent distance of two frames, None before the second."""
        return min(self._periods_ns, default=None)

    def seen(self, stamp_ns: int, now_ns: int) -> None:
        """Note that the camera has come as far as ``stamp_ns``."""
        if self.newest_ns and stamp_ns > self.newest_ns:
            self._periods_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns, self.arrival_ns = max(self.newest_ns, stamp_ns), now_ns

    def add(self, frame: F, stamp_ns: int, fate: str) -> list[str]:
        """Insert by stamp; ``fate`` is what it is counted as should no set use it. Returns the reasons of what was dropped."""
        at = bisect_left(self._stamps_ns, stamp_ns)
        if at < len(self._stamps_ns) and self._stamps_ns[at] == stamp_ns:
            return ["duplicate"]
        self._stamps_ns.insert(at, stamp_ns)
        self._frames.insert(at, frame)
        self._fates.insert(at, fate)
        if len(self._frames) <= self._depth:
            return []
        self._overflowed_ns = self._stamps_ns[0]
        return ["overflow" for _ in self._remove(1)]

    def _remove(self, count: int) -> list[str]:
        """Remove the oldest frames; the fates of those that no set used."""
        fates = [fate for fate in self._fates[:count] if fate != USED]
        del self._stamps_ns[:count], self._frames[:count], self._fates[:count]
        return fates

    def forget_before(self, pivot_ns: int) -> list[str]:
        """Remove frames too old for any pivot after ``pivot_ns``; the fates of those that no set used."""
        count = bisect_left(self._stamps_ns, pivot_ns - self.timing.tolerance_ns)
        return self._remove(count) if count else []

    def unused(self) -> int:
        """How many frames no set used."""
        return len(self._fates) - self._fates.count(USED)

    def newest_frame_ns(self) -> int | None:
        """Stamp of the newest frame here."""
        return self._stamps_ns[-1] if self._stamps_ns else None

    def _nearest(self, pivot_ns: int) -> int:
        """Index of the frame nearest to the pivot (the earlier of two equally near), -1 when there is none."""
        stamps = self._stamps_ns
        at = bisect_left(stamps, pivot_ns)
        if at == len(stamps):
            return at - 1
        return at - 1 if at and pivot_ns - stamps[at - 1] <= stamps[at] - pivot_ns else at

    def take(self, pivot_ns: int) -> tuple[F, int] | None:
        """The nearest frame within tolerance and its stamp, or None. It stays, for a neighbouring pivot."""
        at = self._nearest(pivot_ns)
        if at < 0 or abs(self._stamps_ns[at] - pivot_ns) > self.timing.tolerance_ns:
            return None
        self._fates[at] = USED
        return self._frames[at], self._stamps_ns[at]

    def settled(self, pivot_ns: int) -> bool:
        """Whether no frame to come can be nearer to the pivot than what is here.

        So it is when the camera has come up to the pivot, or when its next frame, at the shortest of its recent periods
        (less a twentieth for jitter), would be no nearer than the one that is here.
        """
        if self.newest_ns >= pivot_ns:
            return True
        at = self._nearest(pivot_ns)
        if at < 0 or not self._periods_ns:
            return False
        distance_ns = pivot_ns - self._stamps_ns[at]
        next_ns = self.newest_ns + int(_PERIOD_SHARE * min(self._periods_ns))
        return distance_ns <= self.timing.tolerance_ns and next_ns - pivot_ns >= distance_ns

    def why_absent(self, pivot_ns: int) -> AbsenceReason:
        """Why there is no frame for the pivot."""
        near = self.timing.tolerance_ns
        if not self.newest_ns:
            return AbsenceReason.NEVER_SEEN
        if abs(self.invalid_ns - pivot_ns) <= near:
            return AbsenceReason.INVALID
        if abs(self._overflowed_ns - pivot_ns) <= near:
            return AbsenceReason.DROPPED
        return AbsenceReason.OUT_OF_TOLERANCE if self.newest_ns >= pivot_ns else AbsenceReason.LATE
