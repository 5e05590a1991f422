"""Telemetry without ROS: trace context, tiers, meter, tail decision, exporters that fail, logs."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from percept_ros.config import ObserveConfig
from percept_ros.errors import ConfigError
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.logs import StructuredLog
from percept_ros.observe.meter import Buckets, Meter
from percept_ros.observe.record import FrameRecord, slowest_stage
from percept_ros.observe.resource import identify
from percept_ros.observe.sender import FrameSender
from percept_ros.observe.sinks import Sink
from percept_ros.observe.spans import SpanMaker
from percept_ros.observe.telemetry import Telemetry, open_telemetry
from percept_ros.observe.tier import Tier
from percept_ros.observe.trace import TraceContext, from_text, new_context, new_text
from percept_ros.types import Detections, Forecasts, FrameResult, Mode, SensorSet, Tracks, WorkerCall

MS = 1_000_000
WAIT_S = 20.0


def result(mode: Mode = Mode.FULL, group: str = "") -> FrameResult:
    sensors = SensorSet(77, None, {}, {}, (), {})
    stages = {"detect": 20 * MS, "fuse": MS, "track": 2 * MS, "predict": MS}
    empty = Detections.empty(77, "base_link")
    tracks, paths = Tracks.empty(77, "odom"), Forecasts.empty(0.1)
    return FrameResult(sensors, empty, {}, tracks, paths, mode, stages, "model@int8", group=group)


class Kept(Telemetry):
    """Telemetry whose exports are kept."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(ObserveConfig(**settings), "fusion")
        self.exported: list[FrameRecord] = []
        self.start()

    def export(self, record: FrameRecord) -> None:
        self.exported.append(record)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_context_survives_text_and_bytes(trace_id: int, span_id: int, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)
    assert TraceContext.parse(context.traceparent) == context
    assert TraceContext.unpack(context.packed) == context


@pytest.mark.parametrize("text", ["", "junk", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "01-" + "1" * 32])
def test_what_is_no_context_is_ignored(text: str) -> None:
    assert from_text(text) == (None, None)
    assert TraceContext.unpack(text.encode()) is None


def test_message_text_keeps_its_length_and_its_times() -> None:
    first, second = new_text(0.5, 7, 1, 2, 3), new_text(0.5, 4_000_000, 10**15, 10**15 + 1, 10**15 + 2)
    assert len(first) == len(second)
    assert from_text(second)[1] == (4_000_000, 10**15, 10**15 + 1, 10**15 + 2)


def test_sampling_follows_its_share() -> None:
    assert not any(new_context(0.0).sampled for _ in range(100))
    assert all(new_context(1.0).sampled for _ in range(100))
    assert 50 < sum(new_context(0.1).sampled for _ in range(1000)) < 170


def test_tiers() -> None:
    strict, slack = Tier.parse("P99-100ms"), Tier.parse("P99.9-500ms")
    assert (strict.limit_ns, strict.percentile, strict.bucket_ns) == (100 * MS, 99.0, 10 * MS)
    assert strict.is_precise
    assert not slack.is_precise
    assert slack.bucket_ns == 100 * MS
    assert strict.broken_by(100 * MS + 1)
    assert not strict.broken_by(100 * MS)
    for bad in ("", "P99", "P0-10ms", "P99-0ms", "99-100ms"):
        with pytest.raises(ConfigError, match="sla_tier"):
            Tier.parse(bad)


@given(st.integers(-(10**9), 10**10))
def test_buckets_hold_values_up_to_their_bound(duration_ns: int) -> None:
    row = Buckets(10 * MS, 50)
    row.observe(duration_ns)
    index = row.counts.index(1)
    assert index == 50 or duration_ns <= (index + 1) * 10 * MS
    assert index == 0 or duration_ns > index * 10 * MS


def test_slack_tiers_keep_the_longest_of_each_window() -> None:
    with Kept(sla_tier="P99-500ms") as telemetry:
        sender = FrameSender(telemetry)
        for _ in range(5):
            sender.taken(0)
            sender.text()
        family = next(f for f in telemetry.meter.collect() if f.name == "percept_stage_seconds")
        assert family.bounds[0] == pytest.approx(0.1)
        assert sum(point.value for point in family.points) <= 2


def test_a_frame_is_exported_when_it_violates_whatever_the_sampling_says() -> None:
    with Kept(sample_share=0.0) as telemetry:
        recorder = FrameRecorder(telemetry)
        for latency_ns in (50 * MS, 150 * MS, 60 * MS):
            recorder.finish(recorder.begin((), 0), result(), latency_ns)
        assert [record.violation for record in telemetry.exported] == [True]
        assert len(telemetry.recent) == 3
        assert telemetry.exported[0].attributes["sla_violation"] == "true"


