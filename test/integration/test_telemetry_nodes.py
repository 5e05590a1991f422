"""One frame's trace across camera, LiDAR, fusion and engine worker processes, seen by real receivers."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from otlp_receiver import Receiver, Seen
from prometheus_client.parser import text_string_to_metric_families
from ros_harness import wait_for

from percept_ros.config import Config, load_config
from percept_ros.health.baseline_store import BaselineStore
from percept_ros.nodes.realtime import play_through_nodes, with_transports
from percept_ros.observe.profiles import ProfileStore
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.discovery import discover
from percept_ros.replay.simulated import record_drive
from percept_ros.simulate.drive import SimulateConfig

pytestmark = pytest.mark.ros
HOLD_AT, HOLD_S = 40, 0.35
STAGES = {"detect", "fuse", "track", "predict", "publish", "sync", "queue"}


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(receiver: Receiver, port: int, folder: Path) -> dict[str, Any]:
    return {
        "detector": {"chain": ["geometric"]},
        "budget": {"detect_ms": 2000.0, "total_ms": 4000.0},
        "observe": {
            "sla_tier": "P99-100ms",
            "instance": "test vehicle",
            "otlp_endpoint": f"127.0.0.1:{receiver.port}",
            "prometheus_port": port,
            "files": str(folder / "telemetry"),
            "sample_share": 0.0,  # only the tail decision brings traces here
            "push_s": 0.5,
            "profile_folder": str(folder / "profiles"),
            "profile_every_s": 1.0,
            "profile_window_s": 0.2,
            "baseline_file": str(folder / "baselines.db"),
        },
    }


class Scraper(threading.Thread):
    """Scrapes nodes for as long as they are there; keeps the newest text of each in which nothing is missing."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._ports, self._end = ports, threading.Event()
        self.texts: dict[str, str] = {}

    def run(self) -> None:
        while not self._end.wait(0.2):
            for name, port in self._ports.items():
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2.0) as answer:
                        text = answer.read().decode()
                except OSError:
                    continue
                if len(text.splitlines()) >= len(self.texts.get(name, "").splitlines()):
                    self.texts[name] = text  # while a node closes, its worker and rings go first

    def stop(self) -> None:
        self._end.set()
        self.join(5.0)


def slow_engine(done: int) -> None:
    """Hold the engine's workers still for a moment, in the middle of the drive."""
    if done != HOLD_AT:
        return
    family = psutil.Process(os.getpid()).children(recursive=True)
    workers = [child for child in family if "percept_ros.runtime.hosted" in " ".join(child.cmdline())]
    assert workers
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    threading.Timer(HOLD_S, lambda: [worker.send_signal(signal.SIGCONT) for worker in workers]).start()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Scraper, Path]]:
    folder = tmp_path_factory.mktemp("telemetry")
    bag = folder / "drive.mcap"
    drive = SimulateConfig(seconds=2.0, cameras=1, beams=16, width_px=160, height_px=90)
    record_drive(bag, drive, seed=3, progress=lambda done, total: None)
    port = free_port()
    with Receiver() as receiver:
        config: Config = load_config(None, settings(receiver, port, folder))
        with BagReader(bag) as reader:
            config = with_transports(discover(reader.topics, config).configured(config), reader.topics)
        scraper = Scraper({"fusion": port, "lidar": port + 1, "camera": port + 2})
        scraper.start()
        play_through_nodes(bag, config, folder, on_message=slow_engine)
        scraper.stop()
        wait_for(lambda: len(receiver.traces()) > 0, "a trace", 10.0)
        yield receiver, scraper, folder


def complete(receiver: Receiver) -> list[Seen]:
    """Spans of the trace of a slowed frame to which camera, LiDAR, fusion and engine contributed."""
    wanted = {f"percept_ros.{name}" for name in ("camera_cam_front", "lidar", "fusion", "engine")}
    services = []
    for spans in receiver.traces().values():
        services.append({str(span.resource["service.name"]) for span in spans})
        if services[-1] >= wanted:
            return spans
    raise AssertionError(f"no trace has all of {sorted(wanted)}: {services}")


