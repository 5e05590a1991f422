"""Calls made up from the OpenAPI document and damaged bodies: no server error (bench/gateway.py does 2,000 of them)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_gateway import configured, wait_until_ready

from percept_ros.gateway.app import make_gateway
from percept_ros.gateway.drive import body_of
from percept_ros.gateway.server import Server
from percept_ros.simulate.drive import SimulateConfig, simulate_drive

sys.path.append(str(Path(__file__).parents[2] / "bench"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # schemathesis and what it stands on
def test_no_call_is_answered_with_a_server_error() -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is a development requirement")
    from _gateway_fuzz import damage, fuzz, summary

    frame = next(simulate_drive(SimulateConfig(seconds=0.1, cameras=1, beams=16, width_px=64, height_px=32), 1))
    with Server(make_gateway(configured(max_body_mb=2.0))) as server:
        wait_until_ready(server.url)
        found = summary([fuzz(server.url, 30, 1), damage(server.url, body_of(frame.sensors, "x"), 80, 1)])
    assert found["server_errors"] == 0, found["first_errors"]
    assert found["calls"] >= 100
    assert {"200", "400", "422"} <= set(found["statuses"])
