"""The peers of bench/sync.py: what message_filters' approximate time synchroniser does, and itself where it is installed.

``ExhaustiveSearch`` is written from the published behaviour of the Python ApproximateTimeSynchronizer, in plain integers (so
without the cost of rclpy's Time and Duration, which favours it): each topic keeps its newest ``queue_size`` messages; a new
message asks the other topics for their stamps within ``slop``, nearest first, tries every combination of one from each until
one lies within ``slop``, calls the user under its lock, and takes those messages out.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, Protocol

TOO_LONG_S = 2.0
Callback = Callable[[list[int]], None]


class Peer(Protocol):
    """Takes messages; ``lock`` is what it calls the user under."""

    lock: Any

    def add(self, topic: int, stamp_ns: int) -> None: ...


class ExhaustiveSearch:
    """See above. Messages are their stamps."""

    def __init__(self, topics: int, queue_size: int, slop_ns: int, callback: Callback) -> None:
        self.queues: list[dict[int, int]] = [{} for _ in range(topics)]
        self.queue_size, self.slop_ns, self.callback = queue_size, slop_ns, callback
        self.lock = threading.Lock()

    def add(self, topic: int, stamp_ns: int) -> None:
        self.lock.acquire()
        own = self.queues[topic]
        own[stamp_ns] = stamp_ns
        while len(own) > self.queue_size:
            del own[min(own)]
        candidates = self._candidates(topic, stamp_ns)
        if candidates is not None:
            self._search(candidates)
        self.lock.release()

    def _candidates(self, topic: int, stamp_ns: int) -> list[list[int]] | None:
        lists = []
        for index, queue in enumerate(self.queues):
            near = [stamp_ns] if index == topic else [s for s in queue if abs(s - stamp_ns) <= self.slop_ns]
            if not near:
                return None
            lists.append(sorted(near, key=lambda s: abs(s - stamp_ns)))
        return lists

    def _search(self, candidates: list[list[int]]) -> None:
        for stamps in itertools.product(*candidates):
            if max(stamps) - min(stamps) < self.slop_ns and self._held(stamps):
                self.callback([queue[s] for queue, s in zip(self.queues, stamps, strict=True)])
                for queue, s in zip(self.queues, stamps, strict=True):
                    del queue[s]
                return

    def _held(self, stamps: tuple[int, ...]) -> bool:
        """A message older than a full queue was thrown out before the search."""
        return all(s in queue for queue, s in zip(self.queues, stamps, strict=True))


class MessageFilters:
    """The real one, where ROS's message_filters is installed."""

    def __init__(self, topics: int, queue_size: int, slop_ns: int, callback: Callback) -> None:
        import message_filters
        from builtin_interfaces.msg import Time
        from std_msgs.msg import Header

        self._time, self._header = Time, Header
        self._filters = [message_filters.SimpleFilter() for _ in range(topics)]
        self._sync = message_filters.ApproximateTimeSynchronizer(self._filters, queue_size, slop_ns * 1e-9)
        self._sync.registerCallback(lambda *messages: callback([m.stamp_ns for m in messages]))
        self.lock = self._sync.lock

    def add(self, topic: int, stamp_ns: int) -> None:
        stamp = self._time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        self._filters[topic].signalMessage(_Message(self._header(stamp=stamp), stamp_ns))


class _Message:
    def __init__(self, header: Any, stamp_ns: int) -> None:
        self.header, self.stamp_ns = header, stamp_ns


def find_peer() -> tuple[str, Callable[[int, int, int, Callback], Peer]]:
    """Name and maker of the peer."""
    try:
        import message_filters  # noqa: F401
    except ImportError:
        return "exhaustive search, as message_filters does it (message_filters is not installed)", ExhaustiveSearch
    return "message_filters.ApproximateTimeSynchronizer", MessageFilters
