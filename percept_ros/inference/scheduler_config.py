"""Settings and counts of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from percept_ros.settings import setting


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Settings of a scheduler."""

    queue: int = setting(50, "requests that may wait", low=1, high=1_000_000)
    workers: int = setting(8, "threads that run batches", low=1, high=256)
    policy: str = setting(
        "reject", "what happens when the queue is full", choices=("reject", "drop_oldest", "drop_newest", "inline")
    )
    inline_share: float = setting(
        0.9, "policy inline: above this share of the queue the caller runs requests itself", low=0.0, high=1.0
    )
    max_batch: int = setting(1, "requests run together", low=1, high=4096)
    max_wait_ms: float = setting(0.0, "a batch that is not full waits this long for more", low=0.0, high=1000.0)


@dataclass(slots=True)
class SchedulerCounters:
    """One outcome for each request: completed, failed, rejected, dropped_*, deadline_*, cancelled or abandoned.

    deadline_entry, deadline_queue, deadline_late: found expired at submission, at dequeue, at completion. abandoned:
    left over at close. inline: taken by the caller's thread. split: batches that failed and were run again one by one.
    """

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    dropped_oldest: int = 0
    dropped_newest: int = 0
    deadline_entry: int = 0
    deadline_queue: int = 0
    deadline_late: int = 0
    cancelled: int = 0
    abandoned: int = 0
    inline: int = 0
    batches: int = 0
    split: int = 0
