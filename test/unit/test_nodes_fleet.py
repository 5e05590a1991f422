"""A fleet starts again what ends, ever more slowly, and gives up on what never stays."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from percept_ros.config import Config
from percept_ros.errors import SetupError
from percept_ros.nodes import fleet as fleet_module
from percept_ros.nodes.fleet import Fleet, NodeProcess


def wait(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    pause, deadline_s = threading.Event(), time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s
        pause.wait(0.02)


def test_a_process_that_never_stays_is_given_up_until_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes are real; what they run ends at once."""
    ends = [sys.executable, "-S", "-c", "raise SystemExit(7)"]
    monkeypatch.setattr(fleet_module, "command", lambda *_: ends)
    monkeypatch.setattr(fleet_module, "_MOST_QUICK", 2)
    with Fleet([NodeProcess("camera", "camera_a")], Config(), tmp_path, "/x", respawn=True) as fleet:
        wait(lambda: "camera_a" in fleet.lost)
        assert fleet.lost["camera_a"] == 7
        starts = len(fleet.respawned)
        assert starts == 3, "at once, after 0.2 s, after 0.4 s"
        ended = [one.started_ns - one.ended_ns for one in fleet.respawned]
        assert ended[1] >= 0.2e9
        assert ended[2] >= 0.4e9
        assert fleet.managed == ["camera_a"]
        fleet.forgive()
        wait(lambda: len(fleet.respawned) > starts)


def test_a_start_that_fails_half_way_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stays = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]

    def command(item: NodeProcess, *_: object) -> list[str]:
        if item.name == "camera_b":
            raise SetupError("a file is not installed")
        return stays

    monkeypatch.setattr(fleet_module, "command", command)
    fleet = Fleet([NodeProcess("camera", "camera_a"), NodeProcess("camera", "camera_b")], Config(), tmp_path, "/x")
    with pytest.raises(SetupError), fleet:
        pass
    assert fleet.processes["camera_a"].poll() is not None


def test_a_loaded_process_becomes_the_node_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes of real nodes: the successor is the spare, goes on in the same log, and the next spare is loaded."""
    from percept_ros.nodes.realtime import isolate_dds

    isolate_dds()
    monkeypatch.setattr(fleet_module, "_SPARE_AFTER_S", 0.0)
    with Fleet([NodeProcess("camera", "camera_a")], Config(), tmp_path, "/x", respawn=True) as fleet:
        wait(lambda: fleet._spare is not None)
        assert fleet._spare is not None
        waiting = fleet._spare._process
        os.kill(fleet.processes["camera_a"].pid, signal.SIGKILL)
        wait(lambda: fleet.processes["camera_a"].pid == waiting.pid)
        wait(lambda: Path(f"/proc/{waiting.pid}/comm").read_text() == "camera\n")
        wait(lambda: fleet._spare is not None)
        assert fleet._spare._process.pid != waiting.pid
        assert waiting.poll() is None, "it runs"
        left = fleet._spare._process
    assert waiting.poll() is not None
    assert left.poll() is not None, "a spare that nobody needed is ended too"


def test_a_spare_that_ended_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_SPARE_AFTER_S", 0.0)
    monkeypatch.setattr(fleet_module, "command", lambda *_: [*fleet_module._MAIN, "camera", "--no-such-word"])
    with Fleet([NodeProcess("camera", "camera_a")], Config(), tmp_path, "/x", respawn=True) as fleet:
        wait(lambda: fleet._spare is not None)
        assert fleet._spare is not None
        os.kill(fleet._spare._process.pid, signal.SIGKILL)
        fleet._spare._process.wait()
        os.kill(fleet.processes["camera_a"].pid, signal.SIGKILL)
        wait(lambda: len(fleet.respawned) == 1)
