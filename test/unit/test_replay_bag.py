"""Bags: every message and storage goes round, cut and foreign files are told apart, nothing half-written stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small_bags as small
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from percept_ros.core.geometry import from_yaw
from percept_ros.core.points import CloudDecoder
from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.messages import StampedTransform, calibration_of, odometry_of, stamp_ns, transforms_of
from percept_ros.replay.track_array import track_array_of
from percept_ros.replay.typestore import definitions_folder, typestore
from percept_ros.types import CameraCalibration, PointCloud

TOPICS = ("/odom", "/camera_front/camera_info", "/camera_front/image", "/lidar/points", "/ground_truth/tracks")
ALL_MESSAGES = {("/tf_static", small.START_NS)} | {(topic, small.stamp(i)) for topic in TOPICS for i in range(6)}
STORAGES = [
    ("drive.mcap", "", False),
    ("drive.mcap", "", True),
    ("drive.db3", "", False),
    ("folder", "", False),
    ("folder", "sqlite3", False),
    ("folder", "sqlite3", True),
]


def write_every_message(path: Path, storage: str, compress: bool) -> None:
    calibration = CameraCalibration(240, 160, small.K, np.array([0.1, -0.2, 0.0, 0.0, 0.05]))
    pose = StampedTransform(small.stamp(0), "odom", "base_link", from_yaw(0.5, (1.0, 2.0, 3.0)))
    rng = np.random.default_rng(0)
    scan = PointCloud(
        "lidar",
        small.stamp(0),
        "lidar",
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.random(50).astype(np.float32),
        rng.integers(0, 64, 50).astype(np.uint16),
        np.linspace(0.0, 0.1, 50, dtype=np.float32),
    )
    with BagWriter(path, storage=storage, compress=compress) as bag:
        bag.tf_static([pose, StampedTransform(small.stamp(0), "base_link", "lidar", np.eye(4))])
        bag.tf([pose])
        bag.odometry("/odom", pose, (4.0, 0.5, 0.0), 0.1)
        bag.camera_info("/c/camera_info", small.stamp(0), "c_optical", calibration)
        bag.image("/c/image", small.image(0))
        bag.jpeg("/c/image/compressed", small.image(1), quality=95)
        bag.cloud("/points", scan)
        bag.tracks("/ground_truth/tracks", small.truth(2)[1])
        assert bag.messages == 8


@pytest.mark.parametrize(("name", "storage", "compress"), STORAGES)
def test_every_message_goes_round(tmp_path: Path, name: str, storage: str, compress: bool) -> None:
    write_every_message(tmp_path / name, storage, compress)
    with BagReader(tmp_path / name) as reader:
        assert reader.count() == 8
        found = {item.topic: item for item in reader.messages()}
        assert not reader.damage
    check_pose_messages({topic: item.message for topic, item in found.items()})
    check_sensor_messages({topic: item.message for topic, item in found.items()})
    assert found["/c/image"].log_ns == small.stamp(0)


def check_pose_messages(found: dict[str, Any]) -> None:
    assert [(e.parent, e.child) for e in transforms_of(found["/tf_static"])] == [
        ("odom", "base_link"),
        ("base_link", "lidar"),
    ]
    assert np.allclose(transforms_of(found["/tf"])[0].parent_SE3_child, from_yaw(0.5, (1.0, 2.0, 3.0)))
    odometry = odometry_of(found["/odom"])
    assert np.allclose(odometry.parent_SE3_child, from_yaw(0.5, (1.0, 2.0, 3.0)))
    assert (odometry.parent, odometry.child, odometry.stamp_ns) == ("odom", "base_link", small.stamp(0))
    assert found["/odom"].twist.twist.linear.x == 4.0


def check_sensor_messages(found: dict[str, Any]) -> None:
    calibration = calibration_of(found["/c/camera_info"])
    assert np.array_equal(calibration.K, small.K)
    assert calibration.D.tolist() == [0.1, -0.2, 0.0, 0.0, 0.05]
    assert np.array_equal(found["/c/image"].data.reshape(160, 240, 3), small.image(0).image)
    decoded = cv2.imdecode(np.asarray(found["/c/image/compressed"].data), cv2.IMREAD_COLOR)
    assert decoded.shape == (160, 240, 3)
    scan = CloudDecoder().decode(found["/points"], "lidar", stamp_ns(found["/points"].header.stamp), "lidar")
    rng = np.random.default_rng(0)
    assert np.array_equal(scan.points, rng.normal(size=(50, 3)).astype(np.float32))
    assert scan.intensity is not None
    assert scan.ring is not None
    assert scan.time_offset_s is not None
    truth, back = small.truth(2)[1].tracks, track_array_of(found["/ground_truth/tracks"]).tracks
    assert np.array_equal(truth.id, back.id)
    assert np.allclose(truth.boxes, back.boxes)
    assert np.allclose(truth.velocity_mps, back.velocity_mps)
    assert np.array_equal(truth.class_probabilities, back.class_probabilities)
    assert (truth.stamp_ns, truth.frame_id) == (back.stamp_ns, back.frame_id)


@pytest.mark.parametrize("name", ["drive.mcap", "folder"])
def test_another_reader_reads_what_is_written(tmp_path: Path, name: str) -> None:
    from rosbags.rosbag2 import Reader

    small.write_drive(tmp_path / name, 3)
    with Reader(tmp_path / name) as reader:
        assert reader.message_count == 1 + 3 * 5
        (static,) = [c for c in reader.connections if c.topic == "/tf_static"]
        assert static.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
        clouds = [c for c in reader.connections if c.topic == "/lidar/points"]
        stamps = [
            stamp_ns(typestore().deserialize_cdr(raw, c.msgtype).header.stamp) for c, _, raw in reader.messages(clouds)
        ]
    assert stamps == [small.stamp(i) for i in range(3)]


def test_two_bags_of_the_same_data_are_byte_identical(tmp_path: Path) -> None:
    first = small.write_drive(tmp_path / "a" / "drive.mcap", 3)
    second = small.write_drive(tmp_path / "b" / "drive.mcap", 3)
    assert first.read_bytes() == second.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    packed = small.write_drive(folder / "packed.mcap", 6, compress=True)
    return {
        "mcap": small.write_drive(folder / "plain.mcap", 6),
        "zstd": packed,
        "db3": small.write_drive(folder / "plain.db3", 6),
    }


@pytest.mark.parametrize("kind", ["mcap", "zstd", "db3"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.999))
@example(share=0.1953125)
def test_a_cut_bag_gives_what_is_there(whole: dict[str, Path], tmp_path: Path, kind: str, share: float) -> None:
    data = whole[kind].read_bytes()
    cut = tmp_path / whole[kind].name
    cut.write_bytes(data[: int(len(data) * share)])
    try:
        reader = BagReader(cut)
    except RecordingError:  # cut within the first bytes, where nothing says what it is
        assert share < 0.2
        return
    with reader:
        found = [(item.topic, item.log_ns) for item in reader.messages()]
        assert reader.damage
    assert set(found) <= ALL_MESSAGES
    assert found == sorted(found, key=lambda item: item[1])


def test_half_a_bag_is_not_nothing(whole: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("mcap", "zstd", "db3"):
        data = whole[kind].read_bytes()
        cut = tmp_path / whole[kind].name
        cut.write_bytes(data[: len(data) // 2])
        with BagReader(cut) as reader:
            assert len(list(reader.messages(["/lidar/points"]))) >= 2, kind
            assert reader.lost_bytes > 0


def test_a_damaged_chunk_is_left_out_and_said(tmp_path: Path) -> None:
    data = bytearray(small.write_drive(tmp_path / "whole.mcap", 20, compress=True).read_bytes())
    begin = data.find(b"zstd") + 4 + 8  # of the first chunk's compressed bytes
    data[begin : begin + 20] = bytes(20)
    hurt = tmp_path / "hurt.mcap"
    hurt.write_bytes(data)
    with BagReader(hurt) as reader:
        found = list(reader.messages())
        assert 0 < len(found) < 101
        assert any("chunk at byte" in line for line in reader.damage)


def test_a_message_that_cannot_be_decoded_is_counted(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "x.mcap") as bag:
        bag.write_raw("/odom", "nav_msgs/msg/Odometry", b"\0\1\0\0\1\2\3\4", 5)
        bag.cloud("/points", small.cloud(0))
    with BagReader(tmp_path / "x.mcap") as reader:
        assert [item.topic for item in reader.messages()] == ["/points"]
        assert reader.undecodable == {"/odom": 1}


def test_missing_topics_are_named_with_the_nearest(tmp_path: Path) -> None:
    path = small.write_drive(tmp_path / "drive.mcap", 1)
    with BagReader(path) as reader, pytest.raises(RecordingError, match=r"no topic '/lidar/point'.*'/lidar/points'"):
        list(reader.messages(["/lidar/point"]))
    with pytest.raises(RecordingError, match=r"no topic '/lidr/points'.*did you mean '/lidar/points'"):
        BagReader(path, {"/lidr/points": "/points"})


def test_remapped_topics_are_read_under_their_new_name(tmp_path: Path) -> None:
    path = small.write_drive(tmp_path / "drive.mcap", 2)
    with BagReader(path, {"/lidar/points": "/top"}) as reader:
        assert "/lidar/points" not in reader.topics
        assert [item.topic for item in reader.messages(["/top"])] == ["/top", "/top"]


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "text.mcap").write_text("hello, I am not a bag at all")
    (tmp_path / "folder").mkdir()
    for name in ("empty.mcap", "text.mcap", "folder", "nowhere.mcap"):
        with pytest.raises(RecordingError, match=name):
            BagReader(tmp_path / name)


def test_a_folder_whose_metadata_was_lost_is_read(tmp_path: Path) -> None:
    path = small.write_drive(tmp_path / "bag", 2)
    (path / "metadata.yaml").unlink()
    with BagReader(path) as reader:
        assert len(list(reader.messages(["/lidar/points"]))) == 2
        assert reader.expected_messages is None


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with BagWriter(tmp_path / "drive.mcap") as bag:
            bag.cloud("/points", small.cloud(0))
            raise RecordingError("source ended")

    with pytest.raises(RecordingError, match="source ended"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_replaced_and_other_things_are_not(tmp_path: Path) -> None:
    path = small.write_drive(tmp_path / "drive.mcap", 2)
    small.write_drive(path, 1)
    with BagReader(path) as reader:
        assert reader.count(["/lidar/points"]) == 1
    (tmp_path / "photos").mkdir()
    with pytest.raises(RecordingError, match="not a bag"):
        small.write_drive(tmp_path / "photos", 1)


def test_impossible_storages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="suffix of mcap"):
        BagWriter(tmp_path / "a.mcap", storage="sqlite3")
    with pytest.raises(RecordingError, match="unknown"):
        BagWriter(tmp_path / "a", storage="hdf5")
    with pytest.raises(RecordingError, match="cannot be compressed"):
        BagWriter(tmp_path / "a.db3", compress=True)


def test_own_messages_are_in_the_type_store() -> None:
    names = {file.stem for file in definitions_folder().glob("*.msg")}
    assert {f"percept_ros/msg/{name}" for name in names} <= set(typestore().types)


@pytest.mark.parametrize("kind", ["mcap", "zstd", "db3"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spots=st.lists(st.tuples(st.floats(0.0, 0.9999), st.integers(0, 255)), min_size=1, max_size=30))
def test_damaged_bytes_are_never_more_than_a_recording_error(
    whole: dict[str, Path], tmp_path: Path, kind: str, spots: list[tuple[float, int]]
) -> None:
    data = bytearray(whole[kind].read_bytes())
    for share, value in spots:
        # Half of the spots go where structure is dense: the beginning and the index at the end.
        at = int(len(data) * share) if value % 2 else int(2000 * share) - 1000
        data[at] = value
    hurt = tmp_path / whole[kind].name
    hurt.write_bytes(data)
    try:
        with BagReader(hurt) as reader:
            assert reader.count() < 100_000
            for _ in reader.messages():
                pass
    except RecordingError as exc:
        assert hurt.name in str(exc)  # noqa: PT017
