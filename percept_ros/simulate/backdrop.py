"""What closes the view of a training scene: rows of houses, trees or undergrowth, banks, walls and rails."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate import scenery
from percept_ros.simulate.layout import Layout

_ROWS = (
    (scenery.building,),
    (scenery.tree, scenery.thicket, scenery.bush),
    (scenery.hedge, scenery.building, scenery.thicket),
)


def backdrop(layout: Layout, rng: np.random.Generator, edges: tuple[float, float]) -> None:
    """Rows of houses or trees that close the view to the sides and ends."""
    rows = []
    for edge, out in ((edges[0], -1.0), (edges[1], 1.0)):
        y = edge + out * float(rng.uniform(7, 35))
        rows.append([(x, y, -out * np.pi / 2) for x in np.arange(-85.0, 85.0, float(rng.uniform(5, 16)))])
    for out in (-1.0, 1.0):
        x = out * float(rng.uniform(45, 95))
        rows.append([(x, y, np.pi if out > 0 else 0.0) for y in np.arange(-50.0, 50.0, float(rng.uniform(6, 16)))])
    for row in rows:
        kind = rng.random()
        if kind < 0.25:
            continue
        makers = _ROWS[0 if kind < 0.45 else 1 if kind < 0.8 else 2]
        for x, y, yaw in row:
            at = (x + rng.normal(0, 1.0), y + rng.normal(0, 1.5), yaw)
            layout.thing(makers[int(rng.integers(len(makers)))](rng), at)


def close_in(layout: Layout, rng: np.random.Generator, edges: tuple[float, float]) -> None:
    """Line a road as motorways are: barriers at its edges, banks behind."""
    for edge, out in ((edges[0], -1.0), (edges[1], 1.0)):
        turned = 0.0 if out > 0 else np.pi
        kind, gap = int(rng.integers(0, 5)), float(rng.uniform(0.2, 1.5))
        if kind < 4:
            for x in np.arange(-80.0, 80.0, 8.0):
                layout.thing(scenery.barrier(rng, 4.0, kind), (x, edge + out * gap, turned), solid=False)
        if rng.random() < 0.6:
            high, deep, away = float(rng.uniform(1.0, 6.0)), float(rng.uniform(4.0, 14.0)), float(rng.uniform(1.0, 6.0))
            for x in np.arange(-80.0, 80.0, 16.0):
                layout.thing(scenery.bank(rng, 8.0, high, deep), (x, edge + out * (gap + away), turned), solid=False)
            layout.keep_clear((0.0, edge + out * (gap + away + deep / 2), 0.0), (170.0, deep))
