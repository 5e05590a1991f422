"""Shapes: closed convex solids, tight boxes, sizes of their class, a front that differs from the back."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.simulate import scenery, vehicles
from percept_ros.simulate.shapes import MAKERS, box_at, boxed, make
from percept_ros.simulate.solids import FRUSTUM_FACES, PRISM_FACES, Shape, Surface, place
from percept_ros.types import ObjectClass

SIZES = {
    ObjectClass.CAR: ((2.0, 6.7), (1.3, 2.5), (1.1, 2.8)),
    ObjectClass.TRUCK: ((5.1, 11.2), (1.85, 2.8), (1.9, 4.1)),
    ObjectClass.BUS: ((8.4, 13.7), (2.3, 2.8), (2.7, 3.6)),
    ObjectClass.TRAILER: ((8.9, 13.8), (2.4, 2.8), (1.3, 4.1)),
    ObjectClass.MOTORCYCLE: ((1.6, 2.5), (0.5, 0.9), (0.9, 1.9)),
    ObjectClass.BICYCLE: ((1.5, 2.1), (0.3, 0.8), (0.9, 2.0)),
    ObjectClass.PEDESTRIAN: ((0.25, 1.4), (0.3, 0.9), (0.95, 2.0)),
}


@pytest.mark.parametrize("class_id", list(MAKERS), ids=lambda c: c.name)
def test_sizes_are_those_of_the_class(class_id: ObjectClass) -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([make(class_id, rng).size for _ in range(60)])
    for axis, (low, high) in enumerate(SIZES[class_id]):
        assert sizes[:, axis].min() >= low
        assert sizes[:, axis].max() <= high


def test_small_cars_are_drawn() -> None:
    rng = np.random.default_rng(2)
    lengths = np.array([make(ObjectClass.CAR, rng).size[0] for _ in range(300)])
    assert 0.02 < (lengths < 3.3).mean() < 0.2


def all_shapes() -> list[Shape]:
    rng = np.random.default_rng(3)
    shapes = [make(c, rng).shape for c in MAKERS for _ in range(4)]
    makers = (scenery.building, scenery.wall, scenery.hedge, scenery.fence, scenery.guard_rail, scenery.pole)
    makers += (scenery.sign, scenery.tree, scenery.bush, scenery.kerb, scenery.clutter)
    return shapes + [maker(rng) for maker in makers for _ in range(4)]


def test_solids_are_closed_and_convex() -> None:
    shapes = all_shapes()
    rng = np.random.default_rng(4)
    poses = np.column_stack(
        [rng.uniform(-50, 50, (len(shapes), 2)), np.zeros(len(shapes)), rng.uniform(-3, 3, len(shapes))]
    )
    solids = place(shapes, poses, list(range(len(shapes))))
    for i in range(len(solids)):
        planes, corners = solids.planes[i, : solids.plane_count[i]], solids.vertices[i, : solids.vertex_count[i]]
        inside = corners @ planes[:, :3].T - planes[:, 3]
        assert inside.max() < 2e-3, i  # every corner is inside every plane
        faces = PRISM_FACES if solids.prism[i] else FRUSTUM_FACES
        for plane, face in zip(planes, faces, strict=True):
            on = corners[list(face)] @ plane[:3] - plane[3]
            np.testing.assert_allclose(on, 0.0, atol=2e-3)  # and each face's corners lie on its plane


@pytest.mark.parametrize("class_id", list(MAKERS), ids=lambda c: c.name)
def test_the_box_is_tight_and_turns_with_the_shape(class_id: ObjectClass) -> None:
    model = make(class_id, np.random.default_rng(5))
    pose = np.array([12.0, -7.0, 0.4, 2.1])
    box = box_at(model, pose)
    solids = place([model.shape], pose[None], [0])
    corners = np.concatenate([v[:n] for v, n in zip(solids.vertices, solids.vertex_count, strict=True)])
    d = corners - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    own = np.column_stack([cos * d[:, 0] + sin * d[:, 1], -sin * d[:, 0] + cos * d[:, 1], d[:, 2]])
    if not model.shape.outside:  # mirrors stand out of the box
        np.testing.assert_allclose(own.max(axis=0), box[3:6] / 2, atol=2e-3)
        np.testing.assert_allclose(own.min(axis=0), -box[3:6] / 2, atol=2e-3)
    else:
        assert (np.abs(own).max(axis=0) >= box[3:6] / 2 - 2e-3).all()
        assert (np.abs(own).max(axis=0) <= box[3:6] / 2 + 0.3).all()


def test_cars_have_their_bonnet_in_front() -> None:
    rng = np.random.default_rng(6)
    for style in ("hatchback", "estate", "suv", "small", "mpv"):
        model = boxed(vehicles.car(rng, style), ObjectClass.CAR)
        solids = place([model.shape], np.zeros((1, 4)), [0])
        corners = solids.vertices[~solids.prism][:, :8].reshape(-1, 3)
        reach = model.size[0] / 2
        front = corners[corners[:, 0] > 0.62 * reach, 2].max()
        back = corners[corners[:, 0] < -0.62 * reach, 2].max()
        assert back - front > 0.15, style


def test_moving_solids_keeps_them_whole() -> None:
    shape = Shape()
    shape.box((0.0, 2.0), (-1.0, 1.0), (0.0, 1.0), Surface())
    shape.prism(2, (3.0, 0.0, 0.0), 2.0, (0.5, 0.2), Surface())
    there = place([shape], np.array([[5.0, -3.0, 0.5, 0.8]]), [0])
    moved = place([shape], np.zeros((1, 4)), [0]).moved(np.array([5.0, -3.0, 0.5]), np.full(2, 0.8))
    np.testing.assert_allclose(moved.vertices[:, :8], there.vertices[:, :8], atol=1e-5)
    np.testing.assert_allclose(moved.planes, there.planes, atol=1e-5)
