"""Follows frame sets through this process: one trace and the figures of each, for the node that publishes them.

recorder.arrived(payload, "camera_front", message.trace_id, arrived_ns)     # every sensor frame
trace = recorder.begin(payloads, taken_ns)                                  # a set is released
result = pipeline.process(replace(sensors, trace=trace.packed), now_ns)
recorder.finish(trace, result, latency_ns)                                  # it is published
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from percept_ros.observe.latency import StageTimer
from percept_ros.observe.telemetry import Telemetry
from percept_ros.observe.tier import CRITICAL_WAIT_NS
from percept_ros.observe.trace import FrameRecord, FrameTrace, Times, TraceContext, Value, from_text, new_context
from percept_ros.types import NUM_CLASSES, FrameResult, Mode, ObjectClass, WorkerCall

_KEPT_MEMBERS = 1024
_WAIT_BUCKET_NS, _END_BUCKETS = 10_000_000, 50


class Member(NamedTuple):
    """One sensor frame of a set. arrived_ns: at this process."""

    sensor: str
    arrived_ns: int
    context: TraceContext | None
    times: Times | None


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


class FrameRecorder:
    """One for each pipeline. All calls from its thread, except ``call`` (any thread)."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self._share = telemetry.config.sample_share
        self._members: dict[int, Member] = {}
        self._open: OpenFrame | None = None
        meter, tier = telemetry.meter, telemetry.tier
        self._stages = StageTimer(meter, tier)
        self._latency = meter.histogram(
            "percept_end_to_end_seconds",
            "oldest sensor stamp to publication",
            "sla_violation",
            "ab_result",
            width_ns=tier.bucket_ns,
            number=_END_BUCKETS,
        )
        self._waits = meter.histogram(
            "percept_queue_wait_seconds",
            "time a released set waited",
            "sla_tier",
            width_ns=_WAIT_BUCKET_NS,
            number=_END_BUCKETS,
        )
        self._frames = meter.counter("percept_frames_total", "frames published", "mode")
        self._violations = meter.counter("percept_sla_violations_total", "frames beyond the service level")
        self._violations.labels()
        self._errors = meter.counter("percept_worker_errors_total", "failed calls of engine workers", "model", "error")
        self._mode = Mode.STALE
        self._tracks = np.zeros(NUM_CLASSES, np.int64)
        self._pools: dict[str, tuple[int, int]] = {}
        self._watch_state()

    def arrived(self, payload: object, sensor: str, text: str, arrived_ns: int) -> None:
        """A sensor frame came. payload: the object that will be in the set. text: trace field of its message."""
        context, times = from_text(text) if text else (None, None)
        if len(self._members) >= _KEPT_MEMBERS:
            for key in list(self._members)[: _KEPT_MEMBERS // 2]:
                del self._members[key]
        self._members[id(payload)] = Member(sensor, arrived_ns, context, times)

    def begin(self, payloads: Iterable[object], taken_ns: int, context: TraceContext | None = None) -> OpenFrame:
        """A set is taken up. payloads: of its sensors, the pivot first. taken_ns: when it was released (monotonic).

        context: of the caller, where one asked; else that of the pivot's sender.
        """
        found = [self._members.pop(id(payload), None) for payload in payloads if payload is not None]
        members = tuple(member for member in found if member is not None)
        outer = context or next((m.context for m in members if m.context is not None), None)
        own = new_context(self._share)
        if outer is not None:  # the same trace; the frame set gets a span of its own in it
            own = TraceContext(outer.trace_id, own.span_id, outer.sampled)
        parent = context.span_id if context is not None else 0
        self._open = OpenFrame(own, members, time.monotonic_ns(), taken_ns, parent)
        return self._open

    def call(self, stage: str, call: WorkerCall) -> None:
        """A worker process was called in a stage (see Pipeline.watch_calls)."""
        if self._open is not None:
            self._open.calls.append((stage, call))
        if call.pool_bytes:
            self._pools[call.model] = (call.pool_used_bytes, call.pool_bytes)
        self.telemetry.processes[f"engine/{call.model}"] = call.pid
        if call.error:
            self._errors.labels(call.model, call.error).add()

    def finish(
        self, frame: OpenFrame, result: FrameResult, latency_ns: int, extra: Mapping[str, Value] | None = None
    ) -> FrameRecord:
        """The set is published. latency_ns: since its oldest sensor stamp. extra: attributes of the root span."""
        end_ns = time.monotonic_ns()
        violation = self.telemetry.tier.broken_by(latency_ns)
        self._count(frame, result, latency_ns, violation, end_ns)
        trace = FrameTrace(frame.context, self.telemetry.identity.service, frame.parent)
        _add_sensors(trace, frame)
        _add_stages(trace, frame, result, end_ns)
        attributes = _attributes(result, extra)
        record = FrameRecord(trace, end_ns, latency_ns, time.time_ns() - end_ns, violation, attributes)
        self._open = None
        self.telemetry.record(record)
        return record

    def beat(self, mode: Mode, tracks: Any) -> None:
        """An array was published without sensors."""
        self._frames.labels(mode.name.lower()).add()
        self._mode, self._tracks = mode, np.bincount(tracks.class_ids, minlength=NUM_CLASSES)

    def _count(self, frame: OpenFrame, result: FrameResult, latency_ns: int, violation: bool, now_ns: int) -> None:
        for stage, spent_ns in result.stage_ns.items():
            self._stages.add(stage, spent_ns)
        self._stages.add("publish", now_ns - frame.began_ns - sum(result.stage_ns.values()))
        self._stages.tick(now_ns)
        self._latency.labels("true" if violation else "false", result.group).observe(latency_ns)
        waited_ns = frame.began_ns - frame.taken_ns
        self._waits.labels("critical" if waited_ns > CRITICAL_WAIT_NS else "normal").observe(waited_ns)
        if violation:
            self._violations.labels().add()
        self.beat(result.mode, result.tracks)

    def _watch_state(self) -> None:
        meter = self.telemetry.meter
        meter.gauge(
            "percept_mode",
            "1 for the rung of the ladder that is published",
            "mode",
            read=lambda: [((mode.name.lower(),), float(mode is self._mode)) for mode in Mode],
        )
        meter.gauge(
            "percept_tracks",
            "published tracks",
            "class",
            read=lambda: [((kind.name.lower(),), float(self._tracks[kind])) for kind in ObjectClass],
        )
        meter.gauge(
            "percept_pool_used_bytes",
            "tensor pool of an engine worker, in use",
            "model",
            read=lambda: [((model,), float(used)) for model, (used, _) in list(self._pools.items())],
        )
        meter.gauge(
            "percept_pool_held_bytes",
            "tensor pool of an engine worker, all blocks",
            "model",
            read=lambda: [((model,), float(held)) for model, (_, held) in list(self._pools.items())],
        )


def slowest_stage(record: FrameRecord) -> str:
    """Name of the longest span below the frame set (of this process, without its sensors' own work)."""
    rows = [row for row in record.trace.rows if row.parent == record.trace.context.span_id]
    spent = Counter({row.name: row.end_ns - row.start_ns for row in rows})
    return spent.most_common(1)[0][0] if spent else ""


def _attributes(result: FrameResult, extra: Mapping[str, Value] | None) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "stamp_ns": result.sensors.stamp_ns,
        "mode": result.mode.name.lower(),
        "model": result.model,
        "tracks": len(result.tracks),
        "cause": result.cause,
    }
    if result.group:
        attributes["ab_result"] = result.group
    if extra:
        attributes.update(extra)
    return attributes


