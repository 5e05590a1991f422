"""The gateway beside the nodes: tracks that come over DDS are shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ros_harness import ros_node, wait_for

from percept_ros.simulate.drive import SimulateConfig, simulate_drive
from percept_ros.types import Detections, Forecasts, FrameResult, Mode
from percept_ros.wire import ArrayHeader, encode_track_array

pytestmark = pytest.mark.ros


def test_tracks_from_dds_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not here")
    monkeypatch.setenv("PERCEPT_PROBES", str(tmp_path))
    frame = next(simulate_drive(SimulateConfig(seconds=0.1, cameras=0, beams=16), 1))
    with ros_node("publisher") as node:
        from rclpy.parameter import Parameter

        from percept_ros.msg import ObstacleTrackArray
        from percept_ros.nodes.gateway import GatewayNode
        from percept_ros.nodes.qos import TRACK_QOS

        made = GatewayNode(
            parameter_overrides=[
                Parameter("gateway.port", value=0),
                Parameter("ego_motion.source", value="none"),
                Parameter("fusion.inputs", value="direct"),
            ]
        )
        try:
            node.executor.add_node(made)
            publisher = node.create_publisher(ObstacleTrackArray, "fusion/tracks", TRACK_QOS)
            wait_for(lambda: publisher.get_subscription_count() > 0, "the gateway's subscription")
            with httpx.Client(base_url=made.server.url, timeout=20.0) as client:
                with client.stream("GET", "/v1/tracks/stream") as stream:
                    lines = stream.iter_lines()
                    assert next(lines).startswith("retry")
                    publisher.publish(
                        encode_track_array(result_of(frame), ArrayHeader(frame.truth.stamp_ns + 7_000_000, 3))
                    )
                    shown = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
                assert len(shown["tracks"]) == len(frame.truth)
                assert (shown["mode"], shown["model"], shown["group"]) == ("REDUCED", "truth", "blue")
                assert shown["latency_ms"] == pytest.approx(7.0)
                assert shown["absent"] == {"cam": "late"}
                refused = client.post("/v1/perceive", content=b"\x80", headers={"content-type": "application/msgpack"})
                assert refused.status_code in (422, 503)
                assert client.get("/healthz/readiness").json()["nodes"]["gateway"]["ok"] is True
        finally:
            node.executor.remove_node(made)
            made.close()
            made.destroy_node()


def result_of(frame: Any) -> FrameResult:
    """The truth as if it had been perceived."""
    from percept_ros.types import AbsenceReason

    tracks = dataclasses.replace(frame.truth, existence=np.full(len(frame.truth), 0.5))
    sensors = dataclasses.replace(frame.sensors, absent={"cam": AbsenceReason.LATE})
    nothing = Detections.empty(tracks.stamp_ns, "base_link")
    return FrameResult(
        sensors, nothing, {}, tracks, Forecasts.empty(0.1), Mode.REDUCED, {}, model="truth", group="blue"
    )
