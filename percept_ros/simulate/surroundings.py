"""What stands along the road: made stretch by stretch from the seed, so that a drive may be of any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.simulate import people, scenery
from percept_ros.simulate.layout import Layout
from percept_ros.simulate.paths import Path, Road
from percept_ros.simulate.shapes import Model, box_at, boxed, make
from percept_ros.simulate.solids import SCENERY, Shape, Solids, place
from percept_ros.simulate.terrain import Terrain
from percept_ros.types import F64, ObjectClass

STRETCH_M = 25.0
KEYS_A_STRETCH = 1000
FIRST_KEY = 1 << 32
"""Keys of standing objects begin here; those of movers lie below."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One piece of roadside.

    origin: (2,) fixed frame; solids are relative to it, with object = row of ``boxes`` or ``SCENERY``.
    boxes: (n, 7) in the fixed frame. keys: one number an object. class_ids: (n,).
    """

    origin: F64
    solids: Solids
    boxes: F64
    keys: tuple[int, ...]
    class_ids: tuple[ObjectClass, ...]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a drive's surroundings look: shares in [0, 1]."""

    urban: float
    green: float
    parked: float
    people: float


class Surroundings:
    """Makes and keeps stretches."""

    def __init__(self, road: Road, terrain: Terrain, seed: int, density: float) -> None:
        rng = np.random.default_rng([seed, 77])
        self._road, self._terrain, self._seed = road, terrain, seed
        self._manners = Manners(
            float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.2, 0.9)), density
        )
        self._made: dict[int, Stretch] = {}

    def near(self, along_m: float, reach_m: float) -> list[Stretch]:
        """Stretches within ``reach_m`` along the road."""
        first, last = int((along_m - reach_m) // STRETCH_M), int((along_m + reach_m) // STRETCH_M)
        count = int(self._road.centre.length_m // STRETCH_M)
        wanted = range(max(0, first), min(count, last + 1))
        for index in [i for i in self._made if i < first - 2]:
            del self._made[index]
        for index in wanted:
            if index not in self._made:
                self._made[index] = self._make(index)
        return [self._made[index] for index in wanted]

    def _make(self, index: int) -> Stretch:
        rng = np.random.default_rng([self._seed, 1000 + index])
        start = index * STRETCH_M
        builder = _Builder(self._road, self._terrain, rng, start)
        for side in (-1.0, 1.0):
            _roadside(builder, rng, side, start, self._manners)
        return builder.build(FIRST_KEY + index * KEYS_A_STRETCH)


class _Builder:
    """Places things by distance along the road and offset from its middle (left positive)."""

    def __init__(self, road: Road, terrain: Terrain, rng: np.random.Generator, start: float) -> None:
        self.road, self._terrain, self._start = road, terrain, start
        self._layout = Layout(rng, 512)
        self._near = road.centre.part(start - 160.0, start + 160.0)
        self._sides = [s for c, s in zip(road.crossings_m, road.sides, strict=True) if abs(c - start) < 160.0]

    def pose(self, along: float, offset: float, turned: float) -> tuple[float, float, float]:
        x, y, yaw = self.road.centre.pose(along)
        return x - offset * np.sin(yaw), y + offset * np.cos(yaw), yaw + turned

    def clear_of_roads(self, xy: F64, room: float) -> bool:
        """Whether a circle about ``xy`` keeps off every road and its pavement."""
        if _distance(self._near, xy) < self.road.edge_m + room:
            return False
        return all(_distance(side, xy) > self.road.side_edge_m + 2.0 + room for side in self._sides)

    def thing(self, shape: Shape, along: float, offset: float, turned: float, room: float | None = None) -> None:
        """Scenery; room: radius that must keep off the roads, None = need not."""
        pose = self.pose(along, offset, turned)
        if room is None or self.clear_of_roads(np.array(pose[:2]), room):
            self._layout.thing(shape, pose)

    def kerb(self, shape: Shape, along: float, offset: float, turned: float) -> None:
        self._layout.thing(shape, self.pose(along, offset, turned), solid=False)

    def stand(self, model: Model, along: float, offset: float, turned: float) -> None:
        """A labelled object that does not move."""
        pose = self.pose(along, offset, turned)
        if self._layout.keep_clear(pose, (float(model.size[0]) + 0.4, float(model.size[1]) + 0.2)):
            self._layout.models.append(model)
            self._layout.actor_poses.append(pose)

    def build(self, first_key: int) -> Stretch:
        layout = self._layout
        origin = np.array(self.road.centre.pose(self._start)[:2])
        flat = np.array([*layout.actor_poses, *layout.thing_poses]).reshape(-1, 3)
        height = self._terrain.height(flat[:, 0], flat[:, 1])
        poses = np.column_stack([flat[:, :2], height, flat[:, 2]])
        count = len(layout.models)
        boxes = np.array([box_at(m, p) for m, p in zip(layout.models, poses[:count], strict=True)]).reshape(-1, 7)
        local = poses - [*origin, 0.0, 0.0]
        shapes = [m.shape for m in layout.models] + layout.things
        solids = place(shapes, local, [*range(count), *[SCENERY] * len(layout.things)])
        keys = tuple(range(first_key, first_key + count))
        return Stretch(origin, solids, boxes, keys, tuple(m.class_id for m in layout.models))


def _distance(line: Path, xy: F64) -> float:
    return float(np.sqrt(np.min(np.sum((line.xy - xy) ** 2, axis=1))))


def _roadside(b: _Builder, rng: np.random.Generator, side: float, start: float, manners: Manners) -> None:
    road = b.road
    back = road.edge_m + road.pavement_m
    _kerbs(b, rng, side, start)
    if rng.random() < manners.parked:
        for along in np.arange(start + 3.0, start + STRETCH_M - 3.0, 6.0):
            if road.near_crossing(float(along)) > road.side_edge_m + 9.0 and rng.random() < 0.75:
                class_id = ObjectClass(rng.choice([1, 2, 5], p=[0.94, 0.03, 0.03]))
                model = make(class_id, rng)
                offset = side * (road.edge_m - 0.2 - model.size[1] / 2)
                turned = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.03) + (np.pi if rng.random() < 0.1 else 0.0)
                b.stand(model, float(along + rng.normal(0, 0.25)), offset, turned)
    for _ in range(int(rng.poisson(0.8 * manners.people))):
        along, offset = rng.uniform(start, start + STRETCH_M), side * (back - rng.uniform(0.2, 0.8))
        b.stand(boxed(people.pedestrian(rng, 0.0), ObjectClass.PEDESTRIAN), along, offset, rng.uniform(-np.pi, np.pi))
    if rng.random() < 0.1:
        model = boxed(people.bicycle(rng, False), ObjectClass.BICYCLE)
        b.stand(model, rng.uniform(start, start + STRETCH_M), side * (back - 0.5), rng.uniform(-np.pi, np.pi))
    _furniture(b, rng, side, start, back, manners)
    _backs(b, rng, side, start, back, manners)


def _kerbs(b: _Builder, rng: np.random.Generator, side: float, start: float) -> None:
    for along in np.arange(start + 2.5, start + STRETCH_M, 5.0):
        if b.road.near_crossing(float(along)) > b.road.side_edge_m + 3.0:
            shape = scenery.kerb(np.random.default_rng(5), 2.6, b.road.pavement_m)
            b.kerb(shape, float(along), side * b.road.edge_m, 0.0 if side > 0 else np.pi)


def _furniture(b: _Builder, rng: np.random.Generator, side: float, start: float, back: float, manners: Manners) -> None:
    at = side * (b.road.edge_m + 0.5)
    facing = np.pi if side < 0 else 0.0
    b.thing(scenery.pole(rng), start + 12.0 + rng.normal(0, 2.0), at, -side * np.pi / 2, -0.8)
    if rng.random() < 0.5:
        b.thing(scenery.sign(rng), rng.uniform(start, start + STRETCH_M), at, facing, -0.8)
    for along in np.arange(start + 2.0, start + STRETCH_M, 9.0):
        if rng.random() < 0.5 * manners.green:
            b.thing(scenery.tree(rng), float(along), side * (back + rng.uniform(0.3, 2.0)), rng.uniform(0, 6), 0.3)
    for maker, count in ((scenery.bush, 1.5), (scenery.clutter, 1.0), (scenery.thicket, 0.6 * manners.green)):
        for _ in range(int(rng.poisson(count))):
            b.thing(
                maker(rng),
                rng.uniform(start, start + STRETCH_M),
                side * (back + rng.uniform(0.5, 3.0)),
                rng.uniform(0, 6),
                1.0,
            )


def _backs(b: _Builder, rng: np.random.Generator, side: float, start: float, back: float, manners: Manners) -> None:
    """Buildings, hedges, walls, fences and woods behind the pavement."""
    middle = start + STRETCH_M / 2
    if rng.random() < manners.urban:
        shape = scenery.building(rng)
        low, high = shape.extent()
        deep = float(high[0] - low[0]) / 2
        b.thing(shape, middle, side * (back + 1.5 + rng.uniform(0, 8) + deep), -side * np.pi / 2, max(2.0, deep))
    else:
        for _ in range(int(rng.integers(2, 7))):
            offset = side * (back + rng.uniform(5.0, 30.0))
            shape = scenery.tree(rng) if rng.random() < 0.6 else scenery.thicket(rng)
            b.thing(shape, rng.uniform(start, start + STRETCH_M), offset, rng.uniform(0, 6), 3.0)
    kind = rng.random()
    makers = ((0.2, scenery.hedge), (0.35, scenery.wall), (0.5, scenery.fence), (0.56, scenery.guard_rail))
    for limit, maker in makers:
        if kind < limit:
            b.thing(maker(rng), middle, side * (back + rng.uniform(0.4, 1.0)), 0.0, 0.2)
            return
