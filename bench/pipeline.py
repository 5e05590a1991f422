"""Sensors to tracks through real processes: the naive rclpy node against ours, cameras 1600x900 and one LiDAR.

Naive: Image and PointCloud2 over DDS, approximate synchroniser (exhaustive search), copies as cv_bridge makes them,
detection and tracking in the callback. Ours: frame rings, FrameReady, the fusion node with its detector in a worker.
All run the same detector and tracker; the naive node runs with DDS as it comes and tuned (config/fastdds.xml), and the ratio
is to the tuned one. Overhead is publication minus oldest sensor stamp minus the engine's median time. ``--profile true`` adds a
run of ours that keeps the trace of every set, and says where its time goes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
import _pipeline_stages  # noqa: E402

from percept_ros.config import load_config  # noqa: E402

PROFILE = HERE.parent / "config" / "fastdds.xml"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
PRIORITY = "PERCEPT_BENCH_PRIORITY"
SETTLE_S = 1.0
WARM_FRAMES = 20
"""Frames not counted: rings are made and models meet their first data (cold start is the benchmark ``start``)."""


def run(
    *,
    cameras: tuple[int, ...] = (1, 6),
    rates: tuple[float, ...] = (10.0,),
    seconds: float = 8.0,
    points: int = 20_000,
    isolation: str = "process",
    priority: int = 50,
    profile: bool = False,
) -> dict[str, Any]:
    """Both sides for every number of cameras and rate. priority: SCHED_FIFO of sensors and nodes of both sides, 0 = ordinary.
    profile: the stages of a set at the most cameras, in a run of its own."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whatever it was started with
    os.environ[PRIORITY] = str(priority)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(20 + os.getpid() % 70)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    rows = []
    for rate_hz in rates:
        for count in cameras:
            names, frames = [f"c{index}" for index in range(count)], int(seconds * rate_hz)
            sides = {
                "naive": run_naive(names, rate_hz, frames, points, tuned=False),
                "naive, tuned DDS": run_naive(names, rate_hz, frames, points, tuned=True),
                "ours": run_ours(names, rate_hz, frames, points, isolation),
            }
            engine_ms = engine_of(sides)
            rows += [figures(name, side, engine_ms, count, rate_hz) for name, side in sides.items()]
    most = max(cameras)
    chosen = {r["side"]: r for r in rows if r["cameras"] == most and r["rate_hz"] == rates[0]}
    mine, theirs, tuned = chosen["ours"], chosen["naive"], chosen["naive, tuned DDS"]
    result: dict[str, Any] = {
        "overhead_p99_ms": mine["overhead_p99_ms"],
        "ratio_naive": tuned["overhead_p99_ms"] / max(mine["overhead_p99_ms"], 1e-3),
        "drops": mine["drops"],
        "naive_overhead_p99_ms": tuned["overhead_p99_ms"],
        "naive_drops": tuned["drops"],
        "naive_default_dds_drops": theirs["drops"],
        "frames": mine["frames"],
        "cameras": most,
        "rate_hz": rates[0],
        "rows": rows,
    }
    if profile:
        result["stages"] = profiled([f"c{index}" for index in range(most)], rates[0], seconds, points, isolation)
    result["ok"] = mine["overhead_p99_ms"] < 8.0 and mine["drops"] == 0 and result["ratio_naive"] >= 5
    return result


def profiled(names: list[str], rate_hz: float, seconds: float, points: int, isolation: str) -> dict[str, Any]:
    """Moments of the sets of one run of ours whose traces are all written down."""
    with tempfile.TemporaryDirectory() as folder:
        measured = run_ours(names, rate_hz, int(seconds * rate_hz), points, isolation, traces=Path(folder))
        return _pipeline_stages.stages(Path(folder), measured["begin_ns"] + int(WARM_FRAMES * 1e9 / rate_hz))


def engine_of(sides: dict[str, dict[str, Any]]) -> float:
    """Median time of the detector alone: in the callbacks of the naive nodes, which call it in their own process. (Our stage of
    that name is what a set still waits for it, for it begins before the set is whole; used only when they answered nothing.)"""
    alone = [side["engine_ms"] for name, side in sides.items() if name != "ours" and side["engine_ms"] > 0]
    return float(min(alone) if alone else sides["ours"]["engine_ms"])


