"""Plays a bag into the nodes and shows it in RViz.

ros2 launch percept_ros replay.launch.py bag:=drive.mcap params_file:=drive.yaml
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(get_package_share_directory("percept_ros"))


def generate_launch_description() -> LaunchDescription:
    """The bag, the nodes with simulated time, RViz."""
    arguments = [
        DeclareLaunchArgument("bag", description="rosbag2 folder or file to play"),
        DeclareLaunchArgument("rate", default_value="1.0", description="pace of the bag"),
        DeclareLaunchArgument(
            "params_file", default_value=str(SHARE / "config" / "percept.yaml"), description="parameters"
        ),
        DeclareLaunchArgument("rviz", default_value="true", description="open RViz"),
        DeclareLaunchArgument("composed", default_value="true", description="all nodes in one process"),
    ]
    play = ExecuteProcess(
        cmd=[
            "ros2",
            "bag",
            "play",
            LaunchConfiguration("bag"),
            "--clock",
            "200",
            "--rate",
            LaunchConfiguration("rate"),
            "--delay",
            "5",
        ],
        output="screen",
    )
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "percept.launch.py")),
        launch_arguments={
            "params_file": LaunchConfiguration("params_file"),
            "use_sim_time": "true",
            "rviz": LaunchConfiguration("rviz"),
            "composed": LaunchConfiguration("composed"),
        }.items(),
    )
    return LaunchDescription([*arguments, nodes, play])
