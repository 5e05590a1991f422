"""Supervision seen from outside, through standard services and topics: bring-up, faults, recovery, steering, every fallback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_harness import call, ros_node, wait_for

from percept_ros.config import Config, load_config
from percept_ros.health.probes import answer, read_probes
from percept_ros.inference.manifest import find_model
from percept_ros.nodes.fleet import Fleet, NodeProcess
from percept_ros.types import Mode

pytestmark = pytest.mark.ros

NS = "/percept"
EXTRINSIC = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 1.8, 0, 0, 0, 1.0]
CAMERA = [0.0, 0, 1, 0.3, -1, 0, 0, 0, 0, -1, 0, 1.5, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def probe() -> Iterator[Any]:
    with ros_node("outside") as node:
        yield node


def config(**sections: Any) -> Config:
    base: dict[str, Any] = {
        "fusion": {"inputs": "direct"},
        "lidar": {"extrinsic": EXTRINSIC},
        "detector": {"chain": ["geometric"], "isolation": "thread"},
        "budget": {"detect_ms": 10000.0},
    }
    return load_config(None, {**base, **sections})


def states(node: Any) -> Callable[[], dict[str, Any]]:
    """The newest ~/state of the supervisor: name -> (message, values)."""
    from diagnostic_msgs.msg import DiagnosticArray

    from percept_ros.nodes.qos import LATCHED_QOS

    seen: list[Any] = []
    node.create_subscription(DiagnosticArray, f"{NS}/supervisor/state", seen.append, LATCHED_QOS)

    def newest() -> dict[str, Any]:
        if not seen:
            return {}
        return {s.name: (s.message, {v.key: v.value for v in s.values}) for s in seen[-1].status}

    return newest


def steer(node: Any, command: str, argument: str = "") -> Any:
    from percept_ros.srv import Steer

    return call(node, Steer, f"{NS}/supervisor/steer", Steer.Request(command=command, argument=argument), 90.0)


def is_there(newest: Callable[[], dict[str, Any]], label: str) -> Callable[[], bool]:
    return lambda: newest().get("fusion", ("",))[0] == label


def test_steering_a_dead_process_and_a_hanging_one(probe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One supervisor starts the processes itself, as a service would: steered, then a kill -9, then a process that hangs."""
    monkeypatch.setenv("PERCEPT_PROBES", str(tmp_path / "probes"))
    wanted = config()
    boss = NodeProcess("supervisor", "supervisor", {"spawn": True, "logs": str(tmp_path / "logs"), "nodes": ["fusion"]})
    newest = states(probe)
    with Fleet([boss], wanted, tmp_path, NS):
        wait_for(is_there(newest, "active"), "fusion to be active", 90.0)
        check_steering(probe, newest)
        check_probes(tmp_path / "probes")
        check_status_verb()
        pid = int(newest()["fusion"][1]["pid"])
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: int(newest()["fusion"][1]["respawned"]) == 1, "a new process", 60.0)
        wait_for(is_there(newest, "active"), "the new process to be active", 90.0)
        pid = int(newest()["fusion"][1]["pid"])
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: int(newest()["fusion"][1]["respawned"]) == 2, "the hanging process to be replaced", 60.0)
        wait_for(is_there(newest, "active"), "its successor to be active", 90.0)
        assert int(newest()["fusion"][1]["recoveries"]) >= 1
    assert not list((tmp_path / "probes").glob("*.probe")), "states are taken away at the end"


