"""From exec of the node process to the first ObstacleTrackArray, sweeps already flowing on real DDS.

All nodes run in one process (the container); its supervisor configures and activates them. The stages of the same start
are timed one by one in a second process.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))
from _synthetic import sweep  # noqa: E402

from percept_ros.config import Config, load_config  # noqa: E402

POINT_BYTES = 16


def run(
    *, starts: int = 5, points: int = 20_000, isolation: str = "process", chain: str = "geometric"
) -> dict[str, Any]:
    """Best and median of ``starts`` cold starts. chain: detectors, comma separated. isolation: process or thread."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 70))
    compileall.compile_dir(str(HERE.parent / "percept_ros"), quiet=2)  # as scripts/setup does for the installed package
    identity = np.eye(4).ravel().tolist()
    config = load_config(
        None,
        {
            "lidar": {"extrinsic": identity},
            "ego_motion": {"source": "none"},
            "detector": {"chain": chain.split(","), "isolation": isolation},
            "budget": {"detect_ms": 1000.0},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        first, tracked = [], []
        for number in range(starts):
            took_s, track_s = one_start(config, Path(folder) / str(number), points)
            first.append(took_s)
            tracked.append(track_s)
        told = [stages_of(config, Path(folder)) for _ in range(3)]
    result: dict[str, Any] = {
        "first_track_s": float(np.median(first)),
        "best_s": min(first),
        "worst_s": max(first),
        "first_object_s": float(np.median(tracked)),
        "starts": starts,
        "isolation": isolation,
        "chain": chain,
        "stages_ms": medians([one["stages"] for one in told]),
        "stages_cpu_ms": medians([one["cpu"] for one in told]),
    }
    result["cpu_ms"] = sum(result["stages_cpu_ms"].values())
    result["ok"] = result["first_track_s"] < 1.5
    return result


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of every key."""
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


def one_start(config: Config, folder: Path, points: int) -> tuple[float, float]:
    """Seconds from exec to the first array, and to the first array that holds a track."""
    from percept_ros.nodes.fleet import Fleet, node_plan

    with sensors(points) as heard:
        time.sleep(0.5)
        begin_ns = time.monotonic_ns()
        with Fleet(node_plan(config, composed=True), config, folder, "/percept"):
            if not heard.any.wait(60.0) or not heard.objects.wait(60.0):
                log = "".join(file.read_text() for file in folder.glob("*.log"))
                raise RuntimeError(f"no tracks within a minute; the nodes said:\n{log[-2000:]}")
        return (heard.any_ns - begin_ns) / 1e9, (heard.objects_ns - begin_ns) / 1e9


class Heard:
    """When the first array came, and the first with a track."""

    def __init__(self) -> None:
        self.any, self.objects = threading.Event(), threading.Event()
        self.any_ns = self.objects_ns = 0

    def on_tracks(self, message: Any) -> None:
        now_ns = time.monotonic_ns()
        if not self.any.is_set():
            self.any_ns = now_ns
            self.any.set()
        if message.tracks and not self.objects.is_set():
            self.objects_ns = now_ns
            self.objects.set()


@contextlib.contextmanager
def sensors(points: int) -> Iterator[Heard]:
    """A LiDAR that publishes at 10 Hz, and a listener for the tracks."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    from percept_ros.msg import ObstacleTrackArray

    rclpy.init()
    node = rclpy.create_node("bench_start")
    heard, stop = Heard(), threading.Event()
    node.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", heard.on_tracks, 10)
    message = cloud_message(points)
    kind = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(type(message), "/lidar/points", kind)

    def flow() -> None:
        while not stop.wait(0.1):
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threads = [threading.Thread(target=flow), threading.Thread(target=executor.spin)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        stop.set()
        executor.shutdown()
        for thread in threads:
            thread.join()
        node.destroy_node()
        rclpy.try_shutdown()


def cloud_message(points: int) -> Any:
    """PointCloud2 of a sweep: x, y, z, intensity."""
    import array

    from sensor_msgs.msg import PointCloud2, PointField

    cloud = sweep(points, 0)
    table = np.column_stack([cloud.points, np.full(points, 0.3, np.float32)]).astype(np.float32)
    names = ("x", "y", "z", "intensity")
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate(names)]
    data = array.array("B")
    data.frombytes(table.tobytes())
    message = PointCloud2(height=1, width=points, fields=fields, point_step=POINT_BYTES, is_dense=True, data=data)
    message.row_step, message.header.frame_id = POINT_BYTES * points, "lidar"
    return message


def stages_of(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage of a start in a process of its own, and of processor time in each."""
    from percept_ros.nodes.fleet import parameter_file

    parameters = parameter_file(config, folder / "stages.yaml")
    words = [sys.executable, str(HERE / "_start_stages.py"), str(time.monotonic_ns()), "--ros-args"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    words += ["--params-file", str(parameters)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    stages: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return stages


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Totals, then stages."""
    rows: list[list[object]] = [
        ["exec to first ObstacleTrackArray", 1e3 * result["first_track_s"]],
        ["best", 1e3 * result["best_s"]],
        ["worst", 1e3 * result["worst_s"]],
        ["exec to first track", 1e3 * result["first_object_s"]],
    ]
    rows.append(["processor time of the process until its detectors are loaded", result["cpu_ms"]])
    return ["step", "ms"], rows + [[f"  {name}", value] for name, value in result["stages_ms"].items()]


def plot(result: dict[str, Any], file: Path) -> None:
    """Stages one after the other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 2.4))
    left = 0.0
    for name, value in result["stages_ms"].items():
        axes.barh(["stages"], [value], left=left, label=name)
        left += value
    axes.axvline(1e3 * result["first_track_s"], color="black", linestyle="--", label="first array")
    axes.set_xlabel("ms after exec")
    axes.legend(ncol=3, fontsize=7)
    figure.savefig(file, dpi=120, bbox_inches="tight")
