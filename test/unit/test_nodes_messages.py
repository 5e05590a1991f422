"""Markers, status texts, foreign messages and the subscription filter, with real message classes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from sensor_msgs.msg import CameraInfo
from test_wire import tracks_and_forecasts
from visualization_msgs.msg import Marker

from percept_ros.core.prediction import extrapolate
from percept_ros.errors import CalibrationError
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.convert import calibration, camera_info, stamp_ns, time_message
from percept_ros.nodes.foreign import OUTPUTS, available_outputs
from percept_ros.nodes.inbox import Inbox, pause_s
from percept_ros.nodes.managed import Retry
from percept_ros.nodes.markers import TrackMarkers
from percept_ros.nodes.player import moved_stamp


def only(tracks: Any, rows: list[int]) -> Any:
    changed = {
        field.name: getattr(tracks, field.name)[rows]
        for field in dataclasses.fields(tracks)
        if isinstance(getattr(tracks, field.name), np.ndarray)
    }
    return dataclasses.replace(tracks, **changed)


def test_marker_ids_stay_with_their_track_and_ended_tracks_are_deleted() -> None:
    tracks, forecasts = tracks_and_forecasts(3, np.random.default_rng(0))
    maker = TrackMarkers()
    first = {m.id for m in maker.frame(tracks, forecasts).markers if m.ns == "box"}
    assert len(first) == 3
    second = maker.frame(only(tracks, [2, 0]), forecasts).markers
    kept = [m.id for m in second if m.ns == "box" and m.action == Marker.ADD]
    gone = {m.ns for m in second if m.action == Marker.DELETE}
    assert set(kept) < first
    assert len(kept) == 2
    assert gone == {"box", "label", "velocity", "path"}
    assert all(m.lifetime.sec + m.lifetime.nanosec > 0 for m in second if m.action == Marker.ADD)


def test_markers_fade_while_coasting() -> None:
    tracks, forecasts = tracks_and_forecasts(2, np.random.default_rng(1))
    tracks = dataclasses.replace(tracks, since_measurement_ns=np.array([0, 1_200_000_000]))
    boxes = [m for m in TrackMarkers().frame(tracks, forecasts).markers if m.ns == "box"]
    assert boxes[0].color.a > boxes[1].color.a


def test_camera_info_goes_round() -> None:
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    message.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [500.0, 0.0, 320.0, 0.0, 0.0, 510.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    found = calibration(message)
    assert found.projection[1, 1] == 510.0
    again = calibration(camera_info(found, "front_optical", time_message(5)))
    assert np.array_equal(again.projection, found.projection)


@pytest.mark.parametrize(
    ("change", "reason"), [({"k": [0.0] * 9}, "uncalibrated"), ({"distortion_model": "magic"}, "distortion_model")]
)
def test_bad_camera_info_is_refused(change: dict[str, Any], reason: str) -> None:
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    message.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(CalibrationError) as caught:
        calibration(message)
    assert caught.value.reason == reason


def test_played_stamps_are_moved() -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    message = CameraInfo()
    message.header.stamp, message.header.frame_id = time_message(1_500_000_000), "front"
    moved = deserialize_message(
        moved_stamp(bytes(serialize_message(message)), "sensor_msgs/msg/CameraInfo", 2_000_000_001), CameraInfo
    )
    assert stamp_ns(moved.header.stamp) == 3_500_000_001
    assert moved.header.frame_id == "front"


def test_inbox_keeps_order_and_drops_the_oldest_of_a_source() -> None:
    dropped: list[str] = []
    inbox = Inbox(2, dropped.append)
    for source, value in (("a", 1), ("b", 2), ("a", 3), ("a", 4)):
        inbox.put(source, value)
    assert inbox.take(0.0) == [("b", 2), ("a", 3), ("a", 4)]
    assert dropped == ["a"]
    inbox.close()
    assert inbox.take(None) == []
    assert pause_s(None, 0) == 0.5
    assert pause_s(100, 200) == 0.0


def test_inbox_wakes_once_for_messages_that_belong_together_and_at_once_for_others() -> None:
    inbox = Inbox(2, lambda source: None)
    wakes: list[str] = []
    inbox._wake.notify = lambda n=1: wakes.append("put")  # type: ignore[method-assign]

    def waiting(timeout_s: float | None = None) -> bool:
        for source in sources:
            before = len(wakes)
            inbox.put(source, source)
            if len(wakes) > before:
                break
        return True

    inbox._wake.wait = waiting  # type: ignore[method-assign]
    sources = ["front", "left", "lidar", "back"]
    assert [s for s, _ in inbox.take(1.0, {"front", "left", "back"})] == ["front", "left", "lidar"]
    sources = ["back", "front", "left"]
    assert [s for s, _ in inbox.take(1.0, {"front", "left", "back"})] == ["back", "front", "left"]
    assert len(wakes) == 2
    inbox.put("left", 0)
    sources = ["front"]
    assert [s for s, _ in inbox.take(1.0, {"front", "left"})] == ["left", "front"], (
        "what lies there already is not awaited"
    )


def test_complaints_count_everything_and_say_little() -> None:
    said: list[str] = []

    class Logger:
        def warning(self, text: str) -> None:
            said.append(text)

    complaints = Complaints(Logger())
    for _ in range(100):
        complaints.drop("/front/image", "encoding", "unknown encoding 'x': publish bgr8")
    complaints.drop("/front/image", "truncated", "image is cut")
    assert complaints.by_source == {"/front/image/encoding": 100, "/front/image/truncated": 1}
    assert complaints.by_reason == {"encoding": 100, "truncated": 1}
    assert len(said) == 2


def test_retries_are_bounded_and_come_back_after_a_stable_time() -> None:
    retry = Retry(3)
    now = 0.0
    for _ in range(3):
        assert retry.allowed(now)
        retry.failed(now)
        assert not retry.allowed(now)
        now += 10.0
    assert not retry.allowed(now)
    retry.good(now)
    retry.good(now + 31.0)
    assert retry.allowed(now + 31.0)


def test_extrapolated_tracks_move_along_their_velocity() -> None:
    tracks, _ = tracks_and_forecasts(4, np.random.default_rng(2))
    tracks = dataclasses.replace(tracks, yaw_rate_radps=np.zeros(4))
    moved = extrapolate(tracks, 200_000_000)
    assert np.allclose(moved.boxes[:, :2], tracks.boxes[:, :2] + 0.2 * tracks.velocity_mps)
    assert moved.stamp_ns == tracks.stamp_ns + 200_000_000
    assert np.all(np.linalg.eigvalsh(moved.pose_covariance) > 0)
    assert extrapolate(tracks, 0) is tracks


@pytest.mark.parametrize("topic", list(OUTPUTS))
def test_foreign_messages(topic: str) -> None:
    found = available_outputs()
    if topic not in found:
        pytest.skip(f"{OUTPUTS[topic][0]} is not installed")
    tracks, forecasts = tracks_and_forecasts(3, np.random.default_rng(0))
    message = found[topic][1](tracks, forecasts)
    objects = message.detections if topic == "~/detections_3d" else message.objects
    assert len(objects) == 3


def test_own_filter_calls_every_callback() -> None:
    from percept_ros.nodes.filters import Subscriber

    class Node:
        def create_subscription(self, kind: type, topic: str, callback: Any, qos: Any, **_: Any) -> Any:
            self.callback = callback
            return object()

    node, heard = Node(), []
    made = Subscriber(node, CameraInfo, "/x", None)  # type: ignore[arg-type]
    made.registerCallback(heard.append)
    made.registerCallback(lambda message, extra: heard.append(extra), "second")
    node.callback("first")
    assert heard == ["first", "second"]