def test_sampled_frames_are_exported_too() -> None:
    with Kept(sample_share=1.0) as telemetry:
        recorder = FrameRecorder(telemetry)
        recorder.finish(recorder.begin((), 0), result(), 50 * MS)
        assert telemetry.exported[0].attributes["sla_violation"] == "false"


def test_spans_of_a_frame_with_cameras_and_a_worker() -> None:
    with Kept(sample_share=1.0, instance="car 7") as telemetry:
        recorder = FrameRecorder(telemetry)
        lidar, camera = object(), object()
        recorder.arrived(lidar, "lidar", new_text(1.0, 11, 1, 2, 3), 5)
        recorder.arrived(camera, "camera_front", new_text(1.0, 12, 1, 2, 4), 6)
        frame = recorder.begin((lidar, camera), 8)
        recorder.call("detect", WorkerCall("model@int8", 99, frame.began_ns, frame.began_ns + 1, frame.began_ns + 9, 0))
        record = recorder.finish(frame, result(group="b"), 40 * MS, {"sequence": 4})
        spans = {span.name: span for span in SpanMaker(telemetry.identity).spans(record)}
    root = spans["frame_set"]
    assert root.attributes["ab_result"] == "b"
    assert root.attributes["sequence"] == 4
    assert spans["lidar.prepare"].links == (), "the pivot's trace is the frame set's"
    assert len(spans["camera_front.prepare"].links) == 1
    assert spans["engine.infer"].resource.attributes["process.pid"] == 99
    assert spans["engine.infer"].resource.attributes["service.instance.id"] == "car 7/engine/99"
    assert spans["engine.call"].parent.span_id == spans["detect"].context.span_id
    assert {span.context.trace_id for span in spans.values()} == {root.context.trace_id}
    assert slowest_stage(record) in ("detect", "publish", "queue")


def test_a_worker_that_failed_is_an_error_span_and_counted() -> None:
    with Kept(sample_share=1.0) as telemetry:
        recorder = FrameRecorder(telemetry)
        frame = recorder.begin((), 0)
        recorder.call("detect", WorkerCall("m", 9, frame.began_ns, 0, 0, 0, error="WorkerDied"))
        record = recorder.finish(frame, result(), 40 * MS)
        call = next(span for span in SpanMaker(telemetry.identity).spans(record) if span.name == "engine.call")
        assert call.status.description == "WorkerDied"
        assert 'percept_worker_errors_total{error="WorkerDied",model="m",service="fusion"} 1.0' in text_of(telemetry)


def text_of(telemetry: Telemetry) -> str:
    return telemetry.exposition()[0].decode()


def test_exposition_is_valid_and_says_mode_violations_and_critical_waits() -> None:
    with Kept() as telemetry:
        recorder = FrameRecorder(telemetry)
        recorder.finish(recorder.begin((), 0), result(Mode.GEOMETRIC, group="canary"), 150 * MS)
        gc.collect()
        families = {f.name: f for f in text_string_to_metric_families(text_of(telemetry))}
    modes = {s.labels["mode"]: s.value for s in families["percept_mode"].samples}
    assert modes["geometric"] == 1.0
    assert sum(modes.values()) == 1.0
    ends = families["percept_end_to_end_seconds"].samples
    assert {(s.labels["sla_violation"], s.labels["ab_result"]) for s in ends} == {("true", "canary")}
    assert {s.labels["sla_tier"] for s in families["percept_queue_wait_seconds"].samples} == {"critical"}
    assert sum(s.value for s in families["percept_gc_pause_seconds"].samples if s.name.endswith("_count")) >= 1
    assert families["percept_process_resident_bytes"].samples[0].value > 1e6
    assert families["target_info"].samples[0].labels["service_sla_tier"] == "P99-100ms"


def test_a_source_that_fails_leaves_only_its_own_metric_out() -> None:
    meter = Meter()
    meter.gauge("good", "x", read=lambda: [((), 1.0)])
    meter.gauge("bad", "x", read=lambda: [][0])
    assert [family.name for family in meter.collect()] == ["good"]
    assert meter.failed_reads == 1


class StuckTarget:
    """Blocks in every call until it is let go, then refuses."""

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Event()

    def send_spans(self, spans: Sequence[Any]) -> bool:
        self.entered.set()
        self.go.wait(WAIT_S)
        raise OSError("no such collector")

    def send_metrics(self, data: Any) -> bool:
        return False

    def send_line(self, line: str) -> None:
        raise OSError("disk full")

    def close(self) -> None:
        raise OSError("already gone")


