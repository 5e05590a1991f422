"""A service whose figures leave what is usual: slow traces are exported, the stage is named, the next model is asked for."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from percept_ros.config import ObserveConfig
from percept_ros.health.baseline_monitor import BaselineEvent
from percept_ros.nodes.baselines import BaselineWatch, Finding, Relief
from percept_ros.observe.figures import figures, totals
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.record import FrameRecord
from percept_ros.observe.telemetry import Telemetry
from percept_ros.types import Detections, Forecasts, FrameResult, Mode, SensorSet, Tracks

MS = 1_000_000
INTERVAL_S = 60.0


class Kept(Telemetry):
    """Telemetry whose exports are kept."""

    def __init__(self, config: ObserveConfig) -> None:
        super().__init__(config, "fusion")
        self.exported: list[FrameRecord] = []
        self.start()

    def export(self, record: FrameRecord) -> None:
        self.exported.append(record)


def frame(recorder: FrameRecorder, detect_ms: int, latency_ms: int) -> None:
    sensors = SensorSet(1, None, {}, {}, (), {})
    stages = {"detect": detect_ms * MS, "track": 2 * MS}
    none, tracks = Detections.empty(1, "base_link"), Tracks.empty(1, "odom")
    result = FrameResult(sensors, none, {}, tracks, Forecasts.empty(0.1), Mode.FULL, stages, "m")
    recorder.finish(recorder.begin((), time.monotonic_ns()), result, latency_ms * MS)


def settings(tmp_path: Path) -> ObserveConfig:
    return ObserveConfig(baseline_file=str(tmp_path / "b.db"), baseline_interval_s=INTERVAL_S, sample_share=0.0)


def test_a_slow_detector_is_found_named_and_stepped_down_from(tmp_path: Path) -> None:
    profiles: list[str] = []
    findings: list[Finding] = []

    def profile(reason: str) -> str:
        profiles.append(reason)
        return "cpu-1"

    with Kept(settings(tmp_path)) as telemetry:
        recorder = FrameRecorder(telemetry)
        watch = BaselineWatch(telemetry, telemetry.config, on_finding=findings.append, profile=profile)
        for interval in range(6):  # two as usual, then three that are too slow
            watch.step(interval * INTERVAL_S)
            for _ in range(20):
                frame(recorder, 130 if interval >= 2 else 20, 150 if interval >= 2 else 40)
        assert [(f.event.metric, f.event.kind, f.event.static) for f in findings] == [("end_to_end", "raised", True)]
        assert findings[0].stage == "detect"
        assert findings[0].burning
        assert findings[0].asked is Mode.FALLBACK_MODEL
        assert len(findings[0].traces) == 3
        assert profiles == ["end_to_end raised"]
        text = telemetry.exposition()[0].decode()
        assert 'percept_baseline_raised{figure="end_to_end",service="fusion"} 1.0' in text
        assert 'percept_burn_rate{service="fusion",window="300s"}' in text
        for interval in range(6, 10):
            watch.step(interval * INTERVAL_S)
            for _ in range(20):
                frame(recorder, 20, 40)
        assert [f.event.kind for f in findings] == ["raised", "cleared"]
        assert findings[1].asked is Mode.FULL
        watch.close()


def test_slow_frames_that_nobody_sampled_are_exported(tmp_path: Path) -> None:
    config = dataclasses.replace(settings(tmp_path), sla_tier="P99-200ms")
    with Kept(config) as telemetry:
        recorder = FrameRecorder(telemetry)
        watch = BaselineWatch(telemetry, config)
        watch.monitor._limits["end_to_end"] = 100.0
        for interval in range(5):
            watch.step(interval * INTERVAL_S)
            for number in range(10):
                frame(recorder, 120, 130 + number)
        assert [record.latency_ns // MS for record in telemetry.exported] == [139, 139, 139]
        assert not any(record.wanted for record in telemetry.exported)
        watch.close()


def test_figures_of_an_interval(tmp_path: Path) -> None:
    with Kept(settings(tmp_path)) as telemetry:
        recorder = FrameRecorder(telemetry)
        frame(recorder, 10, 30)
        before = totals(telemetry.meter.collect())
        frame(recorder, 20, 50)
        frame(recorder, 40, 70)
        made = figures(before, totals(telemetry.meter.collect()), 60.0)
    assert round(made["end_to_end"], 6) == 60.0
    assert round(made["stage/detect"], 6) == 30.0
    assert made["resident/fusion"] > 1.0
    assert "drops" not in made


def finding(metric: str, stage: str, kind: str = "raised", *, burning: bool = True, value: float = 2.0) -> Finding:
    return Finding(BaselineEvent(metric, kind, 0.0, value, 1.0, 3.0, False), stage, (), burning)


def test_what_standing_findings_ask_for_together() -> None:
    relief = Relief()
    relief.take(finding("end_to_end", "detect"))
    assert (relief.mode, relief.sheds) == (Mode.FALLBACK_MODEL, False)
    relief.take(finding("queue_wait", "track"))
    assert (relief.mode, relief.sheds) == (Mode.FALLBACK_MODEL, True)
    relief.take(finding("resident/fusion", "track"))
    relief.take(finding("resident/fusion", "track", "cleared"))
    assert (relief.mode, relief.sheds) == (Mode.FALLBACK_MODEL, True), "one that is over takes back its own wish only"
    relief.take(finding("queue_wait", "track", "adopted"))
    relief.take(finding("end_to_end", "detect", "cleared"))
    assert (relief.mode, relief.sheds) == (Mode.FULL, False)


def test_nothing_is_shed_while_the_budget_holds_or_frames_became_quicker() -> None:
    assert finding("stage/track", "track").sheds
    assert not finding("stage/track", "track", burning=False).sheds
    assert not finding("stage/track", "track", value=0.5).sheds
    assert not finding("resident/fusion", "").sheds
