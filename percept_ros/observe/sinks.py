"""Exporters behind bounded queues: whatever happens to them, the data path only ever counts a drop.

Each sink has its own thread and queue, so that a collector that does not answer cannot hold up the files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from percept_ros.observe.meter import Meter
from percept_ros.observe.points import metrics_data
from percept_ros.observe.record import FrameRecord
from percept_ros.observe.resource import Identity
from percept_ros.observe.spans import SpanMaker


class Target(Protocol):
    """Where telemetry goes. Both methods may block and may raise."""

    def send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        """Send spans; whether they were taken."""
        ...

    def send_metrics(self, data: MetricsData) -> bool:
        """Send metrics; whether they were taken."""
        ...

    def send_line(self, line: str) -> None:
        """Write one line of a structured log, where the target keeps logs."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class SinkCounters:
    """dropped: the queue was full. failed: the target refused or raised. sent: frames and log lines."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0


class Sink:
    """A target behind a bounded queue and a thread. ``put`` never blocks.

    open_target: called in the thread (it may import and connect). metrics_s: a push of the meter this often, 0 = never.
    """

    def __init__(
        self,
        name: str,
        open_target: Callable[[], Target],
        identity: Identity,
        meter: Meter,
        *,
        depth: int,
        metrics_s: float = 0.0,
    ) -> None:
        self.name, self.counters = name, SinkCounters()
        self._open, self._identity, self._meter = open_target, identity, meter
        self._metrics_s = metrics_s
        self._queue: queue.Queue[FrameRecord | str | None] = queue.Queue(depth)
        self._target: Target | None = None
        self._started_ns = time.time_ns()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"observe-{name}", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """What waits."""
        return self._queue.qsize()

    def put(self, item: FrameRecord | str) -> None:
        """Queue a frame or a log line, or count a drop."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.counters.dropped += 1

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what waits, as far as time allows."""
        self._closing.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            self.counters.dropped += 1
        self._thread.join(timeout_s)

    def _work(self) -> None:
        try:
            target = self._target = self._open()
        except Exception:  # without the exporter everything goes on
            self.counters.failed += 1
            return
        maker = SpanMaker(self._identity)
        due_s = time.monotonic() + self._metrics_s
        while True:
            item = self._next(due_s)
            if self._metrics_s and time.monotonic() >= due_s:
                due_s = time.monotonic() + self._metrics_s
                self._try(lambda: target.send_metrics(self._metrics(maker)))
            if isinstance(item, str):
                self._send_line(target, item)
            elif item is not None:
                self._send_frame(target, maker, item)
            elif self._closing.is_set() and self._queue.empty():
                break
        if self._metrics_s:
            self._try(lambda: target.send_metrics(self._metrics(maker)))
        self._try(target.close, count=False)

    def _next(self, due_s: float) -> FrameRecord | str | None:
        wait_s = max(0.0, due_s - time.monotonic()) if self._metrics_s else 1.0
        try:
            return self._queue.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _send_frame(self, target: Target, maker: SpanMaker, record: FrameRecord) -> None:
        if self._try(lambda: target.send_spans(maker.spans(record))):
            self.counters.sent += 1

    def _send_line(self, target: Target, line: str) -> None:
        if self._try(lambda: target.send_line(line)):
            self.counters.sent += 1

    def _metrics(self, maker: SpanMaker) -> MetricsData:
        families = self._meter.collect()
        return metrics_data(families, maker.resource, self._meter.constant, self._started_ns, time.time_ns())

    def _try(self, send: Callable[[], Any], count: bool = True) -> bool:
        try:
            ok = send() is not False
        except Exception:  # an exporter may raise anything; its trouble is counted, not spread
            ok = False
        self.counters.failed += count and not ok
        return ok
