"""Prometheus pull: the meter in the exposition format, and a small server for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from percept_ros.observe.meter import Family, Meter
from percept_ros.observe.resource import Identity


class MeterCollector(Collector):
    """A meter as prometheus_client wants it."""

    def __init__(self, meter: Meter, identity: Identity) -> None:
        self._meter, self._identity = meter, identity

    def collect(self) -> Iterator[Any]:
        """``target_info`` and every family."""
        info = {key.replace(".", "_"): str(value) for key, value in self._identity.attributes.items()}
        target = InfoMetricFamily("target", "who is measured")
        target.add_metric([], info)
        yield target
        for family in self._meter.collect():
            yield _family(family, self._meter.constant)


def registry_of(meter: Meter, identity: Identity) -> CollectorRegistry:
    """A registry that reads the meter at each scrape."""
    registry = CollectorRegistry()
    registry.register(MeterCollector(meter, identity))
    return registry


def exposition(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """Body and content type of ``/metrics``. accept: the request's Accept header."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class PrometheusServer:
    """Serves one registry. port 0 takes a free one. Raises OSError when the port is taken."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server, self._thread = start_http_server(port, host, registry)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


def _family(family: Family, constant: dict[str, str]) -> Any:
    names, values = [*family.label_names, *constant], list(constant.values())
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        bounds = [*(f"{bound:.3f}" for bound in family.bounds), "+Inf"]
        for point in family.points:
            buckets = list(zip(bounds, accumulate(point.counts), strict=True))
            histogram.add_metric([*point.labels, *values], buckets, point.total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.help, labels=names)
    for point in family.points:
        made.add_metric([*point.labels, *values], point.value)
    return made
