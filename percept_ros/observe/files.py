"""JSON lines for recordings without a network: traces and metrics as OTLP/JSON, logs one object a line.

``traces.jsonl`` and ``metrics.jsonl`` hold one export request a line, as the OpenTelemetry collector's file receiver
reads them. A full file is renamed (``.1``) and a new one begun, so a folder never holds more than twice its limit.
Source: OpenTelemetry protocol, JSON encoding (ids as hexadecimal).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

_IDS = ("traceId", "spanId", "parentSpanId")


class FileTarget:
    """Satisfies sinks.Target. limit_bytes: of each file before it is turned over."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._limit = folder, limit_bytes

    def send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        """Append one line to traces.jsonl."""
        self._append("traces", json.dumps(_plain(encode_spans(spans)), separators=(",", ":")))
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

    return _hex_ids(MessageToDict(message))


def _hex_ids(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_hex_ids(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: base64.b64decode(value).hex() if key in _IDS and isinstance(value, str) else _hex_ids(value)
        for key, value in tree.items()
    }
