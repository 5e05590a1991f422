"""Invariants of transforms, angles, boxes and projection."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from percept_ros.core import geometry as g
from percept_ros.core.trajectory import interpolate_pose
from percept_ros.types import F64

lengths = st.floats(-1e3, 1e3)
parts = st.floats(-1, 1)
angles = st.floats(-1e3, 1e3)


@st.composite
def poses(draw: st.DrawFn) -> F64:
    quat = np.array([draw(parts) for _ in range(4)])
    assume(np.linalg.norm(quat) > 1e-3)
    return g.from_quaternion(quat, [draw(lengths) for _ in range(3)])


boxes = st.tuples(
    lengths, lengths, st.floats(-10, 10), st.floats(0.1, 20), st.floats(0.1, 5), st.floats(0.1, 5), angles
)


@given(poses())
def test_inverse_undoes(pose: F64) -> None:
    np.testing.assert_allclose(g.compose(pose, g.inverse(pose)), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(g.inverse(g.inverse(pose)), pose, atol=1e-9)
    g.check_rigid(pose)


@given(poses(), poses())
def test_inverse_of_a_product(a: F64, b: F64) -> None:
    np.testing.assert_allclose(g.inverse(a @ b), g.inverse(b) @ g.inverse(a), atol=1e-6)


@given(poses())
def test_quaternion_round_trip(pose: F64) -> None:
    quat = g.to_quaternion(pose)
    assert abs(np.linalg.norm(quat) - 1.0) < 1e-12
    assert quat[3] >= 0.0
    np.testing.assert_allclose(g.rotation_from_quaternion(quat), pose[:3, :3], atol=1e-9)


@given(angles)
def test_wrapped_angle_is_the_same_angle(angle: float) -> None:
    wrapped = float(g.wrap_angle(angle))
    assert -np.pi < wrapped <= np.pi
    assert abs(np.exp(1j * wrapped) - np.exp(1j * angle)) < 1e-9


@given(poses(), poses(), st.floats(0, 1))
def test_interpolated_pose_is_rigid_and_reversible(a: F64, b: F64, share: float) -> None:
    between = interpolate_pose(a, b, share)
    g.check_rigid(between)
    turn = np.trace(a[:3, :3].T @ b[:3, :3])
    assume(turn > -0.99)
    np.testing.assert_allclose(interpolate_pose(b, a, 1.0 - share), between, atol=1e-6)


@given(boxes, poses())
def test_corners_keep_size_and_centre(box: tuple[float, ...], pose: F64) -> None:
    corners = g.box_corners(np.array([box]))[0]
    np.testing.assert_allclose(corners.mean(axis=0), box[:3], atol=1e-9)
    moved = g.transform_points(pose, corners)
    edges = np.linalg.norm(moved[g.BOX_EDGES[:, 0]] - moved[g.BOX_EDGES[:, 1]], axis=1)
    np.testing.assert_allclose(np.sort(edges), np.sort([*box[3:6]] * 4), atol=1e-6)


@given(boxes, st.floats(-3, 3), lengths, lengths)
def test_planar_transform_moves_corners_and_box_alike(box: tuple[float, ...], yaw: float, x: float, y: float) -> None:
    pose = g.from_yaw(yaw, [x, y, 0.5])
    given_box = np.array([box])
    corners = g.box_corners(g.transform_boxes(pose, given_box))
    np.testing.assert_allclose(corners[0], g.transform_points(pose, g.box_corners(given_box)[0]), atol=1e-6)


@given(boxes)
def test_projected_box_encloses_the_visible_corners(box: tuple[float, ...]) -> None:
    projection = np.array([[500.0, 0, 320, 10], [0, 500, 240, -5], [0, 0, 1, 0.002]])
    optical = np.array([[0.0, -1, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, 0], [0, 0, 0, 1]])
    given_box = np.array([box])
    (found,), (visible,) = g.project_boxes(projection, optical, given_box, None)
    pixels, depth = g.project_points(projection, g.transform_points(optical, g.box_corners(given_box)[0]))
    ahead = depth >= g.NEAR_M
    assert visible == bool(ahead.any())
    if visible:
        slack = 1e-6 * (1.0 + np.abs(found).max())
        assert np.all(pixels[ahead] >= found[:2] - slack)
        assert np.all(pixels[ahead] <= found[2:] + slack)
        if ahead.all():
            np.testing.assert_allclose(found, [*pixels.min(axis=0), *pixels.max(axis=0)], rtol=1e-6, atol=1e-6)
