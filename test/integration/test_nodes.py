"""The real nodes as separate processes on real DDS: a simulated drive goes in, tracks come out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

import rclpy
from ros_harness import call, ros_node, wait_for

from percept_ros.config import load_config
from percept_ros.nodes.fleet import Fleet, NodeProcess, node_plan
from percept_ros.nodes.realtime import replay_realtime
from percept_ros.replay.simulated import record_drive
from percept_ros.simulate.drive import SimulateConfig

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bag = tmp_path_factory.mktemp("drive") / "drive.mcap"
    config = SimulateConfig(seconds=4.0, cameras=2, beams=32, width_px=320, height_px=180)
    record_drive(bag, config, seed=5, progress=lambda done, total: None)
    return bag


@pytest.mark.parametrize("composed", [False, True], ids=["processes", "container"])
def test_a_drive_through_the_nodes_gives_tracks(drive: Path, tmp_path: Path, composed: bool) -> None:
    config = load_config(None, {"budget": {"detect_ms": 1000.0, "total_ms": 2000.0}})
    result = replay_realtime(drive, config, tmp_path, lambda done, total: None, pictures=1, composed=composed)
    summary = result.summary
    logs = "".join(f.read_text() for f in (tmp_path / "nodes").glob("*.log"))
    assert summary["frames_in"] == 40
    assert summary["frames_out"] >= 15, logs  # a crowded machine may drop some; none may be wrong
    assert summary["tracks_confirmed"] >= 1, logs
    assert summary["latency_ms"]["p50"] > 0.0
    assert summary["mot"]["matches"] > 0
    assert summary["modes"].get("full", 0) + summary["modes"].get("reduced", 0) > 0, summary["modes"]
    assert (tmp_path / "tracks.mcap").stat().st_size > 1000
    assert "Traceback" not in logs


@pytest.fixture(scope="module")
def probe() -> Iterator[Any]:
    with ros_node() as node:
        yield node


@pytest.fixture
def direct(tmp_path: Path, probe: Any) -> Iterator[tuple[Any, Fleet]]:
    """A fusion node alone, reading the sensor topics itself, unconfigured."""
    identity = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 1.8, 0, 0, 0, 1.0]
    config = load_config(
        None,
        {
            "fusion": {"inputs": "direct"},
            "lidar": {"extrinsic": identity},
            "cameras": {"front": {"topic": "/front/image", "extrinsic": identity}},
            "budget": {"detect_ms": 1000.0},
        },
    )
    with Fleet([NodeProcess("fusion", "fusion")], config, tmp_path, "/percept") as fleet:
        yield probe, fleet


def transition(node: Any, number: int) -> bool:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request(transition=Transition(id=number))
    return bool(call(node, ChangeState, "/percept/fusion/change_state", request).success)


def state_of(node: Any) -> str:
    from lifecycle_msgs.srv import GetState

    return str(call(node, GetState, "/percept/fusion/get_state", GetState.Request()).current_state.label)


def test_lifecycle_and_parameters_from_outside(direct: tuple[Any, Fleet]) -> None:
    from lifecycle_msgs.msg import Transition
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import DescribeParameters, SetParameters

    node, _ = direct
    described = call(
        node,
        DescribeParameters,
        "/percept/fusion/describe_parameters",
        DescribeParameters.Request(names=["sync.tolerance_ms"]),
    ).descriptors[0]
    assert described.floating_point_range[0].to_value == 1000.0
    assert "pivot" in described.description

    def set_tolerance(value: float) -> Any:
        parameter = Parameter(
            name="sync.tolerance_ms", value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        )
        request = SetParameters.Request(parameters=[parameter])
        return call(node, SetParameters, "/percept/fusion/set_parameters", request).results[0]

    assert set_tolerance(40.0).successful
    assert not set_tolerance(5000.0).successful
    for number, label in (
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    ):
        assert transition(node, number)
        assert state_of(node) == label
    assert not transition(node, Transition.TRANSITION_CONFIGURE), "an active node cannot be configured"
    assert state_of(node) == "active"
    refused = set_tolerance(45.0)
    assert not refused.successful
    assert "deactivate, cleanup first" in refused.reason
    assert transition(node, Transition.TRANSITION_DEACTIVATE)
    assert transition(node, Transition.TRANSITION_CLEANUP)
    assert state_of(node) == "unconfigured"


def cloud(node: Any, points: int = 500, frame_id: str = "lidar") -> Any:
    import numpy as np
    from sensor_msgs.msg import PointCloud2, PointField

    table = np.random.default_rng(0).uniform(-20, 20, (points, 4)).astype(np.float32)
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(("x", "y", "z", "intensity"))]
    message = PointCloud2(
        height=1, width=points, fields=fields, point_step=16, row_step=16 * points, data=table.tobytes()
    )
    message.header.frame_id, message.header.stamp = frame_id, node.get_clock().now().to_msg()
    return message


def test_bad_messages_are_refused_counted_and_the_flow_goes_on(direct: tuple[Any, Fleet]) -> None:
    from builtin_interfaces.msg import Time
    from lifecycle_msgs.msg import Transition
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    from percept_ros.msg import ObstacleTrackArray, PerceptionStatus
    from percept_ros.nodes.qos import SENSOR_QOS
    from percept_ros.nodes.status import STATUS_QOS

    node, _ = direct
    arrays: list[Any] = []
    status: list[Any] = []
    node.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", arrays.append, 10)
    node.create_subscription(PerceptionStatus, "/percept/fusion/status", status.append, STATUS_QOS)
    assert transition(node, Transition.TRANSITION_CONFIGURE)
    assert transition(node, Transition.TRANSITION_ACTIVATE)
    clouds = node.create_publisher(PointCloud2, "/lidar/points", SENSOR_QOS)
    images = node.create_publisher(Image, "/front/image", SENSOR_QOS)
    infos = node.create_publisher(CameraInfo, "/front/camera_info", SENSOR_QOS)
    wait_for(lambda: all(p.get_subscription_count() for p in (clouds, images, infos)), "subscriptions")

    def drops() -> dict[str, int]:
        return dict(zip(status[-1].drop_reasons, status[-1].drop_counts, strict=True)) if status else {}

    def refused(publish: Any, key: str) -> None:
        # best effort: a message sent before both ends have matched may be lost, so it is sent until it is counted
        wait_for(lambda: (publish(), any(name.startswith(key) for name in drops()))[1], f"a drop counted as {key}")

    cut = cloud(node)
    cut.data = cut.data[:100]
    refused(lambda: clouds.publish(cut), "lidar/")
    impossible = cloud(node)
    impossible.fields[2].offset = 4000
    refused(lambda: clouds.publish(impossible), "lidar/bad_offset")
    old = cloud(node)
    old.header.stamp = Time()
    refused(lambda: clouds.publish(old), "lidar/zero_stamp")
    ahead = cloud(node)
    ahead.header.stamp.sec += 3600
    refused(lambda: clouds.publish(ahead), "lidar/future_stamp")
    infos.publish(CameraInfo())
    refused(lambda: images.publish(Image(height=2, width=2, encoding="no_such", step=6, data=bytes(12))), "front/")
    seen = len(arrays)
    wait_for(lambda: (clouds.publish(cloud(node)), len(arrays) > seen)[1], "an array after all that")
    assert arrays[-1].mode != ObstacleTrackArray.MODE_FULL
    assert any(text.startswith("front: ") for text in arrays[-1].absent_sensors)


def test_killed_engine_worker_is_replaced_while_tracks_go_on(drive: Path, tmp_path: Path, probe: Any) -> None:
    import threading

    import psutil

    from percept_ros.msg import ObstacleTrackArray
    from percept_ros.nodes.player import BagPlayer
    from percept_ros.nodes.realtime import with_transports
    from percept_ros.replay.bag_reader import BagReader
    from percept_ros.replay.discovery import discover

    with BagReader(drive) as reader:
        config = load_config(None, {"budget": {"detect_ms": 1000.0}})
        used = with_transports(discover(reader.topics, config).configured(config), reader.topics)
        arrays: list[Any] = []
        killed = threading.Event()
        probe.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", arrays.append, 50)
        with Fleet(node_plan(used), used, tmp_path, "/percept") as fleet:
            player = BagPlayer()
            player.advertise(reader.topics)
            wait_for(lambda: probe.count_publishers("/percept/fusion/status") > 0, "the fusion node to be active")

            def kill(done: int) -> None:
                if len(arrays) > 10 and not killed.is_set():
                    workers = psutil.Process(fleet.processes["fusion"].pid).children(recursive=True)
                    os.kill(workers[0].pid, signal.SIGKILL)
                    killed.set()

            player.wait_for_listeners(5.0, threading.Event())
            player.play(reader, threading.Event(), kill)
            player.destroy_node()
            assert killed.is_set()
            assert fleet.processes["fusion"].poll() is None
        assert len(arrays) >= 15
        good = (ObstacleTrackArray.MODE_FULL, ObstacleTrackArray.MODE_REDUCED)
        assert any(array.mode in good for array in arrays[-15:]), [array.mode for array in arrays]
    assert rclpy.ok()


def test_a_lidar_node_that_was_recovered_is_read_on(drive: Path, tmp_path: Path, probe: Any) -> None:
    """Cleaned up and configured again in the middle of a drive, as a supervisor does with a hanging node.

    There is no supervisor here: it would not leave this to the test.
    """
    import threading

    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    from percept_ros.msg import ObstacleTrackArray
    from percept_ros.nodes.player import BagPlayer
    from percept_ros.nodes.realtime import with_transports
    from percept_ros.replay.bag_reader import BagReader
    from percept_ros.replay.discovery import discover

    up = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
    down = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)

    def change(name: str, *steps: int) -> None:
        for step in steps:
            request = ChangeState.Request(transition=Transition(id=step))
            assert call(probe, ChangeState, f"/percept/{name}/change_state", request).success

    with BagReader(drive) as reader:
        config = load_config(None, {"detector": {"chain": ["geometric"]}, "budget": {"detect_ms": 5000.0}})
        used = with_transports(discover(reader.topics, config).configured(config), reader.topics)
        arrays: list[Any] = []
        recovered_at: list[int] = []
        probe.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", arrays.append, 50)
        plan = [item for item in node_plan(used) if item.executable in ("camera", "lidar", "fusion")]
        with Fleet(plan, used, tmp_path, "/percept"):
            player = BagPlayer()
            player.advertise(reader.topics)
            for item in plan:
                change(item.name, *up)

            def recover(done: int) -> None:
                if len(arrays) >= 3 and not recovered_at:
                    change("lidar", *down, *up)
                    recovered_at.append(len(arrays))

            player.wait_for_listeners(5.0, threading.Event())
            player.play(reader, threading.Event(), recover)
            player.destroy_node()
        logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
        assert recovered_at, (len(arrays), logs)
        after = arrays[recovered_at[0] :]
        with_lidar = [array for array in after if not any(text.startswith("lidar") for text in array.absent_sensors)]
        assert with_lidar, (logs, [array.absent_sensors for array in after])
