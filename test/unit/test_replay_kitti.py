"""KITTI geometry by hand: labels, calibration, GPS/IMU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.geometry import inverse
from percept_ros.errors import RecordingError
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.convert import Conversion, convert
from percept_ros.replay.kitti_files import (
    VELODYNE_HEIGHT_M,
    boxes_in_base,
    parse_labels,
    parse_oxts,
    read_calibration,
    read_scan,
)
from percept_ros.replay.messages import odometry_of, stamp_ns

CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P2: 700 0 600 70 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.3
Tr_imu_to_velo: 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8
"""


@pytest.fixture
def calibration_file(tmp_path: Path) -> Path:
    file = tmp_path / "calib.txt"
    file.write_text(CALIBRATION)
    return file


def test_a_point_lands_where_the_projection_matrix_puts_it(calibration_file: Path) -> None:
    found = read_calibration(calibration_file)
    velo = np.array([20.0, 3.0, -1.0, 1.0])
    camera = (found.camera_SE3_velo @ velo)[:3]
    pixel = found.K @ camera / camera[2]
    # by the data set's formula: P2 @ R0 @ Tr @ point
    rect = np.array([-3.0, 1.0 - 0.1, 20.0 - 0.3])
    expected = np.array([(700 * rect[0] + 600 * rect[2] + 70) / rect[2], (700 * rect[1] + 180 * rect[2]) / rect[2]])
    assert np.allclose(pixel[:2], expected)


def test_the_base_frame_lies_on_the_road(calibration_file: Path) -> None:
    found = read_calibration(calibration_file)
    assert np.allclose(found.base_SE3_velo[:3, 3], [0.0, 0.0, VELODYNE_HEIGHT_M])
    assert np.allclose(inverse(found.base_SE3_camera) @ found.base_SE3_velo, found.camera_SE3_velo)


def test_a_label_becomes_a_box_in_the_base_frame(calibration_file: Path) -> None:
    found = read_calibration(calibration_file)
    # h w l, bottom centre (x right, y down, z forward), ry: 0 looks along camera x, which is right = -y of the base
    fields = np.array([[1.5, 1.8, 4.2, 2.0, 1.65, 20.0, 0.0], [1.5, 1.8, 4.2, 2.0, 1.65, 20.0, -np.pi / 2]])
    boxes = boxes_in_base(fields, found.base_SE3_rect)
    assert np.allclose(boxes[0, :3], [20.3, -2.0, VELODYNE_HEIGHT_M - 0.1 - 1.65 + 0.75])
    assert np.allclose(boxes[0, 3:6], [4.2, 1.8, 1.5])
    assert boxes[:, 6] == pytest.approx([-np.pi / 2, 0.0], abs=1e-9)


def test_labels_are_read_by_frame_without_dontcare() -> None:
    lines = [
        "0 -1 DontCare -1 -1 -10 0 0 1 1 -1000 -1000 -1000 -10 -1 -1 -1",
        "0 3 Car 0 0 -1 0 0 1 1 1.5 1.8 4.2 2.0 1.6 20.0 0.1",
        "2 3 Car 0 0 -1 0 0 1 1 1.5 1.8 4.2 2.0 1.6 19.0 0.1",
    ]
    found = parse_labels(lines, tracking=True, where="0000")
    assert sorted(found) == [0, 2]
    assert found[0].ids == (3,)
    with pytest.raises(RecordingError, match=r"label line 1 of 'x'"):
        parse_labels(["0 3 Car 0 0"], tracking=True, where="x")