def check_steering(probe: Any, newest: Callable[[], dict[str, Any]]) -> None:
    done = steer(probe, "pause")
    assert done.accepted, done.message
    assert done.message == "paused: fusion"
    wait_for(is_there(newest, "inactive"), "fusion to be paused")
    held = steer(probe, "set-mode", "geometric")
    assert held.accepted
    assert held.message == "held at GEOMETRIC or worse"
    assert steer(probe, "set-mode", "auto").message == "mode is free again"
    done = steer(probe, "resume")
    assert done.accepted, done.message
    refused = steer(probe, "set-mode", "turbo")
    assert not refused.accepted
    assert "expected auto, REDUCED" in refused.message
    assert not steer(probe, "dance").accepted
    missing = steer(probe, "reload-model", "no_such_model")
    assert not missing.accepted
    assert "no_such_model" in missing.message
    exchanged = steer(probe, "reload-model", "geometric")
    assert exchanged.accepted, exchanged.message
    assert exchanged.message == "geometric took over from geometric"


def check_probes(folder: Path) -> None:
    import time

    def read() -> dict[str, Any]:
        return {state.source: state for state in read_probes(folder).values()}

    wait_for(lambda: answer(read_probes(folder), "liveness", time.monotonic_ns())[0], "liveness of both processes")
    wait_for(lambda: set(read()) == {"supervisor", "fusion"} and read()["supervisor"].readiness.ok, "readiness")
    wait_for(lambda: "STALE" in read()["fusion"].readiness.reason, "an active node without sensors to be STALE")
    assert not read()["fusion"].readiness.ok


def check_status_verb() -> None:
    words = [sys.executable, "-m", "percept_ros.cli.main", "status", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout.splitlines()[-1])
    assert tree["nodes"]["fusion"]["state"] == "active"
    assert tree["perception"]["mode"] == "STALE"
    steered = subprocess.run([*words, "set-mode", "auto"], capture_output=True, text=True, timeout=120, check=False)
    assert steered.returncode == 0, steered.stderr
    assert json.loads(steered.stdout.splitlines()[-1])["accepted"]


def test_on_error_bounded_retries_and_mending_from_outside(probe: Any, tmp_path: Path) -> None:
    """A fault in activation goes through on_error; the supervisor tries a bounded number of times, then waits for ~/start."""
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters
    from std_srvs.srv import Trigger

    broken = config(lidar={"extrinsic": EXTRINSIC, "topic": "/no topic has blanks"})
    plan = [
        NodeProcess("fusion", "fusion"),
        NodeProcess("supervisor", "supervisor", {"nodes": ["fusion"], "retries": 2}),
    ]
    newest = states(probe)
    with Fleet(plan, broken, tmp_path, NS):
        wait_for(lambda: newest().get("fusion", ("", {}))[1].get("tries left") == "0", "all tries to be used", 90.0)
        wait_for(is_there(newest, "unconfigured"), "on_error to have cleaned up")
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="/lidar/points")
        request = SetParameters.Request(parameters=[Parameter(name="lidar.topic", value=value)])
        assert call(probe, SetParameters, f"{NS}/fusion/set_parameters", request).results[0].successful
        assert newest()["fusion"][0] == "unconfigured", "it stays down until it is told to start"
        assert call(probe, Trigger, f"{NS}/supervisor/start", Trigger.Request()).success
        wait_for(is_there(newest, "active"), "the mended node to be active", 90.0)
    log = (tmp_path / "fusion.log").read_text()
    assert "activate failed" in log
    assert "error in state" in log
    assert "Traceback" in log, "the trace is logged"
    assert "stays down after 2 tries" in (tmp_path / "supervisor.log").read_text()


