"""A process that has loaded everything a node needs and waits to be told which node it is.

A node that dies is back as soon as its successor has imported rclpy, numpy and the package: most of a second of processor
time. A fleet keeps one such process ready, so that only what is the node's own is left to do.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_PR_SET_NAME = 15
_NODES = ("camera", "lidar", "fusion", "standby")
"""Executables that a spare can become."""
_MESSAGES = (
    "rcl_interfaces.msg:ParameterEvent",
    "rcl_interfaces.msg:Log",
    "lifecycle_msgs.msg:TransitionEvent",
    "lifecycle_msgs.srv:ChangeState",
    "sensor_msgs.msg:PointCloud2",
    "sensor_msgs.msg:Image",
    "sensor_msgs.msg:CameraInfo",
    "percept_ros.msg:FrameReady",
    "percept_ros.msg:ObstacleTrackArray",
    "percept_ros.msg:PerceptionStatus",
    "percept_ros.srv:Steer",
)
"""Types whose libraries every node opens."""
_WORKER_MODULES = ("percept_ros.detectors.process", "percept_ros.detectors.learned", "onnxruntime")


class Spare:
    """The side of whoever starts nodes. Nothing here waits."""

    def __init__(self, log: IO[bytes], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "percept_ros.nodes.spare"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,
        )

    def become(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Have it run a node; None when it has ended. words: of percept_ros.nodes.main; log: where its output goes on."""
        order = {"words": list(words), "log": str(log), "environment": dict(environment)}
        stdin = self._process.stdin
        if stdin is None or self._process.poll() is not None:
            return None
        try:
            with stdin:
                stdin.write(json.dumps(order).encode() + b"\n")
        except OSError:
            return None
        return self._process

    def close(self) -> None:
        """End it: it was not needed. Safe to call after ``become``, which then does nothing."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.kill()
            self._process.wait()


def can_become(words: Sequence[str]) -> bool:
    """Whether a spare has loaded what a node process with these words needs."""
    return bool(words) and words[0] in _NODES


def main() -> int:
    """Load, wait for the order, be that node; 0 when nobody wants it any more."""
    from percept_ros.nodes.main import main as run
    from percept_ros.runtime import spawn

    spawn.prepare(modules=_WORKER_MODULES)
    _load()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    order = json.loads(line)
    words: list[str] = order["words"]
    os.environ.update(order["environment"])
    _take_output(Path(order["log"]))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, words[0].encode(), 0, 0, 0)
    if words[0] != "fusion":
        spawn.discard()
    return run(words[0], words)


def _load() -> None:
    for name in (*(f"percept_ros.nodes.{node}" for node in _NODES), "percept_ros.nodes.spin"):
        importlib.import_module(name)
    from rclpy.type_support import check_for_type_support

    for path in _MESSAGES:
        module, _, name = path.partition(":")
        check_for_type_support(getattr(importlib.import_module(module), name))


def _take_output(log: Path) -> None:
    """Write where the node before wrote, and read from nothing."""
    with log.open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for number in (1, 2):
            os.dup2(file.fileno(), number)


if __name__ == "__main__":
    sys.exit(main())
