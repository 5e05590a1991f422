"""``percept status``: the page for people, and what it says when nobody is there."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from percept_ros.cli.main import main
from percept_ros.cli.status import _is_well, _page


def found(**perception: Any) -> dict[str, Any]:
    now = {
        "mode": "REDUCED",
        "cause": "front frozen",
        "health": 0.8,
        "degraded": True,
        "concerns": ["images 0.50 (front frozen)"],
        "model": "lidar_pillars@int8",
        "rate_hz": 10.0,
        "latency_ms": {"p50": 40.0, "p99": 60.0, "p999": 80.0},
        "sensors_present": ["lidar"],
        "absent_sensors": ["front: frozen"],
        "breakers": ["lidar_pillars@int8: closed"],
        "shadow": ["lidar_pillars@int8: ok, 3 s ago"],
        "drops": {"lidar/queue_full": 2},
        "stages_ms": {"detect": {"p50": 30.0, "p99": 50.0, "misses": 1}},
    }
    node = {"state": "active", "tries_left": "10", "failures": "0", "recoveries": "0", "respawned": "1"}
    boss = {"goal": "ACTIVE", "state": "all there"}
    return {"namespace": "/percept", "supervisor": boss, "nodes": {"fusion": node}, "perception": {**now, **perception}}


def printed(tree: dict[str, Any]) -> str:
    console = Console(width=120, record=True, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(_page(tree))
    return capture.get()


def test_the_page_shows_what_matters() -> None:
    text = printed(found())
    for words in ("REDUCED: front frozen", "0.80 (degraded)", "goal ACTIVE", "lidar/queue_full: 2", "ok, 3 s ago"):
        assert words in text


def test_without_perception_or_supervisor_there_is_still_a_page() -> None:
    tree = {**found(), "perception": None, "supervisor": None, "nodes": {}}
    assert "no supervisor" in printed(tree)
    assert _is_well(tree)


def test_it_is_well_when_all_nodes_are_where_they_should_be() -> None:
    tree = found()
    assert _is_well(tree)
    tree["supervisor"]["state"] = "on the way"
    assert not _is_well(tree)


def test_nobody_there_is_wrong_use(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    assert main(["status", "--namespace", "nobody_is_here", "--wait", "0.1", "--json"]) == 2
    assert "nobody publishes in /nobody_is_here" in capsys.readouterr().err