def figures(side: str, measured: dict[str, Any], engine_ms: float, cameras: int, rate_hz: float) -> dict[str, Any]:
    """One row. A side that gave no set at all has overhead as long as the run."""
    frames = measured["frames"] - WARM_FRAMES
    begin_ns = measured["begin_ns"] + int((WARM_FRAMES - 0.5) * 1e9 / rate_hz)
    steady = [late_ms for stamp_ns, late_ms in measured["late_ms"] if stamp_ns >= begin_ns]
    late_ms = np.array(steady or [frames / rate_hz * 1e3])
    over_ms = late_ms - engine_ms
    return {
        "side": side,
        "cameras": cameras,
        "rate_hz": rate_hz,
        "overhead_p50_ms": float(np.median(over_ms)),
        "overhead_p99_ms": float(np.percentile(over_ms, 99)),
        "overhead_worst_ms": float(over_ms.max()),
        "engine_ms": engine_ms,
        "first_frame_ms": measured["late_ms"][0][1] if measured["late_ms"] else -1.0,
        "frames": frames,
        "drops": frames - len(steady),
        "cpu_ms_per_frame": 1e3 * measured["cpu_s"] / measured["frames"],
    }


def run_naive(names: list[str], rate_hz: float, frames: int, points: int, *, tuned: bool) -> dict[str, Any]:
    """Sensors over DDS into the naive node. tuned: with config/fastdds.xml, which most such nodes lack."""
    env = {name: str(PROFILE) for name in PROFILE_VARIABLES} if tuned else {}
    node = start({"role": "naive", "cameras": names, "priority": _priority()}, env)
    expect(node, "ready")
    cpu_s, begin_ns = drive(names, ring=False, rate_hz=rate_hz, frames=frames, points=points, env=env)
    node.send_signal(signal.SIGTERM)
    got = json.loads(node.communicate(timeout=60)[0].splitlines()[-1])
    engine_ms = float(np.median(got["engine_ms"])) if got["engine_ms"] else 0.0
    cpu_s += got["cpu_s"]
    return {"late_ms": got["late_ms"], "engine_ms": engine_ms, "frames": frames, "cpu_s": cpu_s, "begin_ns": begin_ns}


def run_ours(
    names: list[str], rate_hz: float, frames: int, points: int, isolation: str, traces: Path | None = None
) -> dict[str, Any]:
    """Sensors through rings into the fusion node. traces: folder for the trace of every set."""
    import psutil

    from percept_ros.nodes.fleet import Fleet, NodeProcess

    identity = np.eye(4).ravel().tolist()
    config = load_config(
        None,
        {
            "lidar": {"extrinsic": identity},
            "cameras": {name: {"topic": f"/{name}/image", "extrinsic": identity} for name in names},
            "ego_motion": {"source": "none"},
            "detector": {"isolation": isolation, "chain": ["geometric"]},  # as the naive node
            "budget": {"detect_ms": 500.0},
            "realtime": {"priority": _priority()},
            "observe": {"files": str(traces), "sample_share": 1.0} if traces is not None else {},
        },
    )
    plan = [NodeProcess("fusion", "fusion"), NodeProcess("supervisor", "supervisor", {"nodes": ["fusion"]})]
    with (
        tempfile.TemporaryDirectory() as folder,
        Listener() as heard,
        Fleet(plan, config, Path(folder), "/percept") as fleet,
    ):
        sensors_s, begin_ns = drive(names, ring=True, rate_hz=rate_hz, frames=frames, points=points, env={})
        node = psutil.Process(fleet.processes["fusion"].pid)
        spent = [process.cpu_times() for process in (node, *node.children(recursive=True))]
        node_s = sum(times.user + times.system for times in spent)
        late_ms, engine_ms = heard.late_ms, heard.engine_ms
    cpu_s = sensors_s + node_s
    return {"late_ms": late_ms, "engine_ms": engine_ms, "frames": frames, "cpu_s": cpu_s, "begin_ns": begin_ns}