def test_an_exporter_that_hangs_and_fails_only_counts() -> None:
    target = StuckTarget()
    with Kept(sample_share=1.0) as telemetry:
        sink = Sink("stuck", lambda: target, telemetry.identity, telemetry.meter, depth=4)
        recorder = FrameRecorder(telemetry)
        record = recorder.finish(recorder.begin((), 0), result(), 40 * MS)
        sink.put(record)
        assert target.entered.wait(WAIT_S)
        for _ in range(10):  # one is held by the target, four wait, the rest are dropped
            sink.put(record)
        assert sink.counters.dropped == 6
        target.go.set()
        sink.close(WAIT_S)
        assert sink.counters.failed == 5
        assert sink.counters.sent == 0


def test_an_exporter_that_cannot_be_opened_only_counts() -> None:
    def refuse() -> Any:
        raise OSError("no route")

    with Kept() as telemetry:
        sink = Sink("absent", refuse, telemetry.identity, telemetry.meter, depth=4)
        sink.close(WAIT_S)
        assert sink.counters.failed == 1


def test_files_hold_traces_metrics_and_logs_and_turn_over(tmp_path: Path) -> None:
    config = ObserveConfig(sample_share=1.0, files=str(tmp_path), files_mb=0.01, push_s=0.1)
    with open_telemetry(config, "fusion") as telemetry:
        recorder = FrameRecorder(telemetry)
        ids = [recorder.finish(recorder.begin((), 0), result(), 40 * MS).frame.trace_id for _ in range(20)]
        telemetry.line('{"event":"x"}')
    folder = tmp_path / "fusion"
    lines = (folder / "traces.jsonl").read_text().splitlines()
    newest = json.loads(lines[-1])["resourceSpans"][0]
    assert newest["scopeSpans"][0]["spans"][0]["traceId"] == ids[-1]
    keys = {item["key"] for item in newest["resource"]["attributes"]}
    assert {"service.name", "service.version", "service.instance.id", "service.sla.tier"} <= keys
    assert (folder / "traces.jsonl.1").exists()
    assert all(file.stat().st_size < 20_000 for file in folder.glob("traces*"))
    assert "resourceMetrics" in json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert '{"event":"x"}' in (folder / "logs.jsonl").read_text().splitlines()


def test_switched_off_nothing_is_sent_along() -> None:
    with open_telemetry(ObserveConfig(enabled=False), "camera_front") as telemetry:
        assert FrameSender(telemetry).text() == ""
        assert not telemetry.sinks


def test_a_taken_port_is_said_and_the_service_goes_on() -> None:
    said: list[str] = []
    from percept_ros.observe.prometheus import PrometheusServer, registry_of

    with Kept() as other:
        server = PrometheusServer(registry_of(other.meter, other.identity), "127.0.0.1", 0)
        config = ObserveConfig(prometheus_port=server.port)
        with open_telemetry(config, "fusion", warn=said.append) as telemetry:
            assert telemetry.server is None
        server.close()
    assert str(config.prometheus_port) in said[0]


def test_logs_carry_trace_stamp_and_mode_and_are_rate_limited() -> None:
    lines: list[str] = []
    now = [0.0]
    identity = identify("fusion", Tier.parse("P99-100ms"), "car 7")
    log = StructuredLog(identity, lines.append, burst=2, per_s=5.0, clock=lambda: now[0])
    for _ in range(5):
        log.say("warning", "drop", "late", trace_id="ab", stamp_ns=7, mode="full", fields={"sensor": "lidar"})
    log.say("warning", "other", "unrelated events have their own limit")
    now[0] = 6.0
    log.say("warning", "drop", "late again")
    parsed = [json.loads(line) for line in lines]
    assert [line["event"] for line in parsed] == ["drop", "drop", "other", "drop"]
    assert parsed[0]["trace_id"] == "ab"
    assert (parsed[0]["stamp_ns"], parsed[0]["mode"], parsed[0]["sensor"]) == (7, "full", "lidar")
    assert parsed[3]["held_back"] == 3
    assert log.held_back == 3


def test_a_log_that_cannot_be_written_is_counted() -> None:
    def refuse(line: str) -> None:
        raise OSError("disk full")

    log = StructuredLog(identify("fusion", Tier.parse("P99-100ms")), refuse)
    assert not log.say("error", "x", "y")
    assert log.failed == 1
