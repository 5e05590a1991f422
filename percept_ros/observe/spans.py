"""Frame records as OpenTelemetry spans. Runs in exporter threads only, for frames that were chosen."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from percept_ros.observe.record import FrameRecord
from percept_ros.observe.resource import NAMESPACE, Identity
from percept_ros.observe.trace import ROOT, SpanRow, TraceContext


class SpanMaker:
    """Makes spans; keeps one Resource for each process that appears in them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._resources: dict[tuple[str, int], Resource] = {}
        self._scope = InstrumentationScope(NAMESPACE, identity.version)

    @property
    def resource(self) -> Resource:
        """Of the process itself."""
        return self._resource(self._identity.service, self._identity.pid)

    def spans(self, record: FrameRecord) -> list[ReadableSpan]:
        """Root span first."""
        trace = record.trace()
        root = SpanRow(
            ROOT,
            self._identity.service,
            self._identity.pid,
            trace.context.span_id,
            trace.parent,
            record.end_ns - record.latency_ns,
            record.end_ns,
            attributes={**record.attributes, "service.sla.tier": self._identity.tier.name},
        )
        return [self._span(row, trace.context.trace_id, record.wall_ns) for row in (root, *trace.rows)]

    def _span(self, row: SpanRow, trace_id: int, wall_ns: int) -> ReadableSpan:
        return ReadableSpan(
            row.name,
            _context(trace_id, row.span_id),
            _context(trace_id, row.parent) if row.parent else None,
            self._resource(row.service, row.pid),
            dict(row.attributes) if row.attributes else None,
            links=[_link(row.link)] if row.link is not None else (),
            kind=SpanKind.CONSUMER if row.name == ROOT else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, row.error) if row.error else Status(),
            start_time=row.start_ns + wall_ns,
            end_time=row.end_ns + wall_ns,
            instrumentation_scope=self._scope,
        )

    def _resource(self, service: str, pid: int) -> Resource:
        found = self._resources.get((service, pid))
        if found is None:
            if len(self._resources) > 256:  # workers come and go
                self._resources.clear()
            found = self._resources[service, pid] = Resource(self._identity.beside(service, pid).attributes)
        return found


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _link(context: TraceContext) -> Link:
    return Link(_context(context.trace_id, context.span_id))