class Listener:
    """Keeps the latency of every track array made from a complete set, and the engine's time from the status."""

    def __init__(self) -> None:
        self.engine_ms = 0.0

    def __enter__(self) -> Listener:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from percept_ros.msg import ObstacleTrackArray, PerceptionStatus
        from percept_ros.nodes.qos import TRACK_QOS
        from percept_ros.nodes.status import STATUS_QOS

        rclpy.init()
        self._node = rclpy.create_node("bench_pipeline")
        self._raw: list[bytes] = []
        self._node.create_subscription(
            ObstacleTrackArray, "/percept/fusion/tracks", self._raw.append, TRACK_QOS, raw=True
        )
        self._node.create_subscription(PerceptionStatus, "/percept/fusion/status", self.on_status, STATUS_QOS)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def late_ms(self) -> list[tuple[int, float]]:
        """Pivot stamp and latency of the arrays that came of complete sets."""
        from rclpy.serialization import deserialize_message

        from percept_ros.msg import ObstacleTrackArray

        return [late for raw in self._raw if (late := self._late(deserialize_message(raw, ObstacleTrackArray)))]

    @staticmethod
    def _late(message: Any) -> tuple[int, float] | None:
        if not message.absent_sensors:
            oldest, published = message.oldest_sensor_stamp, message.publish_stamp
            late_ms = (published.sec - oldest.sec) * 1e3 + (published.nanosec - oldest.nanosec) / 1e6
            return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, late_ms
        return None

    def on_status(self, message: Any) -> None:
        stages = dict(zip(message.stages, message.stage_p50_ms, strict=True))
        self.engine_ms = float(stages.get("detect", 0.0)) or self.engine_ms


def drive(
    names: list[str], *, ring: bool, rate_hz: float, frames: int, points: int, env: dict[str, str]
) -> tuple[float, int]:
    """Run all sensors, each in a process of its own; returns the CPU seconds that they took and their first stamp."""
    plan = {"role": "sensor", "ring": ring, "rate_hz": rate_hz, "frames": frames, "points": points}
    plan["priority"] = _priority()
    sensors = [start({**plan, "name": name}, env) for name in (*names, "lidar")]
    for process in sensors:
        expect(process, "matched")
    begin_ns = time.time_ns() + int(SETTLE_S * 1e9)
    for process in sensors:
        assert process.stdin is not None
        process.stdin.write(f"{begin_ns}\n")
        process.stdin.flush()
    done = [process.communicate(timeout=frames / rate_hz + 60)[0] for process in sensors]
    return float(sum(json.loads(text.splitlines()[-1])["cpu_s"] for text in done)), begin_ns


def _priority() -> int:
    return int(os.environ.get(PRIORITY, "0"))


def start(plan: dict[str, Any], env: dict[str, str]) -> subprocess.Popen[str]:
    """One process of the benchmark."""
    command = [sys.executable, str(HERE / "_pipeline_end.py"), json.dumps(plan)]
    clean = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    return subprocess.Popen(command, env={**clean, **env}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Wait for a word on the process's standard output."""
    assert process.stdout is not None
    if (said := process.stdout.readline().strip()) != word:
        raise RuntimeError(f"a benchmark process said '{said}', expected '{word}'")


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a side and setting."""
    keys = ("side", "cameras", "rate_hz", "overhead_p50_ms", "overhead_p99_ms", "drops", "frames", "cpu_ms_per_frame")
    header = ["side", "cameras", "Hz", "P50 ms", "P99 ms", "drops", "of", "CPU ms/frame"]
    return header, [[row[key] for key in keys] for row in result["rows"]]


def plot(result: dict[str, Any], file: Path) -> None:
    """Overhead P99 over cameras."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for side in ("naive", "naive, tuned DDS", "ours"):
        for rate_hz in sorted({row["rate_hz"] for row in result["rows"]}):
            rows = [row for row in result["rows"] if row["side"] == side and row["rate_hz"] == rate_hz]
            axes.plot(
                [r["cameras"] for r in rows],
                [r["overhead_p99_ms"] for r in rows],
                "o-",
                label=f"{side}, {rate_hz:g} Hz",
            )
    axes.axhline(8.0, color="black", linestyle="--", label="8 ms")
    axes.set_yscale("log")
    axes.set_xlabel("cameras")
    axes.set_ylabel("overhead beyond the engine, P99, ms")
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
