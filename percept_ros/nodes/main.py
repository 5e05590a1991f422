"""Entry points of the node executables: ros2 run percept_ros {camera, lidar, fusion, supervisor, container, player}."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from percept_ros.nodes.lean import lean_imports

NODES: dict[str, str] = {
    "camera": "percept_ros.nodes.camera:make",
    "lidar": "percept_ros.nodes.lidar:make",
    "fusion": "percept_ros.nodes.fusion:make",
    "standby": "percept_ros.nodes.standby:make",
    "supervisor": "percept_ros.nodes.supervisor:make",
    "gateway": "percept_ros.nodes.gateway:make",
    "container": "percept_ros.nodes.container:make",
}
"""Executable -> function that makes its nodes (called after rclpy is initialised)."""


DISCOVERY = "config/fastdds_discovery.xml"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def quick_discovery() -> None:
    """Have Fast DDS announce this process often, unless the environment names a profile. Before rclpy is initialised."""
    from percept_ros.share import share

    if not any(name in os.environ for name in PROFILE_VARIABLES):
        os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(share(DISCOVERY))))


def main(name: str, argv: list[str] | None = None) -> int:
    """Run one executable until it is told to stop; returns the exit status."""
    if name in ("fusion", "container"):
        from percept_ros.runtime.spawn import prepare, prepared

        if not prepared():
            prepare()  # the detector's worker starts while this process still imports
    quick_discovery()
    lean_imports()
    from percept_ros.nodes.spin import spin

    module, _, attribute = NODES[name].partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)

    def nodes() -> Sequence[Any]:
        return tuple(make())

    return spin(nodes, sys.argv if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[1:]))
