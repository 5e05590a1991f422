"""Follows frame sets through this process: one trace and the figures of each, for the node that publishes them.

recorder.arrived(payload, "camera_front", message.trace_id, arrived_ns)     # every sensor frame
trace = recorder.begin(payloads, taken_ns)                                  # a set is released
result = pipeline.process(replace(sensors, trace=trace.packed), now_ns)
recorder.finish(trace, result, latency_ns)                                  # it is published
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import numpy as np

from percept_ros.observe.latency import StageTimer
from percept_ros.observe.meter import Samples
from percept_ros.observe.record import FrameRecord, Member, OpenFrame, Summary
from percept_ros.observe.telemetry import Telemetry
from percept_ros.observe.tier import CRITICAL_WAIT_NS
from percept_ros.observe.trace import TraceContext, Value, new_context
from percept_ros.types import NUM_CLASSES, FrameResult, Mode, ObjectClass, Tracks, WorkerCall

_KEPT_MEMBERS = 1024
_WAIT_BUCKET_NS, _END_BUCKETS = 10_000_000, 50


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
        self._mode, self._tracks = Mode.STALE, Tracks.empty(0, "")
        self._mode_names = {mode: mode.name.lower() for mode in Mode}
        self._pools: dict[str, tuple[int, int]] = {}
        self._watch_state()

    def arrived(self, payload: object, sensor: str, text: str, arrived_ns: int) -> None:
        """A sensor frame came. payload: the object that will be in the set. text: trace field of its message."""
        if len(self._members) >= _KEPT_MEMBERS:
            for key in list(self._members)[: _KEPT_MEMBERS // 2]:
                del self._members[key]
        self._members[id(payload)] = Member(sensor, arrived_ns, text)

    def begin(self, payloads: Iterable[object], taken_ns: int, context: TraceContext | None = None) -> OpenFrame:
        """A set is taken up. payloads: of its sensors, the pivot first. taken_ns: when it was released (monotonic).

        context: of the caller, where one asked; else that of the pivot's sender.
        """
        found = [self._members.pop(id(payload), None) for payload in payloads if payload is not None]
        members = tuple(member for member in found if member is not None)
        outer = context
        if outer is None and members:
            outer = TraceContext.parse(members[0].text)
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
        changed = result.mode is not self._mode
        self._count(frame, result, latency_ns, violation, end_ns)
        summary = Summary(
            result.sensors.stamp_ns,
            self._mode_names[result.mode],
            result.model,
            len(result.tracks),
            result.cause,
            result.group,
            result.shed,
        )
        wall_ns = time.time_ns() - end_ns
        record = FrameRecord(
            frame,
            self.telemetry.identity.service,
            summary,
            result.stage_ns,
            end_ns,
            latency_ns,
            wall_ns,
            violation,
            extra,
        )
        self._open = None
        self.telemetry.record(record)
        if changed:
            self._log("info", "mode", f"{self._mode_names[result.mode]}: {result.cause}", record)
        if violation:
            self._log("warning", "sla_violation", f"{latency_ns * 1e-6:.1f} ms", record)
        return record

    def _log(self, level: str, event: str, text: str, record: FrameRecord) -> None:
        seen = record.summary
        trace_id = record.frame.trace_id
        self.telemetry.log.say(level, event, text, trace_id=trace_id, stamp_ns=seen.stamp_ns, mode=seen.mode)

    def beat(self, mode: Mode, tracks: Tracks) -> None:
        """An array was published without sensors."""
        self._frames.labels(self._mode_names[mode]).add()
        self._mode, self._tracks = mode, tracks

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
            read=lambda: _by_class(self._tracks),
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


def _by_class(tracks: Tracks) -> Samples:
    counts = np.bincount(tracks.class_ids, minlength=NUM_CLASSES)
    return [((kind.name.lower(),), float(counts[kind])) for kind in ObjectClass]
