"""A real OTLP gRPC receiver in this process: what arrives is kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class Seen:
    """One span with the resource that sent it."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    start_ns: int
    end_ns: int
    links: tuple[str, ...]
    failed: bool


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in attributes}


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans and the last push of metrics of each service. Use as a context manager."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.metrics: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def Export(self, request: Any, context: Any) -> Any:
        """Take spans in."""
        for block in request.resource_spans:
            resource = plain(block.resource.attributes)
            for span in (span for scope in block.scope_spans for span in scope.spans):
                seen = Seen(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    plain(span.attributes),
                    resource,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    tuple(link.trace_id.hex() for link in span.links),
                    span.status.code == 2,
                )
                with self.lock:
                    self.spans.append(seen)
        return trace_service_pb2.ExportTraceServiceResponse()

    def traces(self) -> dict[str, list[Seen]]:
        """Spans by trace id."""
        found: dict[str, list[Seen]] = {}
        with self.lock:
            for span in self.spans:
                found.setdefault(span.trace_id, []).append(span)
        return found

    def __enter__(self) -> Receiver:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:
        for block in request.resource_metrics:
            service = plain(block.resource.attributes)["service.name"]
            named = {metric.name: metric for scope in block.scope_metrics for metric in scope.metrics}
            with self._receiver.lock:
                self._receiver.metrics[service] = named
        return metrics_service_pb2.ExportMetricsServiceResponse()
