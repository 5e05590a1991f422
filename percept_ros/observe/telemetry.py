"""Telemetry of one service, set up once at start: who it is, its metrics, its exporters.

    with open_telemetry(config.observe, "fusion") as telemetry: ...

The data path calls ``record`` and the metrics' series; both only move plain numbers. OpenTelemetry, gRPC and Prometheus
are imported when an exporter is configured, and work in threads of their own.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percept_ros.config import ObserveConfig
from percept_ros.observe.logs import StructuredLog
from percept_ros.observe.meter import Meter
from percept_ros.observe.process import GcWatch, Gpus, watch_processes
from percept_ros.observe.record import FrameRecord
from percept_ros.observe.resource import Identity, identify
from percept_ros.observe.tier import Tier

if TYPE_CHECKING:
    from percept_ros.observe.profiles import Profiler
    from percept_ros.observe.prometheus import PrometheusServer
    from percept_ros.observe.sinks import Sink

Warn = Callable[[str], None]


class Telemetry:
    """Metrics, traces and exporters of one service. ``close`` may be called twice.

    port_offset: of this service from ``prometheus_port``. warn: told what could not be set up.
    """

    def __init__(
        self, config: ObserveConfig, service: str, *, port_offset: int = 0, warn: Warn = lambda text: None
    ) -> None:
        self.config = config
        self.tier = Tier.parse(config.sla_tier)
        self.identity: Identity = identify(service, self.tier, config.instance)
        self.meter = Meter({"service": service})
        self.recent: deque[FrameRecord] = deque(maxlen=config.recent_frames)
        self.processes: dict[str, int] = {service: self.identity.pid}
        self.sinks: list[Sink] = []
        self.server: PrometheusServer | None = None
        self._port_offset, self._warn = port_offset, warn
        self._registry: Any = None
        self._gc = GcWatch(self.meter)
        self.profiler: Profiler | None = None
        """Takes profiles of this process, where a folder for them is configured."""
        self.log = StructuredLog(self.identity, self.line)

    def start(self) -> Telemetry:
        """Open the configured exporters. What cannot be opened is said and left out."""
        watch_processes(self.meter, lambda: self.processes)
        self.meter.gauge(
            "percept_sla_limit_seconds",
            "latency limit of the service level",
            "sla_tier",
            read=lambda: [((self.tier.name,), self.tier.limit_ns * 1e-9)],
        )
        self._watch_sinks()
        if not self.config.enabled:
            return self
        self._gc.start()
        Gpus().register(self.meter)
        self._open_sinks()
        if self.config.prometheus_port:
            self._open_server(self.config.prometheus_port + self._port_offset)
        return self

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self.config.enabled

    def record(self, record: FrameRecord) -> None:
        """Keep one finished frame, and export it when it is wanted. Never blocks, never raises."""
        self.recent.append(record)
        if record.wanted:
            self.export(record)

    def export(self, record: FrameRecord) -> None:
        """Export one frame whatever the sampling says (slow frames of an interval, asked for later)."""
        for sink in self.sinks:
            sink.put(record)

    def line(self, text: str) -> None:
        """One line of structured log for the exporters that keep logs."""
        if self.config.log_lines:
            print(text, file=sys.stderr)
        for sink in self.sinks:
            if sink.name == "files":
                sink.put(text)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type of ``/metrics``, for servers that mount it. accept: the request's Accept header."""
        from percept_ros.observe.prometheus import exposition, registry_of

        if self._registry is None:
            self._registry = registry_of(self.meter, self.identity)
        return exposition(self._registry, accept)

    def close(self) -> None:
        """Send what waits, then let go."""
        self._gc.stop()
        if self.server is not None:
            self.server.close()
            self.server = None
        for sink in self.sinks:
            sink.close()
        self.sinks = []

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch_sinks(self) -> None:
        def count(what: str) -> Callable[[], Iterator[tuple[tuple[str, ...], float]]]:
            return lambda: (((sink.name,), float(getattr(sink.counters, what))) for sink in self.sinks)

        meter = self.meter
        meter.counter("percept_telemetry_sent_total", "frames and lines exported", "exporter", read=count("sent"))
        meter.counter(
            "percept_telemetry_dropped_total", "telemetry lost: queue full", "exporter", read=count("dropped")
        )
        meter.counter("percept_telemetry_failed_total", "exports that failed", "exporter", read=count("failed"))
        meter.gauge(
            "percept_telemetry_waiting",
            "frames and lines that wait for an exporter",
            "exporter",
            read=lambda: [((sink.name,), float(sink.depth)) for sink in self.sinks],
        )

    def _open_sinks(self) -> None:
        targets: dict[str, Callable[[], Any]] = {}
        config = self.config
        if config.otlp_endpoint:
            targets["otlp"] = lambda: _otlp(config)
        if config.files:
            targets["files"] = lambda: _files(config, self.identity)
        if not targets:
            return
        from percept_ros.observe.sinks import Sink

        for name, target in targets.items():
            self.sinks.append(
                Sink(name, target, self.identity, self.meter, depth=config.queue, metrics_s=config.push_s)
            )

    def _open_server(self, port: int) -> None:
        from percept_ros.observe.prometheus import PrometheusServer, registry_of

        self._registry = registry_of(self.meter, self.identity)
        try:
            self.server = PrometheusServer(self._registry, self.config.prometheus_host, port)
        except OSError as exc:
            self._warn(f"metrics are not served: {self.config.prometheus_host}:{port}: {exc}")


def open_telemetry(
    config: ObserveConfig, service: str, *, port_offset: int = 0, warn: Warn = lambda text: None
) -> Telemetry:
    """Telemetry of ``service``, started. Close it, or use it as a context manager. Raises ConfigError for a bad tier."""
    return Telemetry(config, service, port_offset=port_offset, warn=warn).start()


def _otlp(config: ObserveConfig) -> Any:
    from percept_ros.observe.otlp import OtlpTarget

    return OtlpTarget(config.otlp_endpoint, insecure=not config.otlp_tls)


def _files(config: ObserveConfig, identity: Identity) -> Any:
    from percept_ros.observe.files import FileTarget

    with contextlib.suppress(RuntimeError):  # no home folder
        folder = Path(config.files).expanduser()
        return FileTarget(folder / identity.service, limit_bytes=int(config.files_mb * 1e6))
    return FileTarget(Path(config.files) / identity.service, limit_bytes=int(config.files_mb * 1e6))
