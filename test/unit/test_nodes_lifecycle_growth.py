"""Cycles of the lifecycle leave nothing behind in rclpy's own books."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

MOUNTED = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.8, 0.0, 0.0, 0.0, 1.0]
CYCLES = 6


@pytest.fixture
def context() -> Iterator[Any]:
    from percept_ros.nodes.realtime import isolate_dds

    isolate_dds()
    import rclpy

    made = rclpy.Context()
    rclpy.init(context=made)
    yield made
    rclpy.try_shutdown(context=made)


@pytest.mark.parametrize("kind", ["lidar", "camera"])
def test_cycles_of_the_lifecycle_leave_no_objects(context: Any, kind: str) -> None:
    from rclpy.parameter import Parameter

    from percept_ros.nodes.camera import CameraNode
    from percept_ros.nodes.lidar import LidarNode

    given = {"lidar.extrinsic": MOUNTED, "cameras.front.topic": "/front/image", "cameras.front.extrinsic": MOUNTED}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    node: Any = (LidarNode if kind == "lidar" else CameraNode)(context=context, parameter_overrides=overrides)
    try:
        counts = []
        for _ in range(CYCLES):
            for change in ("configure", "activate", "deactivate", "cleanup"):
                getattr(node, f"trigger_{change}")()
            gc.collect()
            books = len(node._managed_entities), len(node.default_callback_group.entities)
            counts.append((*books, len(gc.get_objects())))
    finally:
        node.close()
        node.destroy_node()
    assert counts[-1][:2] == counts[1][:2]
    assert counts[-1][2] - counts[1][2] < CYCLES, "less than one object a cycle (it was thirty)"
