"""A few lifecycle cycles of every node from outside; ``percept bench lifecycle`` does five hundred."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytestmark = pytest.mark.ros


def test_cycles_leak_nothing_and_keep_their_bounds() -> None:
    words = [sys.executable, "-m", "percept_ros.cli.main", "bench", "lifecycle", "--cycles", "6", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"]
    for name in ("camera_front", "lidar", "fusion"):
        growth = result["growth"][name]
        assert (growth["fds"], growth["threads"], growth["shared_memory_files"]) == (0, 0, 0), name
    for step, bound_s in result["bound_s"].items():
        assert result["longest_s"][step] <= bound_s
