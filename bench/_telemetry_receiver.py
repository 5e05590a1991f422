"""An OTLP gRPC receiver that counts what comes, for the telemetry benchmark. Prints its port, then counts until told."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts export calls, each with one trace."""

    received = 0

    def Export(self, request: Any, context: Any) -> Any:
        Traces.received += 1
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Counts pushes of metrics."""

    received = 0

    def Export(self, request: Any, context: Any) -> Any:
        Metrics.received += 1
        return metrics_service_pb2.ExportMetricsServiceResponse()


def main() -> None:
    """Serve until standard input closes."""
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0.5).wait()
    print(json.dumps({"traces": Traces.received, "metrics": Metrics.received}), flush=True)


if __name__ == "__main__":
    main()
