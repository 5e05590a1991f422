"""Models that must not be used stand before a good one in the chain of a running fusion node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_folders import HOSTILE, hostile_model

from percept_ros.build import build_pipeline
from percept_ros.config import Config, load_config
from percept_ros.types import PointCloud, SensorSet

STAMP_NS = 1_000_000_000


def config(*chain: Path | str, isolation: str = "process") -> Config:
    return load_config(
        None,
        {
            "detector": {"chain": [str(name) for name in chain], "isolation": isolation},
            "fusion": {"inputs": "direct"},
            "lidar": {"extrinsic": [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 1.8, 0, 0, 0, 1.0]},
            "budget": {"detect_ms": 5000.0},
        },
    )


def sweep(points: np.ndarray) -> SensorSet:
    pose = np.eye(4)
    pose[2, 3] = 1.8
    cloud = PointCloud("lidar", STAMP_NS, "lidar", points)
    return SensorSet(STAMP_NS, cloud, {}, {}, (), {"lidar": pose}, np.eye(4))


@pytest.mark.parametrize("name", list(HOSTILE))
def test_refused_with_its_own_message_and_the_next_detects(tmp_path: Path, name: str) -> None:
    chain = config(hostile_model(tmp_path / name, name), "geometric", isolation="thread")
    with build_pipeline(chain) as pipeline:
        (refusal,) = pipeline.detector.refused
        assert HOSTILE[name][1] in refusal
        points = np.random.default_rng(0).uniform(-20, 20, (500, 3)).astype(np.float32)
        result = pipeline.process(sweep(points), STAMP_NS)
        assert pipeline.detector.rank == 1
        assert result.model.startswith("geometric")


@pytest.fixture(scope="module")
def probe() -> Iterator[Any]:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from ros_harness import ros_node

    with ros_node("hostile_probe") as node:
        yield node


@pytest.mark.ros
def test_the_node_goes_on_publishing_behind_all_of_them(tmp_path: Path, probe: Any) -> None:
    from lifecycle_msgs.msg import Transition
    from ros_harness import wait_for
    from sensor_msgs.msg import PointCloud2
    from test_nodes import cloud, transition

    from percept_ros.msg import ObstacleTrackArray
    from percept_ros.nodes.fleet import Fleet, NodeProcess
    from percept_ros.nodes.qos import SENSOR_QOS

    used = config(*(hostile_model(tmp_path / name, name) for name in HOSTILE), "geometric")
    arrays: list[Any] = []
    probe.create_subscription(ObstacleTrackArray, "/percept/fusion/tracks", arrays.append, 50)
    with Fleet([NodeProcess("fusion", "fusion")], used, tmp_path / "node", "/percept") as fleet:
        assert transition(probe, Transition.TRANSITION_CONFIGURE)
        assert transition(probe, Transition.TRANSITION_ACTIVATE)
        clouds = probe.create_publisher(PointCloud2, "/lidar/points", SENSOR_QOS)
        wait_for(lambda: clouds.get_subscription_count() > 0, "the node's subscription")

        def answered() -> bool:
            clouds.publish(cloud(probe))
            return sum(array.model_id.startswith("geometric") for array in arrays) >= 5

        wait_for(answered, "arrays by the next engine of the chain")
        assert fleet.processes["fusion"].poll() is None
    log = (tmp_path / "node" / "fusion.log").read_text()
    for name, (_, message) in HOSTILE.items():
        (line,) = [line for line in log.splitlines() if "is left out" in line and f"'{name}'" in line]
        assert message in line
