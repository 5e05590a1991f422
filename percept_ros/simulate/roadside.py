"""What lines the streets of training scenes closely: fronts, growth, racks of bicycles, people beside things."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from percept_ros.simulate import frontage, oddments, scenery
from percept_ros.simulate.layout import Layout
from percept_ros.simulate.solids import Shape
from percept_ros.types import ObjectClass

Maker = Callable[[np.random.Generator], Shape]
TRUNK_M = (0.7, 0.7)
_SPREAD: tuple[tuple[Maker, float, tuple[float, float] | None], ...] = (
    (oddments.old_tree, 5.0, TRUNK_M),
    (scenery.tree, 4.0, TRUNK_M),
    (scenery.pole, 3.0, (0.4, 0.4)),
    (scenery.sign, 3.0, (0.4, 0.4)),
    (oddments.post, 10.0, (0.5, 0.5)),
    (oddments.bars, 1.5, None),
    (oddments.jumble, 7.0, None),
    (scenery.bush, 3.0, None),
    (frontage.shed, 1.2, None),
    (frontage.corner_wall, 1.5, None),
    (frontage.arcade, 0.5, (0.5, 0.5)),
)
"""Maker, mean number a side, and the ground it takes: None = all it covers (crowns and roofs hang over others)."""


def dress(layout: Layout, rng: np.random.Generator, edges: tuple[float, float]) -> None:
    """Line both edges, y of the right and the left one, of a street along x."""
    density = float(rng.uniform(0.4, 2.8))
    for edge, out in ((edges[0], -1.0), (edges[1], 1.0)):
        back = edge + out * float(rng.uniform(1.5, 8.0))
        _racks(layout, rng, edge, out)
        kind = rng.random()
        if kind < 0.35:
            _fronts(layout, rng, back, out)
        elif kind < 0.65:
            _belt(layout, rng, back, out)
        elif kind < 0.8:
            _fronts(layout, rng, back + out * 4.0, out)
            _belt(layout, rng, back, out)
        for maker, mean, ground in _SPREAD:
            for _ in range(int(rng.poisson(mean * density))):
                at = (float(rng.uniform(-55, 55)), edge + out * float(rng.exponential(4.0) + 0.3))
                yaw = float(rng.choice([0.0, np.pi / 2, rng.uniform(-np.pi, np.pi)]))
                layout.thing(maker(rng), (*at, yaw), ground=ground)
    _people_beside_things(layout, rng)


def scatter(layout: Layout, rng: np.random.Generator) -> None:
    """Fronts, sheds and heaps anyhow, as around yards and squares."""
    for _ in range(int(rng.poisson(4.0))):
        maker = (frontage.front, frontage.shed, frontage.corner_wall, oddments.jumble)[int(rng.integers(4))]
        layout.thing(maker(rng), (*rng.uniform(-50, 50, 2), rng.uniform(-np.pi, np.pi)))


def _fronts(layout: Layout, rng: np.random.Generator, back: float, out: float) -> None:
    x, end = float(rng.uniform(-70, -5)), float(rng.uniform(5, 70))
    while x < end:
        wide = float(rng.uniform(5, 24))
        at = (x + wide / 2, back + out * float(rng.choice([0.0, 0.0, rng.uniform(0.0, 3.0)])), -out * np.pi / 2)
        layout.thing(frontage.front(rng, wide), at)
        x += wide + float(rng.choice([0.3, 0.3, rng.uniform(1.0, 12.0)]))


def _belt(layout: Layout, rng: np.random.Generator, back: float, out: float) -> None:
    x, end, half = float(rng.uniform(-70, -5)), float(rng.uniform(5, 70)), 6.0
    while x < end:
        layout.thing(oddments.belt(rng, half), (x, back, 0.0 if out > 0 else np.pi), ground=(2 * half, 2.5))
        x += 2 * half + float(rng.choice([0.0, 0.0, rng.uniform(0.0, 10.0)]))


def _racks(layout: Layout, rng: np.random.Generator, edge: float, out: float) -> None:
    """Bicycles that stand side by side, square to the street or slanted."""
    for _ in range(int(rng.poisson(0.5))):
        x, y = float(rng.uniform(-35, 35)), edge + out * float(rng.uniform(0.9, 6.0))
        yaw, step = out * float(rng.choice([np.pi / 2, 1.0, 2.2])), float(rng.uniform(0.75, 1.3))
        for k in range(int(rng.integers(2, 9))):
            layout.parked_bicycle((x + k * step, y + float(rng.normal(0, 0.1)), yaw + float(rng.normal(0, 0.1))))


def _people_beside_things(layout: Layout, rng: np.random.Generator) -> None:
    """Persons close to whatever stands there: at cars, walls, trees, bus stops."""
    places = np.array([*layout.actor_poses, *layout.thing_poses])
    if not len(places):
        return
    near = places[np.hypot(places[:, 0], places[:, 1]) < 42.0]
    for _ in range(int(rng.poisson(6.0)) if len(near) else 0):
        x, y, _ = near[int(rng.integers(len(near)))]
        away, angle = float(rng.uniform(0.4, 3.0)), float(rng.uniform(-np.pi, np.pi))
        for _ in range(int(rng.choice([1, 1, 2, 3]))):
            at = (x + away * np.cos(angle) + rng.normal(0, 0.4), y + away * np.sin(angle) + rng.normal(0, 0.4))
            layout.actor(ObjectClass.PEDESTRIAN, (*at, rng.uniform(-np.pi, np.pi)), 0.0)