def test_one_trace_across_camera_fusion_and_engine(played: tuple[Receiver, Scraper, Path]) -> None:
    spans = complete(played[0])
    by_name = {span.name: span for span in spans}
    root = by_name["frame_set"]
    assert root.parent == ""
    assert set(by_name) >= STAGES
    pids = {span.resource["process.pid"] for span in spans}
    assert len(pids) == 4, "camera, lidar, fusion and the engine's worker are four processes"
    for span in spans:
        assert span.resource["service.sla.tier"] == "P99-100ms"
        assert span.resource["service.version"]
        assert span.resource["service.instance.id"].startswith("test vehicle/")
        assert span.end_ns >= span.start_ns
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans)
    assert all(span.parent in ids for span in spans if span is not root)
    engine = next(s for s in spans if s.resource["service.name"] == "percept_ros.engine")
    call = next(s for s in spans if s.span_id == engine.parent)
    assert call.parent in (by_name["detect"].span_id, root.span_id), "of the root when it was sent ahead of the set"
    assert call.start_ns <= engine.start_ns <= engine.end_ns <= call.end_ns
    assert root.attributes["mode"]
    assert root.attributes["sequence"] >= 0


def test_prometheus_scrape_of_every_node(played: tuple[Receiver, Scraper, Path]) -> None:
    texts = played[1].texts
    assert set(texts) == {"fusion", "lidar", "camera"}
    families = {f.name: f for f in text_string_to_metric_families(texts["fusion"])}
    target = next(iter(families["target_info"].samples)).labels
    assert target["service_sla_tier"] == "P99-100ms"
    assert sum(s.value for s in families["percept_frames"].samples if s.name.endswith("_total")) > 5
    stages = {s.labels["stage"] for s in families["percept_stage_seconds"].samples}
    assert stages >= {"detect", "track", "predict", "publish"}
    buckets = [s for s in families["percept_end_to_end_seconds"].samples if s.name.endswith("_bucket")]
    assert {"0.010", "0.020", "0.100"} <= {s.labels["le"] for s in buckets}
    assert {s.labels["sla_violation"] for s in buckets} <= {"true", "false"}
    processes = {s.labels["process"] for s in families["percept_process_resident_bytes"].samples}
    assert {"fusion", "engine/geometric"} <= processes
    assert families["percept_breaker_state"].samples
    assert {s.labels["ring"] for s in families["percept_ring_frames"].samples} >= {"lidar"}
    assert "percept_frames_sent_total" in texts["camera"]


def test_metrics_are_pushed_and_files_are_written(played: tuple[Receiver, Scraper, Path]) -> None:
    receiver, _, folder = played
    assert "percept_stage_seconds" in receiver.metrics["percept_ros.fusion"]
    histogram = receiver.metrics["percept_ros.fusion"]["percept_stage_seconds"].histogram
    assert histogram.data_points[0].count > 0
    written = folder / "telemetry" / "fusion" / "traces.jsonl"
    assert next(iter(complete(receiver))).trace_id in written.read_text()


def test_the_slowed_frame_is_marked_and_only_violations_are_traced(played: tuple[Receiver, Scraper, Path]) -> None:
    receiver, scraper, _ = played
    roots = [span for spans in receiver.traces().values() for span in spans if span.name == "frame_set"]
    assert {root.attributes["sla_violation"] for root in roots} == {"true"}
    assert all(root.attributes["latency_ms"] > 100.0 for root in roots)
    calls = [span for spans in receiver.traces().values() for span in spans if span.name == "engine.call"]
    longest_ns = max(call.end_ns - call.start_ns for call in calls)
    assert longest_ns > 100e6, "the call alone explains the violation (it may have been sent before it was waited for)"
    families = {f.name: f for f in text_string_to_metric_families(scraper.texts["fusion"])}
    counts = [s for s in families["percept_end_to_end_seconds"].samples if s.name.endswith("_count")]
    violations = {s.labels["sla_violation"]: s.value for s in counts}
    assert violations["true"] >= 1
    assert families["percept_sla_violations"].samples[0].value == violations["true"]


def test_profiles_and_baselines_of_the_fusion_node_are_kept(played: tuple[Receiver, Scraper, Path]) -> None:
    _, scraper, folder = played
    assert ProfileStore(folder / "profiles" / "fusion").entries()
    assert BaselineStore(folder / "baselines.db").moved_aside is None
    assert "percept_error_budget_left_ratio" in scraper.texts["fusion"]
    lines = (folder / "telemetry" / "fusion" / "logs.jsonl").read_text().splitlines()
    late = next(line for line in map(json.loads, lines) if line["event"] == "sla_violation")
    assert late["trace_id"] in {span.trace_id for spans in played[0].traces().values() for span in spans}
