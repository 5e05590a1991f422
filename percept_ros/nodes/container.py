"""All nodes in one process, for small machines and debugging: cameras, LiDAR, fusion and their supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.parameter import Parameter

from percept_ros.nodes import parameters
from percept_ros.nodes.fusion import FusionNode
from percept_ros.nodes.lidar import LidarNode
from percept_ros.nodes.names import CAMERA_PREFIX as PREFIX
from percept_ros.nodes.supervisor import Supervisor


def make() -> Sequence[Any]:
    """The nodes that the parameters name.

    No node comes and goes before them: with the last node of a process its DDS participant ends, and the next one has the
    same name (GUID). Others drop what it announces until they have heard that the first has gone: seconds in one start of three.
    """
    direct = FusionNode()
    names = parameters.camera_names(direct)
    sensors: list[Any] = _cameras(names)
    managed = [PREFIX + name for name in names] + ["lidar", "fusion"]
    supervisor = Supervisor(parameter_overrides=[Parameter("nodes", value=managed)])
    return [*sensors, LidarNode(), direct, supervisor]


def _cameras(names: Sequence[str]) -> list[Any]:
    """A node for each camera. Without any, what decodes images is not imported either."""
    if not names:
        return []
    from percept_ros.nodes.camera import CameraNode

    return [CameraNode(PREFIX + name) for name in names]
