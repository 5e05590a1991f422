"""Brings a LiDAR sweep and the camera frames that belong to it together, without waiting for what does not come.

The sweep is the pivot. For each camera the frame nearest to it, within the camera's own tolerance and after its time offset,
is found by bisection in a bounded queue: O(cameras x log depth) a set. A set is released when no better frame can come for
any camera, or at its deadline, then partial with a reason for each absent sensor. Sets come out in order of their stamps.
A frame may belong to two neighbouring sweeps when both are within its tolerance. Without a sweep for ``silence_ns`` the first
camera that delivers becomes the pivot, until a sweep comes again.

The object is pure: the clock is handed in (``now_ns``, the clock of the stamps), sets are returned to the caller, and no code
of the caller runs under the lock, so that an exception there cannot block the flow.

Drops are counted by reason: zero_stamp, future_stamp, past_stamp, recorded_stamp (a minute and more behind the clock),
unknown_sensor (refused with an error); duplicate, late (its set, or a later one, is out already), overflow (queue full),
unmatched (no sweep near), time_jump (forgotten by a reset), and what ``note_invalid`` is told.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic

from percept_ros.core.sync_queue import FrameQueue
from percept_ros.core.sync_types import C, F, SyncedSet, SyncSettings
from percept_ros.errors import InputError, StampError
from percept_ros.types import AbsenceReason

_RECORDED_NS = 60_000_000_000
"""Clocks are hardly ever this wrong; data from a bag, played without its clock, usually is."""


@dataclass(slots=True)
class _Pending(Generic[C]):
    """A set that may still get better frames of the cameras in ``waiting``."""

    stamp_ns: int
    cloud: C | None
    arrival_ns: int
    deadline_ns: int
    waiting: set[str]


class Synchroniser(Generic[C, F]):
    """Thread-safe; one lock, held for queue work only.

    on_reset: called with one line of text after a backward time jump, outside the lock. resets: how many there were.
    """

    def __init__(self, settings: SyncSettings, on_reset: Callable[[str], None] | None = None) -> None:
        self.settings, self.resets, self._on_reset = settings, 0, on_reset
        self._lock = threading.Lock()
        self._queues: dict[str, FrameQueue[F]] = {
            name: FrameQueue(timing, settings.queue_depth) for name, timing in settings.cameras.items()
        }
        self._drops: Counter[tuple[str, str]] = Counter()
        self._notices: list[str] = []
        self._forget()

    def add_cloud(self, cloud: C, now_ns: int) -> list[SyncedSet[C, F]]:
        """Take a sweep; the sets that are ready, oldest first. Raises StampError for a zero or far future stamp."""
        with self._lock:
            self._check(self.settings.lidar, cloud.stamp_ns, cloud.stamp_ns, self._newest_cloud_ns, now_ns)
            self._take_cloud(cloud, now_ns)
            ready = self._release(now_ns)
        return self._announced(ready)

    def add_image(self, frame: F, now_ns: int) -> list[SyncedSet[C, F]]:
        """Take a camera frame; the sets that are ready, oldest first.

        Raises StampError for a zero or far future stamp, InputError for a camera that is not configured.
        """
        with self._lock:
            queue = self._queue_of(frame.sensor)
            stamp_ns = frame.stamp_ns + queue.timing.time_offset_ns
            self._check(frame.sensor, frame.stamp_ns, stamp_ns, queue.newest_ns, now_ns)
            self._take_frame(queue, frame, stamp_ns, now_ns)
            self._settle(frame.sensor, queue)
            self._add_camera_pivot(now_ns)
            ready = self._release(now_ns)
        return self._announced(ready)

    def note_invalid(self, sensor: str, stamp_ns: int, now_ns: int, reason: str = "invalid") -> list[SyncedSet[C, F]]:
        """Count a message that was refused before it came here, and wait for it no longer; the sets that are ready."""
        with self._lock:
            self._drops[sensor, reason] += 1
            queue = self._queues.get(sensor)
            if sensor == self.settings.lidar:
                self._cloud_invalid = True
            plausible = stamp_ns > 0 and (now_ns <= 0 or stamp_ns <= now_ns + self.settings.max_future_ns)
            if queue is not None and plausible:
                queue.invalid_ns = stamp_ns + queue.timing.time_offset_ns
                queue.seen(queue.invalid_ns, now_ns)
                self._settle(sensor, queue)
            ready = self._release(now_ns)
        return self._announced(ready)

    def poll(self, now_ns: int) -> list[SyncedSet[C, F]]:
        """The sets whose deadline has come, and camera-only sets when the LiDAR is silent. Call at ``next_deadline_ns``."""
        with self._lock:
            self._check_clock(now_ns)
            self._add_camera_pivot(now_ns)
            ready = self._release(now_ns)
        return self._announced(ready)

    def flush(self, now_ns: int) -> list[SyncedSet[C, F]]:
        """All sets that still wait, as they are (at the end of a recording)."""
        with self._lock:
            ready = self._release(now_ns, everything=True)
        return self._announced(ready)

    def reset(self, why: str = "asked to") -> None:
        """Forget all queues and stamps; counters stay."""
        with self._lock:
            self._reset(why)
        self._announced([])

    @property
    def drops(self) -> dict[str, int]:
        """Reason -> number of messages dropped since the start."""
        total: Counter[str] = Counter()
        for (_, reason), count in self.drops_by_sensor.items():
            total[reason] += count
        return dict(total)

    @property
    def drops_by_sensor(self) -> dict[tuple[str, str], int]:
        """(sensor, reason) -> number of messages dropped since the start."""
        with self._lock:
            return dict(self._drops)

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``poll`` has something to do next; None = not before another message."""
        with self._lock:
            times = [item.deadline_ns for item in self._pending]
            silent_ns = self._silent_from_ns()
            if silent_ns > self._clock_ns and any(len(queue) for queue in self._queues.values()):
                times.append(silent_ns)
            return min(times, default=None)

    @property
    def awaited(self) -> frozenset[str]:
        """Cameras that the oldest set is waiting for; empty when there is none."""
        with self._lock:
            return frozenset(self._pending[0].waiting) if self._pending else frozenset()

    def _forget(self) -> None:
        self._pending: list[_Pending[C]] = []
        self._newest_cloud_ns, self._released_ns, self._released_deadline_ns = 0, 0, 0
        self._absent: frozenset[str] = frozenset()
        self._cloud_arrival_ns: int | None = None
        self._clock_ns, self._cloud_invalid = 0, False
        for queue in self._queues.values():
            queue.clear()

    def _reset(self, why: str) -> None:
        self._drops[self.settings.lidar, "time_jump"] += sum(item.cloud is not None for item in self._pending)
        for name, queue in self._queues.items():
            self._drops[name, "time_jump"] += queue.unused()
        self._drops = +self._drops
        self._forget()
        self.resets += 1
        self._notices.append(f"synchroniser reset: {why}")

    def _announced(self, ready: list[SyncedSet[C, F]]) -> list[SyncedSet[C, F]]:
        if self._notices:
            with self._lock:
                notices, self._notices = self._notices, []
            for notice in notices if self._on_reset is not None else ():
                self._on_reset(notice)  # type: ignore[misc]
        return ready

    def _queue_of(self, sensor: str) -> FrameQueue[F]:
        queue = self._queues.get(sensor)
        if queue is None:
            self._drops[sensor, "unknown_sensor"] += 1
            known = ", ".join(self._queues) or "none"
            raise InputError(f"camera '{sensor}' is not configured (known: {known})", "unknown_sensor")
        return queue

    def _check(self, sensor: str, raw_ns: int, stamp_ns: int, newest_ns: int, now_ns: int) -> None:
        if raw_ns <= 0 or stamp_ns <= 0:
            self._drops[sensor, "zero_stamp"] += 1
            raise StampError(f"stamp of '{sensor}' is {raw_ns} ns: the driver must set header.stamp", "zero_stamp")
        if now_ns > 0 and stamp_ns > now_ns + self.settings.max_future_ns:
            self._drops[sensor, "future_stamp"] += 1
            ahead_s = (stamp_ns - now_ns) * 1e-9
            text = f"stamp of '{sensor}' is {ahead_s:.3f} s ahead of the clock: synchronise clocks, or set use_sim_time"
            raise StampError(text, "future_stamp")
        if 0 < self.settings.max_past_ns < now_ns - stamp_ns:
            error = _past_error(sensor, now_ns - stamp_ns, self.settings.max_past_ns)
            self._drops[sensor, error.reason] += 1
            raise error
        self._check_clock(now_ns)
        if newest_ns - stamp_ns > self.settings.jump_ns:
            self._reset(f"stamp of '{sensor}' went back by {(newest_ns - stamp_ns) * 1e-9:.3f} s")
            self._check_clock(now_ns)

    def _check_clock(self, now_ns: int) -> None:
        if self._clock_ns - now_ns > self.settings.jump_ns:
            self._reset(f"clock went back by {(self._clock_ns - now_ns) * 1e-9:.3f} s")
        if self._cloud_arrival_ns is None or now_ns - self._clock_ns > self.settings.jump_ns:
            self._cloud_arrival_ns = now_ns  # silence is not counted over a gap of the clock
        self._clock_ns = now_ns

    def _take_cloud(self, cloud: C, now_ns: int) -> None:
        lidar, stamp_ns = self.settings.lidar, cloud.stamp_ns
        self._cloud_arrival_ns, self._newest_cloud_ns = now_ns, max(self._newest_cloud_ns, stamp_ns)
        self._cloud_invalid = False
        self._pending = [item for item in self._pending if item.cloud is not None]
        if any(item.stamp_ns == stamp_ns for item in self._pending) or stamp_ns == self._released_ns:
            self._drops[lidar, "duplicate"] += 1
        elif stamp_ns < self._released_ns:
            self._drops[lidar, "late"] += 1
        else:
            self._add_pending(stamp_ns, cloud, now_ns)

    def _add_pending(self, stamp_ns: int, cloud: C | None, now_ns: int) -> None:
        patience = self.settings.patience
        waiting = {n for n, q in self._queues.items() if q.misses < patience and not q.settled(stamp_ns)}
        item = _Pending(stamp_ns, cloud, now_ns, now_ns + self.settings.deadline_ns, waiting)
        insort(self._pending, item, key=lambda p: p.stamp_ns)

    def _take_frame(self, queue: FrameQueue[F], frame: F, stamp_ns: int, now_ns: int) -> None:
        near_ns = queue.timing.tolerance_ns
        missed = frame.sensor in self._absent and stamp_ns - near_ns <= self._released_ns
        if not missed or now_ns <= self._released_deadline_ns:
            queue.misses = 0
        queue.seen(stamp_ns, now_ns)
        if stamp_ns < self._released_ns - near_ns:
            self._drops[frame.sensor, "late"] += 1
        else:
            self._count(frame.sensor, queue.add(frame, stamp_ns, "late" if missed else "unmatched"))

    def _count(self, sensor: str, reasons: Iterable[str]) -> None:
        for reason in reasons:
            self._drops[sensor, reason] += 1

    def _settle(self, sensor: str, queue: FrameQueue[F]) -> None:
        for item in self._pending:
            if sensor in item.waiting and queue.settled(item.stamp_ns):
                item.waiting.discard(sensor)

    def _silent_from_ns(self) -> int:
        return (self._cloud_arrival_ns or 0) + self.settings.silence_ns

    def _add_camera_pivot(self, now_ns: int) -> None:
        """While the LiDAR is silent, the newest frame of the first camera that delivers becomes a pivot."""
        if now_ns < self._silent_from_ns():
            return
        for queue in self._queues.values():
            stamp_ns = queue.newest_frame_ns()
            if stamp_ns is None or now_ns - queue.arrival_ns > self.settings.silence_ns:
                continue
            near_ns = queue.timing.tolerance_ns
            spacing_ns = near_ns if queue.period_ns is None else min(near_ns, queue.period_ns // 2)
            last_ns = self._pending[-1].stamp_ns if self._pending else self._released_ns
            if stamp_ns - last_ns > spacing_ns:
                self._add_pending(stamp_ns, None, now_ns)
            return

    def _release(self, now_ns: int, everything: bool = False) -> list[SyncedSet[C, F]]:
        """Take out the sets that are settled, due, or before one that is due, or that the queue has no room for."""
        ready = []
        while self._pending:
            due = now_ns >= min(item.deadline_ns for item in self._pending)
            full = len(self._pending) > self.settings.queue_depth
            if self._pending[0].waiting and not (everything or due or full):
                break
            ready.append(self._make(self._pending.pop(0), now_ns))
        return ready

    def _why_no_cloud(self) -> AbsenceReason:
        if self._cloud_invalid:
            return AbsenceReason.INVALID
        return AbsenceReason.LATE if self._newest_cloud_ns else AbsenceReason.NEVER_SEEN

    def _make(self, item: _Pending[C], now_ns: int) -> SyncedSet[C, F]:
        pivot_ns, lidar = item.stamp_ns, self.settings.lidar
        cameras: dict[str, F] = {}
        stamps_ns: dict[str, int] = {}
        absent: dict[str, AbsenceReason] = {}
        if item.cloud is not None:
            stamps_ns[lidar] = pivot_ns
        else:
            absent[lidar] = self._why_no_cloud()
        for name, queue in self._queues.items():
            taken = queue.take(pivot_ns)
            if taken is not None:
                cameras[name], stamps_ns[name] = taken
                queue.misses = 0
            else:
                absent[name] = queue.why_absent(pivot_ns)
                queue.misses += queue.newest_ns < pivot_ns
            self._count(name, queue.forget_before(pivot_ns))
        self._released_ns, self._released_deadline_ns = pivot_ns, item.deadline_ns
        self._absent = frozenset(absent)
        return SyncedSet(pivot_ns, item.cloud, cameras, stamps_ns, absent, item.arrival_ns, now_ns)


def _past_error(sensor: str, behind_ns: int, limit_ns: int) -> StampError:
    """Why a stamp so far behind the clock is refused, and the way out: hardly any clock is wrong by a minute."""
    behind_s, limit_s = behind_ns * 1e-9, limit_ns * 1e-9
    if behind_ns < _RECORDED_NS:
        said = f"stamp of '{sensor}' is {behind_s:.3f} s behind the clock (sync.max_past_s is {limit_s:g})"
        way = "synchronise clocks; data played from a bag needs --clock and use_sim_time"
        return StampError(f"{said}: {way}", "past_stamp")
    said = f"stamp of '{sensor}' is {behind_s:.0f} s behind the clock: a recording, played without its clock"
    way = "play it with 'ros2 bag play --clock' and set use_sim_time in all nodes (launch: use_sim_time:=true)"
    return StampError(f"{said}; {way}, or set sync.max_past_s to 0", "recorded_stamp")
