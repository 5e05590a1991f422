"""A short soak from the command line: real processes, real faults, an observer outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

pytestmark = pytest.mark.ros

KINDS = ("kill_fusion", "engine_nan", "sensor_absent")


def test_tracks_go_on_truthfully_through_faults(tmp_path: Path) -> None:
    arguments = ["soak", "--minutes", "0.3", "--seed", "2", "--faults", ",".join(KINDS), "--spacing", "4.5"]
    command = [sys.executable, "-m", "percept_ros.cli.main", *arguments, "--loop", "5", "-o", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ.copy(), check=False)
    logs = "".join(file.read_text() for file in (tmp_path / "logs").glob("*.log"))
    assert done.returncode in (0, 1), done.stderr + logs
    found = json.loads(done.stdout)
    assert {kind: entry["count"] for kind, entry in found["faults"].items()} == dict.fromkeys(KINDS, 1)
    assert found["lies"] == 0, found["lie_examples"]
    assert found["out_of_order"] == 0
    assert found["invalid_arrays"] == 0
    assert found["arrays"] > 50, logs
    assert "GEOMETRIC" in found["faults"]["kill_fusion"]["modes"], "the standby answers while fusion is gone"
    assert "taking over" in (tmp_path / "logs" / "fusion_standby.log").read_text()
    assert (tmp_path / "report.html").stat().st_size > 2000
    events = json.loads((tmp_path / "events.json").read_text())
    assert [restart["name"] for restart in events["restarts"]] == ["fusion"], logs
