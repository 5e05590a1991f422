"""Lanes of training scenes: jams stand bumper to bumper, trailers hang on their tractors, nothing runs into others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from percept_ros.simulate.layout import Layout
from percept_ros.simulate.queues import articulated, jam, lane
from percept_ros.types import ObjectClass


def filled(seed: int, heavy: float) -> Layout:
    layout = Layout(np.random.default_rng(seed))
    layout.keep_clear((0.0, 0.0, 0.0), (6.0, 2.6))
    jam(layout, np.random.default_rng(seed), (0.0, 0.0), 0.0, heavy)
    return layout


def test_a_jam_stands_close_and_leaves_the_own_place_free() -> None:
    gaps: list[float] = []
    for seed in range(6):
        layout = filled(seed, 0.0)
        poses = np.array(layout.actor_poses)
        half = np.array([m.size[0] / 2 for m in layout.models])
        assert (np.abs(poses[:, 0]) > 3.0).all()
        order = np.argsort(poses[:, 0])
        gaps += list(np.diff(poses[order, 0]) - half[order][1:] - half[order][:-1])
        assert set(layout.speeds) == {0.0}
    assert len(gaps) > 20
    assert min(gaps) > 0.2
    assert np.median(gaps) < 4.0


def test_heavy_jams_hold_lorries_with_trailers() -> None:
    classes = [m.class_id for seed in range(6) for m in filled(seed, 0.6).models]
    assert classes.count(ObjectClass.TRAILER) >= 5
    for first, second in itertools.pairwise(classes):
        if second == ObjectClass.TRAILER:
            assert first == ObjectClass.TRUCK


@pytest.mark.parametrize("seed", range(8))
def test_the_king_pin_holds_trailer_and_tractor_together(seed: int) -> None:
    layout = Layout(np.random.default_rng(seed))
    assert articulated(layout, np.random.default_rng(seed), (3.0, 2.0, 0.7), 8.0)
    (fx, fy, fyaw), (rx, ry, ryaw) = layout.actor_poses
    ahead = layout.models[1].size[0] / 2 - 1.2
    front = np.array([rx + ahead * np.cos(ryaw), ry + ahead * np.sin(ryaw)])
    pin = np.array([fx - 1.7 * np.cos(fyaw), fy - 1.7 * np.sin(fyaw)])
    np.testing.assert_allclose(front, pin, atol=0.03)
    assert abs(ryaw - fyaw) <= 0.81
    assert layout.speeds == [8.0, 8.0]


def test_no_room_for_the_trailer_is_no_room_for_the_tractor() -> None:
    layout = Layout(np.random.default_rng(0))
    layout.keep_clear((-6.0, 0.0, 0.0), (2.0, 30.0))
    assert not articulated(layout, np.random.default_rng(3), (0.0, 0.0, 0.0), 0.0)
    assert not layout.models
    assert layout.keep_clear((0.0, 0.0, 0.0), (4.0, 2.0))


def test_a_flowing_lane_is_the_same_for_the_same_seed() -> None:
    poses = []
    for _ in range(2):
        layout = Layout(np.random.default_rng(5))
        lane(layout, np.random.default_rng(6), (0.0, 3.0), np.pi, 75.0, 0.6, 10.0)
        poses.append(layout.actor_poses)
    assert poses[0] == poses[1]
    assert len(poses[0]) > 3