def _add_sensors(trace: FrameTrace, frame: OpenFrame) -> None:
    arrived = [member.arrived_ns for member in frame.members]
    for sensor, arrived_ns, context, times in frame.members:
        if times is None:
            continue
        other = context if context is not None and context.trace_id != trace.context.trace_id else None
        own = trace.span(
            f"{sensor}.prepare",
            times.began_ns,
            times.ended_ns,
            service=sensor,
            pid=times.pid,
            span_id=context.span_id if context is not None else 0,
            link=other,
            attributes={"queue_wait_ms": (times.began_ns - times.arrived_ns) * 1e-6},
        )
        trace.span(f"{sensor}.transport", times.ended_ns, arrived_ns, parent=own)
    if arrived:
        trace.span("sync", min(arrived), frame.taken_ns)
    trace.span("queue", frame.taken_ns, frame.began_ns)


def _add_stages(trace: FrameTrace, frame: OpenFrame, result: FrameResult, end_ns: int) -> None:
    at_ns = frame.began_ns
    own: dict[str, int] = {}
    for stage, spent_ns in result.stage_ns.items():
        error = "shed" if stage in result.shed else ""
        own[stage] = trace.span(stage, at_ns, at_ns + spent_ns, error=error)
        at_ns += spent_ns
    trace.span("publish", at_ns, end_ns)
    for stage, call in frame.calls:  # images are looked at beside other stages: their calls hang below the frame set
        _add_call(trace, own.get(stage, 0) if stage == "detect" else 0, call)


def _add_call(trace: FrameTrace, parent: int, call: WorkerCall) -> None:
    ended_ns = call.received_ns or time.monotonic_ns()
    attributes: dict[str, Value] = {"model": call.model}
    own = trace.span("engine.call", call.sent_ns, ended_ns, parent=parent, error=call.error, attributes=attributes)
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
