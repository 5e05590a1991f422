"""What telemetry costs: the same frames with it and without, in turns, in one run.

A frame is six cameras and a LiDAR: seven messages with trace contexts, synchronised, tracked, predicted, encoded, with
the detector in a worker process. Cost a frame: difference of processor time of the frame's thread, on less off, medians
over frames that alternate. Cost as a share of a core: difference of processor time of the whole process (exporter
threads and all: OTLP push, files, a scrape a second) between paced seconds with and without.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
from _synthetic import PERIOD_NS, LaneDetector, sensor_set, sweep  # noqa: E402

from percept_ros.config import Config, ObserveConfig  # noqa: E402
from percept_ros.core.tracking import Tracker  # noqa: E402
from percept_ros.detectors.chain import DetectorChain  # noqa: E402
from percept_ros.detectors.process import DetectorSpec, ProcessDetector, WorkerLimits  # noqa: E402
from percept_ros.observe.frames import FrameRecorder  # noqa: E402
from percept_ros.observe.sender import FrameSender  # noqa: E402
from percept_ros.observe.telemetry import Telemetry, open_telemetry  # noqa: E402
from percept_ros.pipeline import Pipeline  # noqa: E402
from percept_ros.wire import ArrayHeader, encode_track_array  # noqa: E402

LIMIT_MS, LIMIT_SHARE = 0.3, 0.02
SENSORS = ("lidar", *(f"camera_{i}" for i in range(6)))
_WARM_FRAMES = 30


class Flow:
    """One pipeline with its telemetry, on or off for each frame as asked."""

    def __init__(self, stack: ExitStack, config: ObserveConfig, objects: int, points: int) -> None:
        spec = DetectorSpec("_synthetic:make_lanes", {"objects": objects}, cameras=False)
        chain = DetectorChain([ProcessDetector(spec, WorkerLimits(spare=False)), LaneDetector(objects)])
        stack.callback(chain.close)
        chain.load()
        tracker = Tracker(Config().tracking, seed=0, fixed_frame="odom")
        self.pipeline = Pipeline(chain, None, tracker, base_frame="base_link", detect_ms=1000.0)
        stack.callback(self.pipeline.close)
        self.telemetry: Telemetry = stack.enter_context(open_telemetry(config, "bench"))
        quiet = dataclasses.replace(config, otlp_endpoint="", files="", prometheus_port=0)
        self.senders = [FrameSender(stack.enter_context(open_telemetry(quiet, name))) for name in SENSORS]
        self.recorder = FrameRecorder(self.telemetry)
        self.pipeline.watch_calls(lambda stage, call: self.recorder.call(stage, call) if self.is_on else None)
        self.is_on = True
        self.clouds = [sweep(points, 0, seed) for seed in range(4)]
        self.number = 0

    def frame(self, on: bool, latency_ns: int) -> int:
        """One frame; returns processor time of this thread in nanoseconds."""
        self.number += 1
        self.is_on = on
        stamp_ns = self.number * PERIOD_NS
        sensors = sensor_set(dataclasses.replace(self.clouds[self.number % 4], stamp_ns=stamp_ns), (), stamp_ns)
        begun_ns = time.thread_time_ns()
        frame = self._arrive() if on else None
        if frame is not None:
            sensors = dataclasses.replace(sensors, trace=frame.packed)
        result = self.pipeline.process(sensors, stamp_ns)
        header = ArrayHeader(stamp_ns, self.number, frame.trace_id if frame is not None else "")
        encode_track_array(result, header)
        if frame is not None:
            self.recorder.finish(frame, result, latency_ns, {"sequence": self.number})
        return time.thread_time_ns() - begun_ns

    def _arrive(self) -> Any:
        now_ns = time.monotonic_ns()
        payloads = []
        for name, sender in zip(SENSORS, self.senders, strict=True):
            sender.taken(now_ns)
            payload = object()
            self.recorder.arrived(payload, name, sender.text(), now_ns)
            payloads.append(payload)
        return self.recorder.begin(payloads, now_ns)


class Scraper(threading.Thread):
    """Scrapes once a second while ``active``."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.active, self.count, self._end = threading.Event(), 0, threading.Event()
        self._url = f"http://127.0.0.1:{port}/metrics"

    def run(self) -> None:
        """Until stopped."""
        while not self._end.wait(1.0):
            if self.active.is_set():
                with urllib.request.urlopen(self._url, timeout=5.0) as answer:
                    self.count += len(answer.read()) > 0

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join(5.0)


