"""The processes that a supervisor starts itself: ``ros2 run percept_ros supervisor --ros-args -p spawn:=true``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rclpy.node import Node

from percept_ros.nodes import parameters
from percept_ros.nodes.fleet import Fleet, node_plan


def open_fleet(node: Node) -> Fleet | None:
    """Start the processes of the configuration that ``node`` was given, if its parameter ``spawn`` says so.

    Their logs go to the folder named by parameter ``logs`` (default: a new temporary folder). Raises ConfigError.
    """
    if not node.declare_parameter("spawn", False).value:
        return None
    logs = str(node.declare_parameter("logs", "").value)
    scout = Node(
        f"{node.get_name()}_scout",
        namespace=node.get_namespace(),
        context=node.context,
        automatically_declare_parameters_from_overrides=True,
        start_parameter_services=False,
        enable_rosout=False,
    )
    try:
        config = parameters.read(scout)
    finally:
        scout.destroy_node()
    plan = [item for item in node_plan(config) if item.executable != "supervisor"]
    folder = Path(logs) if logs else Path(tempfile.mkdtemp(prefix="percept-nodes-"))
    node.get_logger().info(f"starting {len(plan)} processes; their logs are in {folder}")
    return Fleet(plan, config, folder, node.get_namespace(), respawn=True).__enter__()
