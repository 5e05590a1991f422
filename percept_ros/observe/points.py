"""Metric families as OpenTelemetry metrics data, for OTLP and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from percept_ros.observe.meter import Family, Point
from percept_ros.observe.resource import NAMESPACE

_CUMULATIVE = AggregationTemporality.CUMULATIVE


def metrics_data(
    families: Sequence[Family], resource: Resource, constant: Mapping[str, str], started_ns: int, now_ns: int
) -> MetricsData:
    """All families as one push. started_ns, now_ns: time of day."""
    metrics = [_metric(family, constant, started_ns, now_ns) for family in families if family.points]
    scope = ScopeMetrics(InstrumentationScope(NAMESPACE), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, constant: Mapping[str, str], started_ns: int, now_ns: int) -> Metric:
    def attributes(point: Point) -> dict[str, str]:
        return {**constant, **dict(zip(family.label_names, point.labels, strict=True))}

    unit = "s" if family.name.endswith(("_seconds", "_seconds_total")) else "1"
    if family.kind == "histogram":
        rows = [
            HistogramDataPoint(
                attributes(p), started_ns, now_ns, int(p.value), p.total, p.counts, family.bounds, 0.0, 0.0
            )
            for p in family.points
        ]
        return Metric(family.name, family.help, unit, Histogram(rows, _CUMULATIVE))
    numbers = [NumberDataPoint(attributes(p), started_ns, now_ns, p.value) for p in family.points]
    data = Sum(numbers, _CUMULATIVE, True) if family.kind == "counter" else Gauge(numbers)
    return Metric(family.name, family.help, unit, data)
