"""What is kept of a frame set: the numbers, while it runs; its spans only once somebody wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from percept_ros.observe.trace import FrameTrace, TraceContext, Value, from_text
from percept_ros.types import WorkerCall


class Member(NamedTuple):
    """One sensor frame of a set. arrived_ns: at this process. text: trace field of its message."""

    sensor: str
    arrived_ns: int
    text: str


@dataclass(slots=True)
class OpenFrame:
    """A frame set between release and publication. parent: span of the caller, 0 = none. calls: of workers so far."""

    context: TraceContext
    members: tuple[Member, ...]
    began_ns: int
    taken_ns: int
    parent: int = 0
    calls: list[tuple[str, WorkerCall]] = field(default_factory=list)

    @property
    def packed(self) -> bytes:
        """For SensorSet.trace."""
        return self.context.packed

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.context.trace_id:032x}"


class Summary(NamedTuple):
    """What a frame set came to. group: of an experiment, "" = none."""

    stamp_ns: int
    mode: str
    model: str
    tracks: int
    cause: str
    group: str
    shed: tuple[str, ...]


@dataclass(slots=True)
class FrameRecord:
    """One finished frame set.

    end_ns: publication (monotonic); wall_ns: what to add for the time of day. stage_ns: durations, in order.
    violation: the service level was broken. extra: further attributes of the root span.
    """

    frame: OpenFrame
    service: str
    summary: Summary
    stage_ns: Mapping[str, int]
    end_ns: int
    latency_ns: int
    wall_ns: int
    violation: bool
    extra: Mapping[str, Value] | None = None

    @property
    def wanted(self) -> bool:
        """The tail decision: sampled from the start, or violating."""
        return self.violation or self.frame.context.sampled

    @property
    def attributes(self) -> dict[str, Value]:
        """Of the root span."""
        seen = self.summary
        attributes: dict[str, Value] = {
            "stamp_ns": seen.stamp_ns,
            "mode": seen.mode,
            "model": seen.model,
            "tracks": seen.tracks,
            "cause": seen.cause,
            "latency_ms": self.latency_ns * 1e-6,
            "sla_violation": "true" if self.violation else "false",
        }
        if seen.group:
            attributes["ab_result"] = seen.group
        return {**attributes, **self.extra} if self.extra else attributes

    def trace(self) -> FrameTrace:
        """Its spans below the root, built now."""
        trace = FrameTrace(self.frame.context, self.service, self.frame.parent)
        _add_sensors(trace, self.frame)
        _add_stages(trace, self)
        return trace


def slowest_stage(record: FrameRecord) -> str:
    """Name of the longest span directly below the frame set."""
    trace = record.trace()
    rows = [row for row in trace.rows if row.parent == trace.context.span_id]
    spent = Counter({row.name: row.end_ns - row.start_ns for row in rows})
    return spent.most_common(1)[0][0] if spent else ""


def _add_sensors(trace: FrameTrace, frame: OpenFrame) -> None:
    for sensor, arrived_ns, text in frame.members:
        context, times = from_text(text)
        if context is None or times is None:
            continue
        own = trace.span(
            f"{sensor}.prepare",
            times.began_ns,
            times.ended_ns,
            service=sensor,
            pid=times.pid,
            span_id=context.span_id,
            link=context if context.trace_id != trace.context.trace_id else None,
            attributes={"queue_wait_ms": (times.began_ns - times.arrived_ns) * 1e-6},
        )
        trace.span(f"{sensor}.transport", times.ended_ns, arrived_ns, parent=own)
    if frame.members:
        trace.span("sync", min(member.arrived_ns for member in frame.members), frame.taken_ns)
    trace.span("queue", frame.taken_ns, frame.began_ns)


def _add_stages(trace: FrameTrace, record: FrameRecord) -> None:
    at_ns = record.frame.began_ns
    own: dict[str, int] = {}
    for stage, spent_ns in record.stage_ns.items():
        own[stage] = trace.span(stage, at_ns, at_ns + spent_ns, error="shed" if stage in record.summary.shed else "")
        at_ns += spent_ns
    trace.span("publish", at_ns, max(at_ns, record.end_ns))
    for stage, call in record.frame.calls:  # images are looked at beside other stages: those calls hang below the root
        within = stage == "detect" and call.sent_ns >= record.frame.began_ns  # not when it was sent ahead of the set
        _add_call(trace, own.get(stage, 0) if within else 0, call, record.end_ns)


def _add_call(trace: FrameTrace, parent: int, call: WorkerCall, end_ns: int) -> None:
    attributes: dict[str, Value] = {"model": call.model}
    own = trace.span(
        "engine.call",
        call.sent_ns,
        call.received_ns or end_ns,
        parent=parent,
        error=call.error,
        attributes=attributes,
    )
    if call.began_ns:
        trace.span(
            "engine.infer",
            call.began_ns,
            call.ended_ns,
            parent=own,
            service="engine",
            pid=call.pid,
            error=call.error,
            attributes=attributes,
        )