class Sensors:
    """A LiDAR and a camera of this process; what they send can be changed while they run."""

    def __init__(self, node: Any) -> None:
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2

        from percept_ros.nodes.qos import SENSOR_QOS

        self.node, self.lidar, self.camera, self.frozen = node, True, True, False
        self._clouds = node.create_publisher(PointCloud2, "/lidar/points", SENSOR_QOS)
        self._images = node.create_publisher(Image, "/front/image", SENSOR_QOS)
        self._infos = node.create_publisher(CameraInfo, "/front/camera_info", SENSOR_QOS)
        self._stop, self._turn = threading.Event(), 0
        self._rng = np.random.default_rng(0)
        self._picture = self._rng.integers(0, 255, (90, 160, 3), np.uint8)
        self._points = self._rng.uniform(-20, 20, (3000, 4)).astype(np.float32)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self._turn += 1
            stamp = self.node.get_clock().now().to_msg()
            if self.lidar:
                self._send_cloud(stamp)
            if self.camera:
                self._send_image(stamp)

    def _send_cloud(self, stamp: Any) -> None:
        from sensor_msgs.msg import PointCloud2, PointField

        table = self._points + np.float32(0.001 * self._turn)
        names = ("x", "y", "z", "intensity")
        fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)]
        message = PointCloud2(
            height=1, width=len(table), fields=fields, point_step=16, row_step=16 * len(table), data=table.tobytes()
        )
        message.header.frame_id, message.header.stamp = "lidar", stamp
        self._clouds.publish(message)

    def _send_image(self, stamp: Any) -> None:
        from sensor_msgs.msg import CameraInfo, Image

        info = CameraInfo(width=160, height=90, k=[100.0, 0.0, 80.0, 0.0, 100.0, 45.0, 0.0, 0.0, 1.0])
        info.r, info.distortion_model = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], "plumb_bob"
        info.p = [100.0, 0.0, 80.0, 0.0, 0.0, 100.0, 45.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        picture = self._picture if self.frozen else self._picture ^ np.uint8(self._turn % 256)
        image = Image(width=160, height=90, encoding="bgr8", step=480, data=picture.tobytes())
        for message in (info, image):
            message.header.frame_id, message.header.stamp = "front_optical", stamp
        self._infos.publish(info)
        self._images.publish(image)


def drilled(folder: Path) -> Path:
    """lidar_pillars with a switch for faults."""
    found = find_model("lidar_pillars").resolve()
    folder.mkdir()
    tree = yaml.safe_load((found / "model.yaml").read_text())
    tree["preprocess"] = {"kind": "drill", "params": {"model": str(found)}}
    for file in found.iterdir():
        if file.suffix == ".onnx":
            (folder / file.name).symlink_to(file)
    (folder / "model.yaml").write_text(yaml.safe_dump(tree))
    return folder


def camera_model(folder: Path) -> Path:
    """A 2D model of YOLOv8's shapes whose whole network is one pooling: it sees nothing, quickly."""
    import hashlib

    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    nodes = [
        helper.make_node("AveragePool", ["images"], ["c"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Concat", ["c", "c"], ["d"], axis=1),
        helper.make_node("Reshape", ["d", "s"], ["output0"]),
    ]
    weights = [numpy_helper.from_array(np.int64([0, 6, -1]), "s")]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, 64, 96])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["B", 6, 96])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(made, str(folder / "small.onnx"))
    shape = {"images": [-1, 3, 64, 96], "output0": [-1, 6, 96]}
    box = {"width_px": 96, "height_px": 64, "channels": "rgb", "scale": 1 / 255, "anchor": "centre"}
    tree = {
        "name": "small",
        "version": "1",
        "kind": "detector2d",
        "classes": ["person", "car"],
        "class_map": {"person": "pedestrian", "car": "car"},
        "inputs": [{"name": "images", "shape": shape["images"], "dtype": "float32"}],
        "outputs": [{"name": "output0", "shape": shape["output0"], "dtype": "float32"}],
        "preprocess": {"kind": "letterbox", "params": box},
        "postprocess": {"kind": "yolov8", "params": {"score_threshold": 0.99}},
        "artefacts": [
            {
                "file": "small.onnx",
                "format": "onnx",
                "sha256": hashlib.sha256((folder / "small.onnx").read_bytes()).hexdigest(),
            }
        ],
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(tree))
    return folder