def test_gps_and_imu_give_metres_and_headings() -> None:
    # 1e-5 degrees of longitude at 49 degrees north are 1e-5 * pi / 180 * R * cos(49 deg) = 0.7303 m
    line = "{lat} {lon} 110 0 0 1.0 0 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0.2 0 0 0 0 0 0 0"
    poses = parse_oxts([line.format(lat=49.0, lon=8.0), line.format(lat=49.0, lon=8.00001)], "x")
    moved = poses.world_SE3_imu[1, :3, 3] - poses.world_SE3_imu[0, :3, 3]
    assert moved == pytest.approx([0.7303, 0.0, 0.0], abs=2e-4)
    assert poses.world_SE3_imu[0, :2, 0] == pytest.approx([np.cos(1.0), np.sin(1.0)])
    assert poses.velocity_mps[0].tolist() == [5.0, 0.0, 0.0]
    assert poses.rate_radps[0].tolist() == [0.0, 0.0, 0.2]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"calibration .*calib.txt' is missing"):
        read_calibration(tmp_path / "calib.txt")
    (tmp_path / "calib.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(RecordingError, match="lacks"):
        read_calibration(tmp_path / "calib.txt")
    (tmp_path / "0.bin").write_bytes(bytes(35))
    with pytest.raises(RecordingError, match=r"35 bytes.*cut"):
        read_scan(tmp_path / "0.bin")
    with pytest.raises(RecordingError, match="not a number"):
        parse_oxts(["a b c"], "x")


def write_raw_drive(day: Path) -> Path:
    """A drive in the layout of the original raw recordings: scans 0 and 2 of three stamps."""
    import cv2

    (day / "calib_cam_to_cam.txt").parent.mkdir(parents=True)
    (day / "calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\nR_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 700 0 60 70 0 700 20 0 0 0 1 0\n"
    )
    (day / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.1 -0.3\n")
    (day / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n")
    drive = day / "2011_09_26_drive_0001_sync"
    for part in ("image_02/data", "velodyne_points/data", "oxts/data"):
        (drive / part).mkdir(parents=True)
    lines = [f"2011-09-26 13:02:2{5 + i}.9643894{i}" for i in range(3)]
    (drive / "velodyne_points" / "timestamps.txt").write_text("\n".join(lines) + "\n")
    for i in (0, 2):
        np.full((5, 4), i + 2.0, np.float32).tofile(drive / "velodyne_points" / "data" / f"{i:010d}.bin")
        cv2.imwrite(str(drive / "image_02" / "data" / f"{i:010d}.png"), np.full((40, 120, 3), i, np.uint8))
        oxts = f"49.0 {8.0 + i * 1e-5} 110 0 0 0 0 0 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0.2 0 0 0 0 0 0 0"
        (drive / "oxts" / "data" / f"{i:010d}.txt").write_text(oxts + "\n")
    return drive


def test_a_raw_drive_keeps_its_clock_and_its_ego_motion(tmp_path: Path) -> None:
    drive = write_raw_drive(tmp_path / "2011_09_26")
    convert(Conversion("kitti-drive", drive, tmp_path / "raw.mcap"), lambda done, total: None)
    with BagReader(tmp_path / "raw.mcap") as reader:
        found = {topic: list(reader.messages([topic])) for topic in reader.topics}
    stamps = [stamp_ns(item.message.header.stamp) for item in found["/lidar/points"]]
    assert stamps == [1317042145_964389400, 1317042147_964389420]
    assert [stamp_ns(item.message.header.stamp) for item in found["/camera_2/image"]] == stamps
    poses = [odometry_of(item.message).parent_SE3_child for item in found["/odom"]]
    assert np.allclose(poses[0], np.eye(4))
    assert poses[1][0, 3] == pytest.approx(2 * 0.7303, abs=5e-4)  # heading east, which is where it drives
    # the base turns about the IMU, which is 0.3 m to its left: 3.0 + 0.2 x 0.3
    assert found["/odom"][0].message.twist.twist.linear.x == pytest.approx(3.06)


def test_a_raw_drive_without_its_time_stamps_is_refused(tmp_path: Path) -> None:
    drive = write_raw_drive(tmp_path / "2011_09_26")
    (drive / "velodyne_points" / "timestamps.txt").write_text("2011-09-26 13:02:25.96\n")
    with pytest.raises(RecordingError, match=r"scan 2 .* has no line"):
        convert(Conversion("kitti-drive", drive, tmp_path / "raw.mcap"), lambda done, total: None)