def run(
    *, frames: int = 400, seconds: float = 12.0, rate_hz: float = 10.0, objects: int = 20, points: int = 20_000
) -> dict[str, Any]:
    """Alternate ``frames`` frames for the cost of one, then pace ``seconds`` each of off, on, and every frame violating."""
    with ExitStack() as stack:
        receiver = subprocess.Popen(
            [sys.executable, str(HERE / "_telemetry_receiver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(receiver.kill)
        assert receiver.stdout is not None
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = _free_port()
        config = ObserveConfig(
            otlp_endpoint=f"127.0.0.1:{receiver.stdout.readline().strip()}", files=folder, prometheus_port=port
        )
        flow = Flow(stack, config, objects, points)
        scraper = Scraper(port)
        scraper.start()
        stack.callback(scraper.stop)
        cost = frame_cost(flow, frames)
        shares = core_shares(flow, scraper, seconds, rate_hz)
        sinks = {sink.name: dataclasses.asdict(sink.counters) for sink in flow.telemetry.sinks}
        flow.telemetry.close()
        received = json.loads(receiver.communicate()[0])
    ok = cost["cost_ms_per_frame"] < LIMIT_MS and shares["cost_core_share"] < LIMIT_SHARE
    return {**cost, **shares, "scrapes": scraper.count, "exporters": sinks, "received": received, "ok": ok}


def frame_cost(flow: Flow, frames: int) -> dict[str, float]:
    """Median processor time of a frame, on and off, alternating (1 % of the frames on are sampled)."""
    for number in range(_WARM_FRAMES):
        flow.frame(number % 2 == 0, 50_000_000)
    spent = np.array([[flow.frame(on, 50_000_000) for on in (True, False)] for _ in range(frames)]) * 1e-6
    on_ms, off_ms = (float(value) for value in np.median(spent, axis=0))
    return {
        "cost_ms_per_frame": on_ms - off_ms,
        "cost_ms_mean": float(np.mean(spent[:, 0]) - np.mean(spent[:, 1])),
        "frame_on_ms": on_ms,
        "frame_off_ms": off_ms,
        "limit_ms": LIMIT_MS,
    }


def core_shares(flow: Flow, scraper: Scraper, seconds: float, rate_hz: float) -> dict[str, float]:
    """Processor time of the process a second of wall time: off, on, off, on, then with every frame violating."""
    spent: dict[str, list[float]] = {"off": [], "on": [], "violating": []}
    for case in ("off", "on", "off", "on", "violating", "off"):
        latency_ns = 500_000_000 if case == "violating" else 50_000_000
        spent[case].append(_paced(flow, scraper, case != "off", latency_ns, seconds / 2, rate_hz))
    off = float(np.median(spent["off"]))
    return {
        "cost_core_share": float(np.median(spent["on"])) - off,
        "cost_core_share_all_violating": float(np.median(spent["violating"])) - off,
        "off_core_share": off,
        "limit_core_share": LIMIT_SHARE,
    }


def _paced(flow: Flow, scraper: Scraper, on: bool, latency_ns: int, seconds: float, rate_hz: float) -> float:
    (scraper.active.set if on else scraper.active.clear)()
    begun_s, cpu_s = time.monotonic(), time.process_time()
    for number in range(int(seconds * rate_hz)):
        time.sleep(max(0.0, begun_s + number / rate_hz - time.monotonic()))
        flow.frame(on, latency_ns)
    share = (time.process_time() - cpu_s) / (time.monotonic() - begun_s)
    scraper.active.clear()
    return share


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Cost beside its limit."""
    return ["cost", "measured", "limit"], [
        ["ms a frame", result["cost_ms_per_frame"], result["limit_ms"]],
        ["share of a core at 10 Hz", result["cost_core_share"], result["limit_core_share"]],
        ["the same, every frame violating", result["cost_core_share_all_violating"], ""],
    ]
