"""Drawn images: projection, depth and occlusion agree with geometry; scenes hold together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from percept_ros.simulate.camera import RINGS_DEG, Camera, Look, camera_ring, render
from percept_ros.simulate.lidar import GROUND, NOTHING, Ground
from percept_ros.simulate.scenes import photograph, random_scene, scan
from percept_ros.simulate.sensors import random_lidar
from percept_ros.simulate.solids import Shape, Surface, place
from percept_ros.simulate.terrain import GroundLabel, Patch
from percept_ros.types import CameraCalibration, ObjectClass

K = np.array([[200.0, 0.0, 160.0], [0.0, 200.0, 90.0], [0.0, 0.0, 1.0]])
AHEAD = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
CAMERA = Camera("cam_front", 0.0, CameraCalibration(320, 180, K, np.zeros(0)), AHEAD)
PLAIN = Look(
    np.array([0.0, 0.0, 1.0]), 1.0, 0.0, 0.0, np.full(3, 200.0), np.full(3, 200.0), np.ones(3), 0.0, 0.0, np.full((256, 3), 90, np.uint8)
)  # fmt: skip
NO_LABELS = np.zeros((4, 4), np.uint8)


def patch(ground: Ground) -> Patch:
    return Patch(np.zeros(2), ground, NO_LABELS, 0.0, 0.0)


def flat() -> Ground:
    return replace(Ground.flat(), x_m=-60.0, y_m=-60.0, cell_m=4.0, height=np.zeros((31, 31), np.float32))


def block(x: float, y: float, half: float, height: float) -> Shape:
    shape = Shape()
    shape.box((x - half, x + half), (y - half, y + half), (0.0, height), Surface(colour=(10, 20, 200)))
    return shape


def test_a_block_covers_the_pixels_that_projection_says() -> None:
    solids = place([block(10.0, 0.0, 1.0, 3.0)], np.zeros((1, 4)), [0])
    image, owner, depth = render(solids, patch(flat()), CAMERA, AHEAD, PLAIN, 0.0, 1)
    rows, columns = np.nonzero(owner == 0)
    # the face at x = 9: y from -1 to 1, z from 0 to 3, camera at height 1.5
    np.testing.assert_allclose([columns.min(), columns.max() + 1], 160 + 200 * np.array([-1, 1]) / 9, atol=1)
    np.testing.assert_allclose([rows.min(), rows.max() + 1], 90 + 200 * np.array([-1.5, 1.5]) / 9, atol=1)
    np.testing.assert_allclose(depth[owner == 0], 9.0, rtol=1e-3)
    np.testing.assert_array_equal(image[90, 160], [8, 16, 160])  # upright faces get 0.8 of the sky's light


def test_ground_depth_and_sky() -> None:
    nothing = place([], np.zeros((0, 4)), [])
    _, owner, depth = render(nothing, patch(flat()), CAMERA, AHEAD, PLAIN, 0.0, 1)
    assert (owner[:89] == NOTHING).all()
    assert (owner[95:] == GROUND).all()
    rows = np.arange(100, 180)
    np.testing.assert_allclose(depth[rows, 160], 1.5 * 200 / (rows + 0.5 - 90), rtol=1e-3)


def test_the_nearer_block_hides_the_farther() -> None:
    shapes = [block(20.0, 0.0, 2.0, 4.0), block(10.0, 0.0, 2.0, 4.0)]
    for order in ((0, 1), (1, 0)):
        solids = place([shapes[i] for i in order], np.zeros((2, 4)), list(order))
        _, owner, _ = render(solids, patch(flat()), CAMERA, AHEAD, PLAIN, 0.0, 1)
        assert not (owner == 0).any()
        assert (owner == 1).any()


def test_a_block_across_the_image_plane_is_cut_not_garbled() -> None:
    shape = Shape()
    shape.box((-30.0, 30.0), (2.0, 3.0), (0.0, 3.0), Surface())
    solids = place([shape], np.zeros((1, 4)), [0])
    _, owner, depth = render(solids, patch(flat()), CAMERA, AHEAD, PLAIN, 0.0, 1)
    columns = np.nonzero((owner == 0).any(axis=0))[0]
    assert columns.min() == 0
    assert columns.max() < 160  # it is to the left
    middle = depth[90, owner[90] == 0]
    expected = 2.0 * 200 / (160 - (np.nonzero(owner[90] == 0)[0] + 0.5))
    np.testing.assert_allclose(middle, expected, rtol=1e-3)


def test_moving_solids_are_drawn_where_they_are_then() -> None:
    solids = place([block(10.0, 0.0, 1.0, 3.0)], np.zeros((1, 4)), [0], np.array([[0.0, 20.0]]))
    _, still, _ = render(solids, patch(flat()), CAMERA, AHEAD, PLAIN, 0.0, 1)
    _, moved, _ = render(solids, patch(flat()), CAMERA, AHEAD, PLAIN, 0.05, 1)
    shift = np.nonzero(moved == 0)[1].mean() - np.nonzero(still == 0)[1].mean()
    assert shift == pytest.approx(-200 * 1.0 / 9, abs=0.6)


@pytest.mark.parametrize("count", sorted(RINGS_DEG))
def test_rings_have_distinct_names_and_proper_rotations(count: int) -> None:
    ring = camera_ring(count, 160, 90, np.random.default_rng(0))
    assert len({camera.name for camera in ring}) == len(ring) == count
    for camera in ring:
        turn = camera.base_SE3_optical[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        ahead = turn[:, 2]
        assert np.arctan2(ahead[1], ahead[0]) == pytest.approx(np.angle(np.exp(1j * camera.yaw_rad)), abs=0.05) or (
            abs(abs(camera.yaw_rad) - np.pi) < 1e-6
        )


def test_noise_is_seeded() -> None:
    look = Look.random(np.random.default_rng(0))
    solids = place([block(10.0, 0.0, 1.0, 3.0)], np.zeros((1, 4)), [0])
    first, again, other = (render(solids, patch(flat()), CAMERA, AHEAD, look, 0.0, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_colour_the_ground() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[50:] = GroundLabel.PAINT
    colours = np.zeros((256, 3), np.uint8)
    colours[GroundLabel.PAINT] = 255
    painted = Patch(np.zeros(2), flat(), labels, -10.0, -10.0, 0.4)  # paint from x = 10 m
    nothing = place([], np.zeros((0, 4)), [])
    image, _, depth = render(nothing, painted, CAMERA, AHEAD, replace(PLAIN, labels=colours), 0.0, 1)
    near, far = depth[:, 160] < 9.8, (depth[:, 160] > 10.2) & (depth[:, 160] < 25.0)
    assert (image[near & (depth[:, 160] > 0), 160] == 0).all()
    assert (image[far, 160] == 255).all()


@pytest.fixture(scope="module")
def scenes() -> list[tuple[int, object, object]]:
    out = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng)
        out.append((seed, scene, scan(scene, rng)))
    return out  # type: ignore[return-value]


def test_scene_points_lie_in_their_boxes(scenes: list) -> None:
    checked = 0
    for _, scene, sample in scenes:
        for row in np.flatnonzero(sample.points_inside >= 20):
            box = sample.boxes[row]
            mine = sample.owner == row
            d = sample.points[mine].astype(float) - box[:3]
            d[:, :2] -= scene.velocity_mps[row] * sample.time_offset_s[mine, None]
            cos, sin = np.cos(box[6]), np.sin(box[6])
            own = np.column_stack([cos * d[:, 0] + sin * d[:, 1], -sin * d[:, 0] + cos * d[:, 1], d[:, 2]])
            assert np.mean((np.abs(own) < box[3:6] / 2 + [0.25, 0.35, 0.25]).all(axis=1)) > 0.97
            checked += 1
    assert checked > 40


def test_scenes_hold_all_classes_and_are_seeded(scenes: list) -> None:
    classes = set()
    for seed, scene, sample in scenes:
        rng = np.random.default_rng(seed)
        again = scan(random_scene(rng), rng)
        np.testing.assert_array_equal(again.points, sample.points)
        np.testing.assert_array_equal(again.boxes, sample.boxes)
        classes |= set(scene.class_ids.tolist())
    assert {ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE} <= classes


def test_objects_of_a_scene_do_not_share_a_place(scenes: list) -> None:
    from percept_ros.simulate.layout import overlaps

    for _, scene, _ in scenes:
        b = scene.boxes
        rows = np.column_stack([b[:, 0], b[:, 1], np.cos(b[:, 6]), np.sin(b[:, 6]), b[:, 3] / 2, b[:, 4] / 2])
        for i in range(len(rows)):
            meets = np.flatnonzero(overlaps(rows[i], rows[i + 1 :])) + i + 1
            towed = scene.class_ids[i] == ObjectClass.TRUCK and i + 1 < len(rows)
            towed = towed and scene.class_ids[i + 1] == ObjectClass.TRAILER
            assert set(meets) <= ({i + 1} if towed else set())


def test_random_lidars_differ() -> None:
    rng = np.random.default_rng(1)
    models = [random_lidar(rng) for _ in range(40)]
    assert {m.beams for m in models} >= {16, 32, 64}
    assert len({m.reach_m for m in models}) == 40


def test_photographs_show_the_objects_where_the_boxes_are(scenes: list) -> None:
    _, scene, sample = scenes[0]
    ring = camera_ring(2, 320, 180, np.random.default_rng(0))
    images = photograph(scene, sample, ring, Look.random(np.random.default_rng(0)), 1)
    assert [image.shape for image in images] == [(180, 320, 3)] * 2
    assert all(image.std() > 5 for image in images)
