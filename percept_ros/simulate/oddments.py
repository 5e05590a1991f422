"""Scenery of no name: heaps of random solids that teach what a vehicle or a person is not, and things at a road's edge."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.scenery import BARK, METAL, leaves, wall_look
from percept_ros.simulate.solids import Material, Shape, Surface


def jumble(rng: np.random.Generator) -> Shape:
    """Two to nine random solids of all materials within the space of a person up to a lorry."""
    shape = Shape()
    reach = rng.uniform((0.2, 0.2, 0.4), (3.5, 1.8, 3.0)) if rng.random() < 0.6 else rng.uniform(0.15, 0.7, 3)
    reach[2] = max(reach[2], float(rng.uniform(0.5, 2.0)))
    for _ in range(int(rng.integers(2, 10))):
        _piece(shape, rng, reach)
    return shape


def _piece(shape: Shape, rng: np.random.Generator, reach: np.ndarray) -> None:
    look = (wall_look(rng), METAL, leaves(rng, 0.1, 1.0), wall_look(rng))[int(rng.integers(4))]
    if rng.random() < 0.15:
        look = Surface(Material.FENCE, 0.4, float(rng.uniform(0.2, 0.7)), (120, 120, 120))
    at, size = rng.uniform(-reach, reach), rng.uniform(0.05, 0.9, 3) * reach
    low = float(max(-0.2, at[2] * rng.choice([0.0, 1.0])))
    x, y, a, b = float(at[0]), float(at[1]), float(size[0]), float(size[1])
    high = low + float(size[2]) + 0.1
    kind = rng.random()
    if kind < 0.4:
        shape.box((x - a, x + a), (y - b, y + b), (low, high), look)
    elif kind < 0.6:
        radius = float(rng.uniform(0.03, 0.6))
        shape.prism(2, (x, y, low), high - low, (radius, radius * float(rng.uniform(0.2, 1.2))), look)
    elif kind < 0.8:
        dx, dy = rng.normal(0, 0.4, 2)
        shape.frustum(2, (x - a, x + a, y - b, y + b), low, (x + dx, x + dx + a, y + dy, y + dy + b), high, look)
    else:
        shape.limb((x, y, low), (x + float(rng.normal(0, 0.6)), y + float(rng.normal(0, 0.6)), high), 0.12, look)


def belt(rng: np.random.Generator, half: float) -> Shape:
    """A piece of dense growth along a road, along x, deep towards +y: its front is irregular, crowns hang over it."""
    shape = Shape()
    dense = float(rng.choice([0.1, 0.3, 1.0]))
    for x in np.arange(-half, half, 0.9):
        y, radius = float(rng.normal(0.5, 0.5)), float(rng.uniform(0.5, 1.4))
        top = float(rng.uniform(0.5, 4.5))
        shape.prism(
            2, (float(x), y, -0.2), top, (radius, radius * float(rng.uniform(0.4, 1.2))), leaves(rng, dense, 3 * dense)
        )
    for _ in range(int(half)):
        x, y, z = float(rng.uniform(-half, half)), float(rng.uniform(1.0, 8.0)), float(rng.uniform(-0.2, 1.5))
        radius, tall = float(rng.uniform(0.8, 2.5)), float(rng.uniform(1.5, 5.0))
        shape.prism(2, (x, y, z), tall, (radius, radius * 0.6), leaves(rng, 0.3, 2.5))
        shape.prism(2, (x, y, -0.3), z + 0.4, (0.12, 0.1), BARK)
    return shape


def old_tree(rng: np.random.Generator) -> Shape:
    """A broad tree whose low branches hang over the road, its trunk at the origin."""
    shape = Shape()
    radius, fork = float(rng.uniform(0.1, 0.5)), float(rng.uniform(1.0, 2.6))
    shape.prism(2, (0.0, 0.0, -0.3), fork + 0.8, (radius, radius * 0.8), BARK)
    for _ in range(int(rng.integers(3, 12))):
        far, angle = float(rng.uniform(0.3, 4.0)), float(rng.uniform(-np.pi, np.pi))
        x, y, z = far * np.cos(angle), far * np.sin(angle), fork + float(rng.uniform(-0.5, 3.5))
        wide, tall = float(rng.uniform(0.5, 2.2)), float(rng.uniform(0.5, 2.5))
        shape.prism(2, (x, y, z), tall, (wide, wide * 0.7), leaves(rng, 0.2, 2.0))
        if rng.random() < 0.5:
            shape.limb((0.0, 0.0, fork), (x, y, z + 0.4), 0.1, BARK)
    return shape


def post(rng: np.random.Generator) -> Shape:
    """Bollard, parking meter, hydrant, letter box, bin on a post, stump or slim trunk: as wide as a leg up to a person."""
    shape, look = Shape(), wall_look(rng)
    thin, high = float(rng.uniform(0.04, 0.3)), float(rng.uniform(0.5, 2.2))
    shape.prism(2, (0.0, 0.0, -0.2), high + 0.2, (thin, thin * float(rng.uniform(0.6, 1.1))), look)
    if rng.random() < 0.6:
        a, b = rng.uniform(0.08, 0.35, 2)
        low = high * float(rng.uniform(0.3, 0.9))
        shape.box((-float(a), float(a)), (-float(b), float(b)), (low, low + float(rng.uniform(0.15, 0.8))), look)
    if rng.random() < 0.15:
        shape.prism(2, (0.0, 0.0, high * 0.6), high * 0.6, (0.2, 0.5), leaves(rng, 0.1, 0.5))
    return shape


def bars(rng: np.random.Generator) -> Shape:
    """Railing, scaffold, stacked chairs, bicycle stands: many thin bars, along x."""
    shape, half, high = Shape(), float(rng.uniform(0.6, 5.0)), float(rng.uniform(0.6, 2.2))
    for x in np.arange(-half, half, float(rng.uniform(0.2, 1.2))):
        shape.box((x - 0.025, x + 0.025), (-0.025, 0.025), (-0.1, high), METAL)
        if rng.random() < 0.3:
            shape.box((x - 0.025, x + 0.025), (-0.6, 0.6), (high - 0.05, high), METAL)
    for z in (0.3 * high, high):
        shape.box((-half, half), (-0.025, 0.025), (z - 0.03, z + 0.03), METAL)
    return shape
