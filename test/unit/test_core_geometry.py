"""Rigid transforms, boxes and projection against hand-derived numbers."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core import geometry as g
from percept_ros.core.trajectory import PoseHistory, interpolate_pose
from percept_ros.errors import CalibrationError, StampError, TransformError

OPTICAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Optical frame of a camera at the origin that looks along base x."""
P100 = np.array([[100.0, 0, 50, 0], [0, 100, 40, 0], [0, 0, 1, 0]])


def box(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


@pytest.mark.parametrize(
    ("given", "wrapped"),
    [
        (0.0, 0.0),
        (np.pi, np.pi),
        (-np.pi, np.pi),
        (3 * np.pi, np.pi),
        (1.5 * np.pi, -0.5 * np.pi),
        (7.0, 7 - 2 * np.pi),
    ],
)
def test_wrap_angle(given: float, wrapped: float) -> None:
    assert g.wrap_angle(given) == pytest.approx(wrapped, abs=1e-12)


def test_quaternion_of_quarter_turn() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(g.to_quaternion(g.from_yaw(np.pi / 2)), [0, 0, half, half], atol=1e-12)
    moved = g.transform_points(g.from_quaternion([0, 0, 2.0, 2.0], [1, 2, 3]), np.array([[1.0, 0, 0]]))
    np.testing.assert_allclose(moved, [[1, 3, 3]], atol=1e-12)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_impossible_quaternion_is_refused(bad: list[float]) -> None:
    with pytest.raises(CalibrationError, match="send a unit"):
        g.from_quaternion(bad)


@pytest.mark.parametrize(
    "bad", [np.zeros(16), np.eye(4) * 2, np.diag([1, 1, -1, 1.0]), np.full(16, np.nan), np.ones(3)]
)
def test_non_rigid_extrinsic_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="lidar"):
        g.check_rigid(bad, "lidar")


def test_rigid_extrinsic_is_taken_row_major() -> None:
    pose = g.from_yaw(0.3, [1, 2, 3])
    np.testing.assert_array_equal(g.check_rigid(pose.ravel()), pose)


def test_box_corners_order() -> None:
    corners = g.box_corners(box(10, 0, 1, 4, 2, 2, np.pi / 2))[0]
    np.testing.assert_allclose(corners[0], [9, 2, 0], atol=1e-12)  # front left of a box that heads along +y
    np.testing.assert_allclose(corners[1], [11, 2, 0], atol=1e-12)
    np.testing.assert_allclose(corners[6], [11, -2, 2], atol=1e-12)
    np.testing.assert_allclose(corners[4, 2], 2)


def test_edges_are_the_sides_of_the_box() -> None:
    corners = g.box_corners(box(0, 0, 0, 4, 2, 1, 0.3))[0]
    lengths = np.linalg.norm(corners[g.BOX_EDGES[:, 0]] - corners[g.BOX_EDGES[:, 1]], axis=1)
    np.testing.assert_allclose(np.sort(lengths), [1] * 4 + [2] * 4 + [4] * 4)


def test_points_in_box() -> None:
    inside = g.points_in_box(np.array([[0, 1.9, 0], [1.1, 0, 0], [0, 0, 0.6]]), box(0, 0, 0, 4, 2, 1, np.pi / 2)[0])
    assert inside.tolist() == [True, False, False]


def test_transform_boxes_turns_heading() -> None:
    out = g.transform_boxes(g.from_yaw(np.pi / 2, [1, 0, 0]), box(2, 0, 0, 4, 2, 1, 3.0))
    np.testing.assert_allclose(out[0], [1, 2, 0, 4, 2, 1, 3.0 - 1.5 * np.pi], atol=1e-12)


def test_project_points() -> None:
    pixels, depth = g.project_points(P100, np.array([[1.0, 2, 10], [0, 0, -1]]))
    np.testing.assert_allclose(pixels[0], [60, 60])
    assert np.isnan(pixels[1]).all()
    np.testing.assert_allclose(depth, [10, -1])


def test_project_box_ahead() -> None:
    boxes_px, visible = g.project_boxes(P100, OPTICAL, box(10, 0, 0, 2, 2, 2, 0), (100, 80))
    assert visible.tolist() == [True]
    reach = 100.0 / 9.0  # the near face, 9 m away, encloses the far one
    np.testing.assert_allclose(boxes_px[0], [50 - reach, 40 - reach, 50 + reach, 40 + reach])


def test_project_box_through_the_near_plane_fills_the_image() -> None:
    boxes_px, visible = g.project_boxes(P100, OPTICAL, box(0, 0, 0, 20, 2, 2, 0), (100, 80))
    assert visible[0]
    np.testing.assert_allclose(boxes_px[0], [0, 0, 100, 80])


def test_box_behind_or_beside_is_not_visible() -> None:
    boxes = np.vstack([box(-10, 0, 0, 2, 2, 2, 0), box(10, 30, 0, 2, 2, 2, 0)])
    boxes_px, visible = g.project_boxes(P100, OPTICAL, boxes, (100, 80))
    assert not visible.any()
    assert not boxes_px.any()


def test_project_no_boxes() -> None:
    boxes_px, visible = g.project_boxes(P100, OPTICAL, np.zeros((0, 7)), None)
    assert boxes_px.shape == (0, 4)
    assert visible.shape == (0,)


def test_interpolate_pose_halfway() -> None:
    half = interpolate_pose(np.eye(4), g.from_yaw(1.0, [2, 0, 0]), 0.5)
    np.testing.assert_allclose(half, g.from_yaw(0.5, [1, 0, 0]), atol=1e-12)


def test_interpolation_takes_the_short_way_round() -> None:
    mid = interpolate_pose(g.from_yaw(3.0), g.from_yaw(-3.0), np.array([0.5]))
    assert abs(float(g.yaw_of(mid)[0])) == pytest.approx(np.pi)


class TestPoseHistory:
    def history(self) -> PoseHistory:
        poses = PoseHistory(depth=3, max_extrapolation_ns=50)
        for i in range(5):
            poses.add(100 * i, g.from_yaw(0.1 * i, [i, 0, 0]))
        return poses

    def test_keeps_the_newest(self) -> None:
        assert len(self.history()) == 3
        assert self.history().newest_ns == 400

    def test_between_and_a_little_beyond(self) -> None:
        found = self.history().at(np.array([200, 250, 450, 150]))
        np.testing.assert_allclose(found[:, 0, 3], [2, 2.5, 4.5, 1.5])
        np.testing.assert_allclose(g.yaw_of(found), [0.2, 0.25, 0.45, 0.15])

    @pytest.mark.parametrize("stamp", [149, 451])
    def test_too_far_beyond(self, stamp: int) -> None:
        with pytest.raises(TransformError, match="at most"):
            self.history().at(stamp)

    def test_empty_and_cleared(self) -> None:
        poses = self.history()
        poses.clear()
        with pytest.raises(TransformError, match="no ego pose"):
            poses.at(0)

    def test_single_pose_holds(self) -> None:
        poses = PoseHistory(max_extrapolation_ns=50)
        poses.add(100, g.from_yaw(0.2))
        np.testing.assert_allclose(poses.at(130), g.from_yaw(0.2))

    def test_stamp_must_rise(self) -> None:
        with pytest.raises(StampError, match="not newer"):
            self.history().add(400, np.eye(4))

    def test_wide_gap(self) -> None:
        poses = PoseHistory(max_gap_ns=10)
        poses.add(0, np.eye(4))
        poses.add(100, np.eye(4))
        with pytest.raises(TransformError, match="apart"):
            poses.at(50)
