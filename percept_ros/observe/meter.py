"""Metrics as plain numbers: recording costs a list index, everything else happens when somebody reads.

One writer thread for each series; readers may come from any thread and see counts that are at most one frame apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Point:
    """One series at the moment of reading. counts: of each bucket, not summed up; total: sum of values (histograms)."""

    labels: Labels
    value: float
    counts: tuple[int, ...] = ()
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one metric. kind: counter, gauge or histogram. bounds: upper bounds of buckets, +inf left out."""

    name: str
    kind: str
    help: str
    label_names: Labels
    points: tuple[Point, ...]
    bounds: tuple[float, ...] = ()


class Series:
    """One counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount

    def set(self, value: float) -> None:
        """Set a gauge."""
        self.value = value


class Buckets:
    """One histogram of durations in buckets of equal width, the last one open."""

    __slots__ = ("counts", "total_ns", "width_ns")

    def __init__(self, width_ns: int, number: int) -> None:
        self.width_ns, self.total_ns = width_ns, 0
        self.counts = [0] * (number + 1)

    def observe(self, duration_ns: int) -> None:
        """Count one duration (negative ones, after a step of the clock, as 0)."""
        index = (duration_ns - 1) // self.width_ns if duration_ns > 0 else 0
        last = len(self.counts) - 1
        self.counts[index if index < last else last] += 1
        self.total_ns += duration_ns


@dataclass(slots=True)
class _Metric:
    name: str
    kind: str
    help: str
    label_names: Labels
    series: dict[Labels, Series] = field(default_factory=dict)
    read: Callable[[], Samples] | None = None

    def labels(self, *values: str) -> Series:
        """The series of these label values, made when new."""
        found = self.series.get(values)
        if found is None:
            found = self.series[values] = Series()
        return found

    def family(self) -> Family:
        own = ((labels, series.value) for labels, series in list(self.series.items()))
        samples = list(own) if self.read is None else list(self.read())
        points = tuple(Point(labels, float(value)) for labels, value in samples)
        return Family(self.name, self.kind, self.help, self.label_names, points)


class Metric(_Metric):
    """A counter or gauge with labels."""


class Histogram:
    """Durations with labels, in buckets of ``width_ns``."""

    def __init__(self, name: str, text: str, label_names: Labels, width_ns: int, number: int) -> None:
        self.name, self.help, self.label_names = name, text, label_names
        self._width_ns, self._number = width_ns, number
        self._rows: dict[Labels, Buckets] = {}

    def labels(self, *values: str) -> Buckets:
        """The series of these label values, made when new."""
        found = self._rows.get(values)
        if found is None:
            found = self._rows[values] = Buckets(self._width_ns, self._number)
        return found

    def family(self) -> Family:
        """What was counted so far, in seconds."""
        bounds = tuple((i + 1) * self._width_ns * _NS for i in range(self._number))
        points = tuple(
            Point(labels, sum(counts := tuple(row.counts)), counts, row.total_ns * _NS)
            for labels, row in list(self._rows.items())
        )
        return Family(self.name, "histogram", self.help, self.label_names, points, bounds)


class Meter:
    """All metrics of one service. constant: labels that every series carries."""

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        self.constant = dict(constant or {})
        self._metrics: dict[str, Metric | Histogram] = {}
        self.failed_reads = 0

    def counter(self, name: str, text: str, *label_names: str, read: Callable[[], Samples] | None = None) -> Metric:
        """A counter. read: gives its samples when somebody looks, instead of counting here."""
        return self._keep(Metric(name, "counter", text, label_names, read=read))

    def gauge(self, name: str, text: str, *label_names: str, read: Callable[[], Samples] | None = None) -> Metric:
        """A gauge. read: as for counters."""
        return self._keep(Metric(name, "gauge", text, label_names, read=read))

    def histogram(self, name: str, text: str, *label_names: str, width_ns: int, number: int) -> Histogram:
        """A histogram of ``number`` buckets of equal width and an open one."""
        made = Histogram(name, text, label_names, width_ns, number)
        self._metrics[name] = made
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric there is."""
        return tuple(self._metrics)

    def collect(self) -> list[Family]:
        """Everything as it is now. A ``read`` that raises leaves its metric out and is counted."""
        families = []
        for metric in list(self._metrics.values()):
            try:
                families.append(metric.family())
            except Exception:  # reading must not end because one source is gone
                self.failed_reads += 1
        return families

    def _keep(self, metric: Metric) -> Metric:
        self._metrics[metric.name] = metric
        return metric
