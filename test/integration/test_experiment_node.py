"""An experiment in a live fusion node: another group by parameter, another plan by its file, a wrong plan changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

from ros_harness import call, ros_node, wait_for

from percept_ros.config import load_config
from percept_ros.nodes.fleet import Fleet, NodeProcess

pytestmark = pytest.mark.ros
MOUNTED = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 1.8, 0, 0, 0, 1.0]
PERIOD_NS = 100_000_000


def write_plan(path: Path, *groups: str) -> None:
    tree = {"name": "live", "control": groups[0], "groups": {name: {"chain": ["geometric"]} for name in groups}}
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(tree), encoding="utf-8")
    part.replace(path)


class Traffic:
    """Sends a sweep every 100 ms of asking, and knows the group of the last array."""

    def __init__(self, node: Any) -> None:
        from sensor_msgs.msg import PointCloud2

        from percept_ros.msg import ObstacleTrackArray
        from percept_ros.nodes.qos import SENSOR_QOS, TRACK_QOS

        self._node, self._sent_ns, self._turn, self.group = node, 0, 0, ""
        self._clouds = node.create_publisher(PointCloud2, "/lidar/points", SENSOR_QOS)
        node.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", self._on_tracks, TRACK_QOS)
        self._points = np.random.default_rng(0).uniform(-20, 20, (1000, 3)).astype(np.float32)

    def _on_tracks(self, message: Any) -> None:
        if message.newest_sensor_stamp.sec:  # not an array without sensors
            self.group = message.experiment_group

    def is_answered_by(self, group: str) -> bool:
        from sensor_msgs.msg import PointCloud2, PointField

        now = self._node.get_clock().now()
        if now.nanoseconds - self._sent_ns > PERIOD_NS:
            self._sent_ns, self._turn = now.nanoseconds, self._turn + 1
            table = self._points + np.float32(0.001 * self._turn)
            fields = [PointField(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate("xyz")]
            cloud = PointCloud2(height=1, width=len(table), fields=fields, point_step=12, row_step=12 * len(table))
            cloud.data = table.tobytes()
            cloud.header.frame_id, cloud.header.stamp = "lidar", now.to_msg()
            self._clouds.publish(cloud)
        return self.group == group


def set_group(node: Any, group: str) -> bool:
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters

    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=group)
    request = SetParameters.Request(parameters=[Parameter(name="experiment.group", value=value)])
    return bool(call(node, SetParameters, "/percept/fusion/set_parameters", request).results[0].successful)


def change(node: Any, number: int) -> bool:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request(transition=Transition(id=number))
    return bool(call(node, ChangeState, "/percept/fusion/change_state", request).success)


def test_parameters_and_the_plans_file_change_a_live_experiment(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    write_plan(plan, "first", "second")
    config = load_config(
        None,
        {
            "fusion": {"inputs": "direct"},
            "lidar": {"extrinsic": MOUNTED},
            "detector": {"isolation": "thread"},
            "budget": {"detect_ms": 1000.0},
            "prediction": {"model": ""},
            "experiment": {"plan": str(plan), "watch_s": 0.2},
        },
    )
    with ros_node() as node, Fleet([NodeProcess("fusion", "fusion")], config, tmp_path, "/percept"):
        assert change(node, 1)
        assert change(node, 3)
        traffic = Traffic(node)
        wait_for(lambda: traffic.is_answered_by("first"), "the control group")
        assert set_group(node, "second")
        wait_for(lambda: traffic.is_answered_by("second"), "the group of the parameter")
        assert set_group(node, "")
        wait_for(lambda: traffic.is_answered_by("first"), "the plan's own choice")
        plan.write_text("control: nobody", encoding="utf-8")
        log = tmp_path / "fusion.log"
        wait_for(
            lambda: not traffic.is_answered_by("none") and "the experiment stays as it was" in log.read_text(),
            "the wrong plan to be refused",
        )
        assert traffic.group == "first"
        write_plan(plan, "third", "second")
        wait_for(lambda: traffic.is_answered_by("third"), "the new plan's control group")
