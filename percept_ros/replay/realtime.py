"""Replay in real time through the DDS nodes: the seam to ``nodes``, which alone imports rclpy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from percept_ros.config import Config
from percept_ros.errors import SetupError
from percept_ros.replay.runner import ReplayResult

PLAYER = "percept_ros.nodes.realtime"


def replay_realtime(
    bag: Path,
    config: Config,
    out: Path,
    progress: Callable[[int, int], None],
    *,
    pictures: int = 10,
    composed: bool = False,
) -> ReplayResult:
    """Play ``bag`` into the real nodes and gather their tracks; the result is that of a replay.

    composed: all nodes in one process.

    Raises SetupError where ROS 2 is not there.
    """
    try:
        player = importlib.import_module(PLAYER)
    except ImportError as exc:
        raise SetupError(
            f"real-time replay needs ROS 2 (rclpy): {exc}; run percept doctor, or leave --realtime out"
        ) from exc
    result: ReplayResult = player.replay_realtime(bag, config, out, progress, pictures=pictures, composed=composed)
    return result