def test_every_fallback_is_seen_and_left_again(probe: Any, tmp_path: Path) -> None:
    from percept_ros.msg import ObstacleTrackArray, PerceptionStatus
    from percept_ros.nodes.status import STATUS_QOS

    model = drilled(tmp_path / "drilled")
    wanted = config(
        cameras={"front": {"topic": "/front/image", "extrinsic": CAMERA}},
        detector={
            "chain": [str(model), "lidar_pillars", "geometric"],
            "camera_model": str(camera_model(tmp_path / "camera_model")),
            "isolation": "thread",
        },
        sync={"deadline_ms": 400.0},
        health={
            "pulse_ms": 1500.0,
            "coast_limit_ms": 3000.0,
            "leave_active_s": 0.5,
            "probation_ms": 0.0,
            "breaker_open_ms": 100.0,
            "breaker_max_open_ms": 200.0,
            "shadow_period_s": 0.0,
            "semantic": {"weights": {"agreement": 0.0}},  # what the little network sees is chance
        },
    )
    arrays: list[Any] = []
    status: list[Any] = []
    probe.create_subscription(ObstacleTrackArray, f"{NS}/fusion/tracks", arrays.append, 50)
    probe.create_subscription(PerceptionStatus, f"{NS}/fusion/status", status.append, STATUS_QOS)
    newest = states(probe)
    plan = [NodeProcess("fusion", "fusion"), NodeProcess("supervisor", "supervisor", {"nodes": ["fusion"]})]

    def seen(mode: Mode, of: list[Any] = arrays) -> Callable[[], bool]:
        return lambda: bool(of) and of[-1].mode == mode

    def cause_has(text: str) -> Callable[[], bool]:
        return lambda: bool(status) and text in status[-1].cause

    with Fleet(plan, wanted, tmp_path, NS), Sensors(probe) as sensors:
        wait_for(seen(Mode.FULL), "FULL", 120.0)
        wait_for(lambda: sum(a.mode == Mode.FULL for a in arrays) >= 8, "the camera's noise to be known")
        sensors.frozen = True
        wait_for(seen(Mode.LIDAR_ONLY), "LIDAR_ONLY with a frozen camera")
        wait_for(cause_has("front frozen"), "the cause to be named")
        assert arrays[-1].absent_sensors == ["front: frozen"]
        sensors.frozen = False
        wait_for(seen(Mode.FULL), "FULL after the camera moves again")
        sensors.camera = False
        wait_for(seen(Mode.LIDAR_ONLY), "LIDAR_ONLY without the camera")
        sensors.camera = True
        (model / "drill.command").write_text("exception 9223372036854775807")
        wait_for(seen(Mode.FALLBACK_MODEL), "FALLBACK_MODEL while the first model fails")
        assert any(text.endswith(": open") for text in status[-1].breakers) or arrays[-1].model_id.startswith("lidar_p")
        (model / "drill.command").unlink()
        wait_for(seen(Mode.FULL), "FULL after the model is well")
        assert steer(probe, "set-mode", "GEOMETRIC").accepted
        wait_for(seen(Mode.GEOMETRIC), "GEOMETRIC when held there")
        wait_for(lambda: arrays[-1].model_id == "geometric", "no network to be used")
        assert steer(probe, "set-mode", "auto").accepted
        wait_for(seen(Mode.FULL), "FULL after the hold")
        sensors.lidar = False
        wait_for(seen(Mode.CAMERA_ONLY), "CAMERA_ONLY without the LiDAR")
        sensors.camera = False
        wait_for(seen(Mode.COASTING), "COASTING without any sensor")
        wait_for(seen(Mode.STALE), "STALE beyond the coasting limit")
        assert not arrays[-1].tracks
        wait_for(lambda: newest()["fusion"][0] != "active", "the node to leave Active", 60.0)
        sensors.lidar = sensors.camera = True
        wait_for(seen(Mode.FULL), "FULL after all", 90.0)
    assert "Traceback" not in (tmp_path / "fusion.log").read_text()
