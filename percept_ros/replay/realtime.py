"""Replay in real time through the DDS nodes: the seam to ``nodes``, which alone imports rclpy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from percept_ros.config import Config
from percept_ros.errors import SetupError

PLAYER = "percept_ros.nodes.realtime"


def replay_realtime(bag: Path, config: Config, out: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Play ``bag`` into the real nodes and gather their tracks; returns the summary keys of a replay.

    Raises SetupError where ROS 2 is not there.
    """
    try:
        player = importlib.import_module(PLAYER)
    except ImportError as exc:
        raise SetupError(
            f"real-time replay needs ROS 2 (rclpy): {exc}; run percept doctor, or leave --realtime out"
        ) from exc
    summary: dict[str, Any] = player.replay_realtime(bag, config, out, progress)
    return summary
