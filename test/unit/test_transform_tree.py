"""The transform tree against hand-derived poses, and against tf2 where that is installed."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core.geometry import from_yaw, inverse
from percept_ros.core.transform_tree import TransformTree
from percept_ros.errors import TransformError


def tree() -> TransformTree:
    made = TransformTree()
    made.set_fixed("base_link", "lidar", from_yaw(0.0, (1.0, 0.0, 2.0)))
    made.set_fixed("base_link", "front", from_yaw(np.pi / 2, (2.0, 0.0, 1.5)))
    made.add_moving("odom", "base_link", from_yaw(0.0, (0.0, 0.0, 0.0)), 1_000_000_000)
    made.add_moving("odom", "base_link", from_yaw(0.0, (10.0, 0.0, 0.0)), 2_000_000_000)
    return made


def test_up_one_edge() -> None:
    assert np.allclose(tree().lookup("base_link", "lidar", 0)[:3, 3], (1.0, 0.0, 2.0))


def test_across_two_branches() -> None:
    found = tree().lookup("front", "lidar", 0)
    # the LiDAR is 1 m behind and 0.5 m above the camera, which looks to the left (its x axis is base y)
    assert np.allclose(found[:3, 3], (0.0, 1.0, 0.5))


def test_moving_edge_is_interpolated_and_inverse_is_consistent() -> None:
    made = tree()
    out = made.lookup("odom", "lidar", 1_500_000_000)
    assert np.allclose(out[:3, 3], (6.0, 0.0, 2.0))
    assert np.allclose(inverse(out), made.lookup("lidar", "odom", 1_500_000_000))


def test_unknown_frame_and_separate_trees_are_named() -> None:
    made = tree()
    with pytest.raises(TransformError, match="'radar' is not in the transform tree"):
        made.lookup("base_link", "radar", 0)
    made.set_fixed("map", "tower", np.eye(4))
    with pytest.raises(TransformError, match="separate trees"):
        made.lookup("base_link", "tower", 0)


def test_frame_may_move_to_another_parent_and_time_may_jump_back() -> None:
    made = tree()
    made.set_fixed("front", "lidar", np.eye(4))
    assert np.allclose(made.lookup("base_link", "lidar", 0)[:3, 3], (2.0, 0.0, 1.5))
    made.add_moving("odom", "base_link", from_yaw(0.0, (5.0, 0.0, 0.0)), 500_000_000)
    assert np.allclose(made.lookup("odom", "base_link", 500_000_000)[:3, 3], (5.0, 0.0, 0.0))


def test_agrees_with_tf2() -> None:
    tf2 = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")
    from builtin_interfaces.msg import Time
    from geometry_msgs.msg import TransformStamped

    from percept_ros.core.geometry import to_quaternion

    rng = np.random.default_rng(0)
    buffer, made = tf2.BufferCore(), TransformTree()
    for parent, child in (("a", "b"), ("b", "c"), ("a", "d"), ("d", "e")):
        pose = from_yaw(rng.uniform(-3, 3), rng.normal(0, 5, 3))
        made.set_fixed(parent, child, pose)
        edge = TransformStamped(child_frame_id=child)
        edge.header.frame_id, edge.header.stamp = parent, Time()
        t, q = edge.transform.translation, edge.transform.rotation
        t.x, t.y, t.z = (float(v) for v in pose[:3, 3])
        q.x, q.y, q.z, q.w = (float(v) for v in to_quaternion(pose))
        buffer.set_transform_static(edge, "test")
    from percept_ros.nodes.convert import se3

    for target, source in (("c", "e"), ("e", "b"), ("a", "c")):
        theirs = se3(buffer.lookup_transform_core(target, source, __import__("rclpy").time.Time()).transform)
        assert np.allclose(made.lookup(target, source, 0), theirs, atol=1e-9)
