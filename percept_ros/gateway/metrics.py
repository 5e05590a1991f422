"""Figures of the gateway for Prometheus, in a registry of their own; those of the process are added where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from percept_ros.gateway.feed import Feed
    from percept_ros.gateway.perceiver import Perceiver

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (*(0.01 * step for step in range(1, 21)), 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class GatewayMetrics:
    """Counts of calls, and gauges read when they are scraped."""

    def __init__(self, perceiver: Perceiver, feed: Feed) -> None:
        registry = self.registry = CollectorRegistry()
        self._calls = Counter(
            "percept_gateway_requests", "answered calls", ["path", "status", "ab_result"], registry=registry
        )
        self._seconds = Histogram(
            "percept_gateway_seconds", "call to answer", ["path"], buckets=_BUCKETS, registry=registry
        )
        self._queue = Histogram(
            "percept_gateway_queue_wait_seconds", "wait for a worker", ["sla_tier"], buckets=_BUCKETS, registry=registry
        )
        self._mode = Counter("percept_gateway_frames", "answered frames", ["mode", "model"], registry=registry)
        self._gauge("percept_gateway_entered", "calls being answered", lambda: perceiver.entered)
        self._gauge("percept_gateway_sessions", "sessions kept", lambda: len(perceiver.sessions))
        self._gauge("percept_gateway_viewers", "open streams", lambda: feed.viewers)
        self._gauge("percept_gateway_missed_events", "events that slow viewers missed", lambda: feed.missed)
        self._gauge("percept_gateway_ready", "whether models are loaded", lambda: perceiver.ready)
        self.others: Callable[[], bytes] = bytes
        """Further figures of this process, in Prometheus text format."""

    def _gauge(self, name: str, doc: str, value: Callable[[], float]) -> None:
        Gauge(name, doc, registry=self.registry).set_function(value)

    def call(self, path: str, status: int, seconds: float, group: str = "") -> None:
        """One answered call."""
        self._calls.labels(path, str(status), group or "none").inc()
        self._seconds.labels(path).observe(seconds)

    def frame(self, mode: str, model: str, queue_ms: float) -> None:
        """One answered frame. A wait of over 200 ms is marked critical."""
        self._mode.labels(mode, model).inc()
        self._queue.labels("critical" if queue_ms > 200.0 else "normal").observe(queue_ms * 1e-3)

    def text(self) -> bytes:
        """All figures."""
        own: bytes = generate_latest(self.registry)
        return own + self.others()
