"""JSON lines for recordings without a network: traces and metrics as OTLP/JSON, logs one object a line.

``traces.jsonl`` and ``metrics.jsonl`` hold one export request a line, as the OpenTelemetry collector's file receiver
reads them. A full file is renamed (``.1``) and a new one begun, so a folder never holds more than twice its limit.
Source: OpenTelemetry protocol, JSON encoding (ids as hexadecimal).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from percept_ros.observe.resource import NAMESPACE


class FileTarget:
    """Satisfies sinks.Target. limit_bytes: of each file before it is turned over."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._limit = folder, limit_bytes

    def send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        """Append one line to traces.jsonl."""
        self._append("traces", json.dumps(_request(spans), separators=(",", ":")))
        return True

    def send_metrics(self, data: MetricsData) -> bool:
        """Append one line to metrics.jsonl."""
        self._append("metrics", json.dumps(_plain(encode_metrics(data)), separators=(",", ":")))
        return True

    def send_line(self, line: str) -> None:
        """Append one line to logs.jsonl."""
        self._append("logs", line)

    def close(self) -> None:
        """Nothing is held open between lines."""

    def _append(self, kind: str, line: str) -> None:
        file = self._folder / f"{kind}.jsonl"
        if file.exists() and file.stat().st_size + len(line) > self._limit:
            file.replace(file.with_suffix(".jsonl.1"))
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def _plain(message: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message)


def _request(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """An ExportTraceServiceRequest in OTLP/JSON."""
    by_resource: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
    for span in spans:
        by_resource.setdefault(id(span.resource), (span.resource, []))[1].append(_span(span))
    blocks = [
        {
            "resource": {"attributes": _attributes(resource.attributes)},
            "scopeSpans": [{"scope": {"name": NAMESPACE}, "spans": rows}],
        }
        for resource, rows in by_resource.values()
    ]
    return {"resourceSpans": blocks}


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.context
    row: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
    }
    if span.parent is not None:
        row["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.links:
        row["links"] = [
            {"traceId": f"{link.context.trace_id:032x}", "spanId": f"{link.context.span_id:016x}"}
            for link in span.links
        ]
    if not span.status.is_unset:
        row["status"] = {"code": span.status.status_code.value, "message": span.status.description or ""}
    return row


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
