"""Building fronts as a LiDAR sees them: piers, sills and lintels around glass, rooms behind, awnings, columns, stairs."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.scenery import METAL, PANE, wall_look
from percept_ros.simulate.solids import Material, Shape, Surface


def front(rng: np.random.Generator, wide: float | None = None) -> Shape:
    """A house front with openings, looking towards +x from x = 0; what the beams meet through them lies behind."""
    wide = float(rng.uniform(5, 24)) if wide is None else wide
    shape, look, half = Shape(), wall_look(rng), wide / 2
    high, sill = float(rng.uniform(2.6, 9.0)), float(rng.choice([0.1, rng.uniform(0.3, 1.1)]))
    lintel, deep = float(rng.uniform(2.0, 2.8)), float(rng.uniform(0.15, 0.6))
    shape.box((-deep, 0.0), (-half, half), (lintel, high), look)
    shape.box((-deep, 0.0), (-half, half), (-0.5, sill), look)
    glass = Surface(Material.GLASS, PANE.reflectivity, float(rng.uniform(0.02, 0.7)), PANE.colour)
    shape.box((-deep * 0.6 - 0.02, -deep * 0.6), (-half, half), (sill, lintel), glass)
    _piers(shape, rng, half, deep, (sill, lintel), look)
    _room(shape, rng, half, deep, lintel, look)
    if rng.random() < 0.4:
        awning(rng, shape, half)
    if rng.random() < 0.3:
        _steps(shape, rng, half, look)
    return shape


def _piers(
    shape: Shape, rng: np.random.Generator, half: float, deep: float, z: tuple[float, float], look: Surface
) -> None:
    step, thick = float(rng.uniform(1.0, 5.0)), float(rng.uniform(0.06, 1.6))
    proud = float(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.5)]))
    for y in np.arange(-half, half, step):
        shape.box((-deep, proud), (y, y + min(thick, 0.9 * step)), z, look)


def _room(shape: Shape, rng: np.random.Generator, half: float, deep: float, lintel: float, look: Surface) -> None:
    """Back wall, and furniture between it and the glass."""
    back = -deep - float(rng.uniform(0.3, 8.0))
    shape.box((back - 0.1, back), (-half, half), (-0.5, lintel), look)
    for _ in range(int(rng.poisson(half * 0.4))):
        x, y = float(rng.uniform(back, -deep)), float(rng.uniform(-half, half))
        size = rng.uniform((0.2, 0.2, 0.4), (1.5, 1.5, 2.0))
        shape.box((x, x + float(size[0])), (y, y + float(size[1])), (0.0, float(size[2])), look)


def awning(rng: np.random.Generator, shape: Shape, half: float) -> None:
    """A roof over the pavement in front of a wall at x = 0, perhaps on posts."""
    out, low = float(rng.uniform(0.6, 3.0)), float(rng.uniform(2.2, 3.4))
    start, end = np.sort(rng.uniform(-half, half, 2))
    shape.box((0.0, out), (float(start), float(end) + 0.5), (low, low + 0.12), METAL)
    if rng.random() < 0.5:
        for y in np.arange(start, end, 2.5):
            shape.prism(2, (out - 0.1, float(y), -0.2), low + 0.2, (0.06, 0.06), METAL)


def _steps(shape: Shape, rng: np.random.Generator, half: float, look: Surface) -> None:
    y, wide = float(rng.uniform(-half, half)), float(rng.uniform(0.6, 2.5))
    for k in range(int(rng.integers(1, 5))):
        shape.box((0.0, 1.5 - 0.3 * k), (y - wide, y + wide), (-0.2, 0.17 * (k + 1)), look)
    for side in (-wide, wide):
        shape.limb((1.4, y + side, 0.0), (1.4, y + side, 1.0), 0.06, METAL)


def arcade(rng: np.random.Generator) -> Shape:
    """Columns under a roof, along y: a colonnade, filling station or carport."""
    shape, look = Shape(), wall_look(rng)
    half, deep, low = float(rng.uniform(3, 12)), float(rng.uniform(2, 7)), float(rng.uniform(2.4, 4.5))
    thick, step = float(rng.uniform(0.05, 0.4)), float(rng.uniform(2.0, 6.0))
    shape.box((-deep / 2, deep / 2), (-half, half), (low, low + 0.4), look)
    for y in np.arange(-half + 0.3, half, step):
        for x in (-deep / 2 + 0.3, deep / 2 - 0.3):
            shape.box((x - thick, x + thick), (y - thick, y + thick), (-0.3, low), look)
    return shape


def shed(rng: np.random.Generator) -> Shape:
    """A box about as large as a lorry or car that is none: container, garage, kiosk, substation, skip."""
    shape, look = Shape(), wall_look(rng)
    size = rng.uniform((1.2, 1.2, 1.0), (9.0, 4.0, 3.8))
    x, y, z = (float(v) / 2 for v in size)
    kind = rng.random()
    if kind < 0.5:
        shape.box((-x, x), (-y, y), (-0.3, 2 * z), look)
    elif kind < 0.8:  # pitched or rounded
        shape.box((-x, x), (-y, y), (-0.3, 1.3 * z), look)
        shape.frustum(2, (-x, x, -y, y), 1.3 * z, (-x * 0.9, x * 0.9, -0.1, 0.1), 2 * z, look)
    else:  # open at the top or a side
        for side in (-1.0, 1.0):
            shape.box((-x, x), (side * y - 0.06, side * y + 0.06), (-0.2, 2 * z), look)
        shape.box((-x - 0.06, -x + 0.06), (-y, y), (-0.2, 2 * z), look)
    if rng.random() < 0.4:
        shape.box((-x - 0.3, x + 0.3), (-y - 0.3, y + 0.3), (2 * z, 2 * z + 0.1), look)
    return shape


def corner_wall(rng: np.random.Generator) -> Shape:
    """Walls that meet, stop and start again: yard walls, ruins of scaffolding, ramps."""
    shape, look, high = Shape(), wall_look(rng), float(rng.uniform(0.4, 4.5))
    x = 0.0
    for _ in range(int(rng.integers(1, 5))):
        run = float(rng.uniform(0.6, 7.0))
        shape.box((x, x + run), (-0.12, 0.12), (-0.4, high), look)
        if rng.random() < 0.5:
            back = float(rng.uniform(0.5, 5.0))
            shape.box((x - 0.12, x + 0.12), (0.0, back), (-0.4, high * float(rng.uniform(0.5, 1.0))), look)
        x += run + float(rng.choice([0.0, rng.uniform(0.5, 4.0)]))
    return shape
