"""OTLP over gRPC: push to a collector or to Jaeger. Imported only where an endpoint is configured."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

_TIMEOUT_S = 5.0


class OtlpTarget:
    """Satisfies sinks.Target. endpoint: ``host:port``. insecure: no TLS."""

    def __init__(self, endpoint: str, *, insecure: bool = True) -> None:
        self._spans = OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=_TIMEOUT_S)
        self._metrics = OTLPMetricExporter(endpoint=endpoint, insecure=insecure, timeout=_TIMEOUT_S)

    def send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        """Push; False when the receiver refused or was not there."""
        return self._spans.export(spans) is SpanExportResult.SUCCESS

    def send_metrics(self, data: MetricsData) -> bool:
        """Push; False when the receiver refused or was not there."""
        return self._metrics.export(data) is MetricExportResult.SUCCESS

    def send_line(self, line: str) -> None:
        """Logs are not pushed; they go to files and to the standard error output."""

    def close(self) -> None:
        """Close the channels."""
        self._spans.shutdown()
        self._metrics.shutdown()
