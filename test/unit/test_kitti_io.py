"""KITTI tracking files, written and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from percept_ros.errors import RecordingError
from percept_ros.evaluate import kitti_io

CALIBRATION = """P2: 721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_velo 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8
"""


def test_boxes_survive_the_camera_frame():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(-20, 40, (20, 3)), rng.uniform(1, 4, (20, 3)), rng.uniform(-3.1, 3.1, 20)])
    back = kitti_io.boxes_from_camera(*kitti_io.camera_from_boxes(boxes))
    assert np.allclose(back[:, :6], boxes[:, :6])
    assert np.allclose(np.cos(back[:, 6] - boxes[:, 6]), 1)


def test_a_car_straight_ahead_faces_away_at_minus_half_pi():
    boxes = kitti_io.boxes_from_camera(
        np.array([[1.5, 1.8, 4.0]]), np.array([[2.0, 1.65, 20.0]]), np.array([-np.pi / 2])
    )
    assert boxes[0] == pytest.approx([20.0, -2.0, -0.9, 4.0, 1.8, 1.5, 0.0])


def test_calibration_of_either_spelling(tmp_path):
    (tmp_path / "a.txt").write_text(CALIBRATION)
    other = CALIBRATION.replace("R_rect", "R0_rect:").replace("Tr_velo_cam", "Tr_velo_to_cam:")
    (tmp_path / "b.txt").write_text(other.replace("Tr_imu_velo", "Tr_imu_to_velo:"))
    a, b = (kitti_io.read_calibration(tmp_path / f) for f in ("a.txt", "b.txt"))
    assert np.array_equal(a.imu_SE3_base, b.imu_SE3_base)
    assert (a.view.width_px, a.view.height_px) == (1242, 375)
    assert a.imu_SE3_base[:3, 3] == pytest.approx([0.8, -0.3, 0.8])
    assert a.imu_SE3_base[:3, :3] == pytest.approx(np.eye(3))


def test_missing_calibration_keys_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("P2: " + " ".join(["1"] * 12))
    with pytest.raises(RecordingError, match="r0_rect"):
        kitti_io.read_calibration(tmp_path / "a.txt")


def test_poses_from_packets_and_from_matrices(tmp_path):
    north = 49.0 + np.degrees(10.0 / 6378137.0) * np.cos(np.radians(49.0)) / np.cos(np.radians(49.0))
    packets = np.zeros((2, 30))
    packets[:, 0], packets[:, 1], packets[1, 0] = 49.0, 8.0, north
    packets[1, 5] = 0.5
    (tmp_path / "0000.txt").write_text("\n".join(" ".join(map(str, row)) for row in packets))
    poses = kitti_io.read_poses(tmp_path, "0000")
    assert poses[1, :3, 3] == pytest.approx([0, 10.0, 0], abs=1e-3)
    assert np.arctan2(poses[1, 1, 0], poses[1, 0, 0]) == pytest.approx(0.5)
    (tmp_path / "0001.json").write_text(json.dumps(poses.tolist()))
    assert np.allclose(kitti_io.read_poses(tmp_path, "0001"), poses)
    assert kitti_io.read_poses(tmp_path, "0002") is None


def test_written_boxes_are_projections_and_read_as_labels(tmp_path):
    (tmp_path / "c.txt").write_text(CALIBRATION)
    view = kitti_io.read_calibration(tmp_path / "c.txt").view
    boxes = np.array([[20.0, 1.0, -0.9, 4.0, 1.8, 1.5, 0.1], [-20.0, 0, -0.9, 4, 1.8, 1.5, 0]])
    projection = view.projection @ np.linalg.inv(view.base_SE3_camera)
    pixels, in_view = kitti_io.project_boxes(boxes, projection, view.width_px, view.height_px)
    assert in_view.tolist() == [True, False]
    assert pixels[0, 3] - pixels[0, 1] == pytest.approx(721.5 * 1.5 / 18, rel=0.1)
    one = (np.array([3]), np.array([5]), boxes[:1], pixels[:1], np.array([0.5]))
    kitti_io.write_results(tmp_path / "out" / "0000.txt", kitti_io.result_rows("Car", *one))
    read = kitti_io.read_labels(tmp_path / "out" / "0000.txt")
    assert (read.frames[0], read.track_ids[0], read.kinds[0]) == (3, 5, "car")
    assert read.boxes[0] == pytest.approx(boxes[0], abs=1e-5)
    assert read.boxes_px[0] == pytest.approx(pixels[0], abs=1e-5)


def test_short_rows_are_refused(tmp_path):
    (tmp_path / "bad.txt").write_text("0 1 Car 0\n")
    with pytest.raises(RecordingError, match="fewer than 17"):
        kitti_io.read_labels(tmp_path / "bad.txt")
    (tmp_path / "bad.csv").write_text("0,1,2\n")
    with pytest.raises(RecordingError, match="rows of 6"):
        kitti_io.read_boxes_2d(tmp_path / "bad.csv")
    assert len(kitti_io.read_boxes_2d(tmp_path / "none.txt").scores) == 0
