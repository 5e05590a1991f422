"""Starts perception on a vehicle: one process a node, or everything in one process with composed:=true.

ros2 launch percept_ros percept.launch.py params_file:=/path/vehicle.yaml
ros2 launch percept_ros percept.launch.py composed:=true autostart:=false
"""

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("percept_ros"))
ARGUMENTS = {
    "params_file": (str(SHARE / "config" / "percept.yaml"), "parameters of all nodes (YAML)"),
    "namespace": ("percept", "namespace of all nodes"),
    "composed": ("false", "true = all nodes in one process"),
    "autostart": ("true", "true = the supervisor configures and activates the nodes"),
    "log_level": ("info", "debug, info, warn, error"),
    "respawn": ("true", "true = a process that ends is started again"),
    "use_sim_time": ("false", "true = time comes from /clock"),
    "rviz": ("false", "true = open RViz with the package's view"),
}


def settings(params_file: str) -> dict:
    """The nested settings of a parameter file."""
    tree = yaml.safe_load(Path(params_file).read_text(encoding="utf-8")) or {}
    return next((v["ros__parameters"] for v in tree.values() if isinstance(v, dict) and "ros__parameters" in v), tree)


def nodes(context: LaunchContext) -> list[Node]:
    """The nodes that the arguments ask for."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    parameters = [value["params_file"], {"use_sim_time": value["use_sim_time"] == "true"}]
    respawn = value["respawn"] == "true"

    def node(executable: str, name: str | None = None, extra: dict | None = None) -> Node:
        return Node(
            package="percept_ros",
            executable=executable,
            name=name,
            namespace=value["namespace"],
            parameters=[*parameters, extra or {}],
            arguments=["--ros-args", "--log-level", value["log_level"]],
            respawn=respawn,
            respawn_delay=0.5,
            output="screen",
            emulate_tty=True,
        )

    autostart = value["autostart"] == "true"
    given = settings(value["params_file"])
    named = sorted(given.get("cameras", {}))
    standby = ["fusion_standby"] if given.get("fusion", {}).get("standby", False) else []
    managed = [f"camera_{name}" for name in named] + ["lidar", "fusion", *standby]
    supervisor = {"autostart": autostart}
    if value["composed"] == "true":
        # names of the nodes inside are fixed by the container, so no name is remapped here
        started = [node("container", extra=supervisor)]
    else:
        started = [node("camera", f"camera_{name}") for name in named]
        started += [node("lidar", "lidar"), node("fusion", "fusion"), *(node("standby", name) for name in standby)]
        started += [node("supervisor", "supervisor", {**supervisor, "nodes": managed})]
    if value["rviz"] == "true":
        view = str(SHARE / "config" / "percept.rviz")
        started.append(Node(package="rviz2", executable="rviz2", arguments=["-d", view], output="log"))
    return started


def generate_launch_description() -> LaunchDescription:
    """Arguments and nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])
