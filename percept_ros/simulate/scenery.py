"""What stands about and is no object: buildings, walls, fences, poles, signs, trees, bushes, kerbs, bins, clutter."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.solids import Material, Shape, Surface

METAL = Surface(Material.SOLID, 0.45, 0.3, (150, 150, 150))
BARK = Surface(Material.SOLID, 0.25, 0.0, (50, 70, 90))
PANE = Surface(Material.GLASS, 0.2, 0.5, (110, 95, 80))


def wall_look(rng: np.random.Generator) -> Surface:
    tone = int(rng.integers(90, 230))
    tint = rng.integers(-25, 25, 3)
    colour = tuple(int(np.clip(tone + t, 20, 250)) for t in tint)
    return Surface(Material.SOLID, float(rng.uniform(0.2, 0.75)), 0.0, (colour[0], colour[1], colour[2]))


def building(rng: np.random.Generator) -> Shape:
    """A house or block with windows, door recess, steps and a flat or pitched roof; front towards +x."""
    deep, wide, high = float(rng.uniform(6, 16)), float(rng.uniform(6, 30)), float(rng.uniform(3, 18))
    shape, wall = Shape(), wall_look(rng)
    shape.box((-deep / 2, deep / 2), (-wide / 2, wide / 2), (-1.0, high), wall)
    if rng.random() < 0.5:
        rise = float(rng.uniform(1.5, 4.0))
        shape.frustum(
            2,
            (-deep / 2 - 0.4, deep / 2 + 0.4, -wide / 2, wide / 2),
            high,
            (-0.05, 0.05, -wide / 2, wide / 2),
            high + rise,
            BARK,
        )
    for y in np.arange(-wide / 2 + 1.5, wide / 2 - 1.5, float(rng.uniform(2.2, 4.0))):
        for z in np.arange(1.0, min(high, 8.0) - 1.5, 3.0):
            if rng.random() < 0.8:
                shape.box((deep / 2, deep / 2 + 0.05), (y - 0.6, y + 0.6), (z, z + 1.4), PANE)
    if rng.random() < 0.5:
        y = float(rng.uniform(-wide / 2 + 1, wide / 2 - 1))
        shape.box((deep / 2, deep / 2 + float(rng.uniform(0.8, 1.8))), (y - 1.2, y + 1.2), (2.4, 2.6), wall)
        shape.box((deep / 2, deep / 2 + 1.0), (y - 0.9, y + 0.9), (-0.2, float(rng.uniform(0.15, 0.6))), wall)
    return shape


def wall(rng: np.random.Generator) -> Shape:
    """A low or tall garden wall, along x."""
    half, high = float(rng.uniform(2, 14)), float(rng.uniform(0.5, 3.0))
    shape = Shape()
    shape.box((-half, half), (-0.15, 0.15), (-0.5, high), wall_look(rng))
    return shape


def hedge(rng: np.random.Generator) -> Shape:
    """A hedge, along x."""
    half, deep, high = float(rng.uniform(1.5, 12)), float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.6, 2.4))
    shape = Shape()
    shape.box((-half, half), (-deep, deep), (-0.3, high), leaves(rng, 0.1, 0.4))
    shape.box((-half + 0.2, half - 0.2), (-deep + 0.2, deep - 0.2), (-0.3, high - 0.2), leaves(rng, 0.05, 0.2))
    return shape


def leaves(rng: np.random.Generator, dense: float, thin: float) -> Surface:
    """Foliage with a mean free path between ``dense`` and ``thin`` m."""
    green = int(rng.integers(70, 150))
    return Surface(
        Material.FOLIAGE,
        float(rng.uniform(0.25, 0.6)),
        float(rng.uniform(dense, thin)),
        (green // 3, green, green // 2),
    )


def fence(rng: np.random.Generator) -> Shape:
    """A wire, picket or bar fence with posts, along x."""
    half, high = float(rng.uniform(3, 15)), float(rng.uniform(0.8, 2.2))
    shape = Shape()
    mesh = Surface(Material.FENCE, 0.35, float(rng.uniform(0.1, 0.7)), (110, 120, 120))
    shape.box((-half, half), (-0.03, 0.03), (0.05, high), mesh)
    for x in np.arange(-half, half + 0.1, 2.5):
        shape.box((x - 0.05, x + 0.05), (-0.05, 0.05), (-0.2, high + 0.1), METAL)
    return shape


def guard_rail(rng: np.random.Generator) -> Shape:
    """A crash barrier, along x."""
    half = float(rng.uniform(8, 30))
    shape = Shape()
    shape.box((-half, half), (-0.05, 0.05), (0.45, 0.78), METAL)
    for x in np.arange(-half, half + 0.1, 2.0):
        shape.box((x - 0.06, x + 0.06), (-0.13, -0.05), (-0.2, 0.75), METAL)
    return shape


def pole(rng: np.random.Generator) -> Shape:
    """A lamp post, bollard, or mast, perhaps with an arm or box."""
    shape = Shape()
    radius, high = float(rng.uniform(0.04, 0.18)), float(rng.choice([rng.uniform(0.7, 1.2), rng.uniform(3, 9)]))
    shape.prism(2, (0.0, 0.0, -0.3), high + 0.3, (radius, radius * 0.8), METAL)
    if high > 3 and rng.random() < 0.5:
        shape.box((-0.08, float(rng.uniform(0.8, 2.5))), (-0.06, 0.06), (high - 0.15, high), METAL)
    if rng.random() < 0.2:
        shape.box((-0.25, 0.25), (-0.2, 0.2), (0.0, min(1.3, high)), METAL)
    return shape


def sign(rng: np.random.Generator) -> Shape:
    """A road sign or traffic light on a post; its face towards +x."""
    shape = Shape()
    high, half = float(rng.uniform(1.9, 3.2)), float(rng.uniform(0.25, 0.6))
    shape.prism(2, (0.0, 0.0, -0.3), high + 0.3 + half, (0.04, 0.04), METAL)
    if rng.random() < 0.3:
        shape.box(
            (-0.12, 0.15), (-0.15, 0.15), (high - 0.1, high + 0.9), Surface(Material.SOLID, 0.1, 0.0, (40, 60, 40))
        )
    else:
        colour = ((40, 40, 200), (200, 110, 30), (230, 230, 230))[int(rng.integers(3))]
        shape.box((0.04, 0.07), (-half, half), (high - half, high + half), Surface(Material.RETRO, 0.9, 0.0, colour))
    return shape


def tree(rng: np.random.Generator) -> Shape:
    """Trunk and crown."""
    shape = Shape()
    radius, bole = float(rng.uniform(0.08, 0.4)), float(rng.uniform(1.2, 3.5))
    shape.prism(2, (0.0, 0.0, -0.3), bole + 1.3, (radius, radius * 0.75), BARK)
    wide, tall, green = float(rng.uniform(1.0, 4.0)), float(rng.uniform(2.0, 7.0)), leaves(rng, 0.4, 1.8)
    if rng.random() < 0.2:  # conifer
        shape.prism(2, (0.0, 0.0, float(rng.uniform(0.2, 1.5))), tall + 2.0, (wide * 0.7, 0.1), green)
        return shape
    for share in (0.0, 0.5):
        z = bole + share * tall
        radii = (wide * (0.55 if share == 0.0 else 1.0), wide * (1.0 if share == 0.0 else 0.4))
        dx, dy = rng.normal(0, 0.15 * wide, 2)
        shape.prism(2, (float(dx), float(dy), z), tall / 2, radii, green)
    return shape


def bush(rng: np.random.Generator) -> Shape:
    """A shrub."""
    shape = Shape()
    radius, high = float(rng.uniform(0.3, 1.4)), float(rng.uniform(0.4, 2.0))
    shape.prism(2, (0.0, 0.0, -0.1), 0.1 + high * 0.6, (radius * 0.8, radius), leaves(rng, 0.1, 0.6))
    shape.prism(2, (0.0, 0.0, high * 0.6), high * 0.4, (radius, radius * 0.4), leaves(rng, 0.1, 0.6))
    return shape


def thicket(rng: np.random.Generator) -> Shape:
    """Undergrowth: many shrubs and young trees that run into each other, along x."""
    shape = Shape()
    half, deep, high = float(rng.uniform(2, 8)), float(rng.uniform(0.8, 3.5)), float(rng.uniform(0.6, 5.0))
    for _ in range(int(half * deep * 0.7) + 4):
        x, y = float(rng.uniform(-half, half)), float(rng.uniform(-deep, deep))
        radius, top = float(rng.uniform(0.3, 1.3)), high * float(rng.uniform(0.2, 1.0))
        foot = float(rng.uniform(-0.2, 0.3)) * top
        shape.prism(2, (x, y, foot), top - foot, (radius, radius * float(rng.uniform(0.3, 1.0))), leaves(rng, 0.2, 1.5))
    for _ in range(int(rng.integers(0, 4))):
        x, y = float(rng.uniform(-half, half)), float(rng.uniform(-deep, deep))
        shape.prism(2, (x, y, -0.3), high + 0.5, (0.08, 0.06), BARK)
    return shape


def bank(rng: np.random.Generator, half: float, high: float, deep: float) -> Shape:
    """A grassy slope that rises towards +y, ``high`` m over ``deep`` m, along x; shrubs grow on it."""
    shape = Shape()
    grass = Surface(Material.SOLID, float(rng.uniform(0.25, 0.55)), 0.0, (50, 110, 80))
    shape.frustum(2, (-half, half, 0.0, deep), -0.3, (-half, half, deep - 0.05, deep), high, grass)
    for _ in range(int(rng.poisson(half * deep * rng.choice([0.0, 0.1, 0.4])))):
        x, y = float(rng.uniform(-half, half)), float(rng.uniform(0.0, deep))
        radius, ground = float(rng.uniform(0.2, 1.2)), high * y / deep
        tall = float(rng.uniform(0.3, 3.0))
        shape.prism(
            2, (x, y, ground - 0.3), tall, (radius, radius * float(rng.uniform(0.3, 1.0))), leaves(rng, 0.2, 1.2)
        )
    return shape


def barrier(rng: np.random.Generator, half: float, kind: int) -> Shape:
    """A piece of continuous road edge, along x. kind: 0 guard rail, 1 concrete, 2 noise wall, 3 fence."""
    shape = Shape()
    if kind == 0:
        shape.box((-half, half), (-0.05, 0.05), (0.45, 0.78), METAL)
        for x in np.arange(-half, half, 2.0):
            shape.box((x - 0.06, x + 0.06), (0.05, 0.13), (-0.2, 0.75), METAL)
    elif kind == 1:
        concrete = Surface(Material.SOLID, float(rng.uniform(0.25, 0.5)), 0.0, (170, 170, 170))
        shape.frustum(2, (-half, half, -0.3, 0.3), -0.2, (-half, half, -0.1, 0.1), 0.85, concrete)
    elif kind == 2:
        shape.box((-half, half), (-0.1, 0.1), (-0.3, float(rng.uniform(2.5, 2.7))), wall_look(rng))
    else:
        shape.box((-half, half), (-0.03, 0.03), (0.05, 1.2), Surface(Material.FENCE, 0.35, 0.4, (120, 120, 120)))
    return shape


def kerb(rng: np.random.Generator, half: float = 20.0, wide: float = 2.0) -> Shape:
    """A raised pavement strip, along x, its edge at y = 0 and its body towards +y."""
    shape = Shape()
    high = float(rng.uniform(0.06, 0.18))
    shape.box(
        (-half, half),
        (0.0, wide),
        (-0.5, high),
        Surface(Material.SOLID, float(rng.uniform(0.2, 0.4)), 0.0, (165, 165, 165)),
    )
    return shape


def clutter(rng: np.random.Generator) -> Shape:
    """A bin, cabinet, cone, bench, pallet, heap of boxes or shelter: things of an object's size that are none."""
    shape, kind = Shape(), rng.random()
    look = wall_look(rng)
    if kind < 0.25:
        r = float(rng.uniform(0.2, 0.45))
        shape.prism(2, (0.0, 0.0, -0.05), float(rng.uniform(0.7, 1.4)), (r, r * 1.1), look)
    elif kind < 0.5:
        size = rng.uniform((0.3, 0.3, 0.4), (1.6, 1.2, 1.9))
        shape.box((-size[0] / 2, size[0] / 2), (-size[1] / 2, size[1] / 2), (-0.1, float(size[2])), look)
    elif kind < 0.6:
        shape.prism(2, (0.0, 0.0, 0.0), 0.7, (0.18, 0.04), Surface(Material.RETRO, 0.3, 0.0, (30, 90, 230)))
    elif kind < 0.7:
        for x in (-0.7, 0.6):
            shape.box((x, x + 0.1), (-0.2, 0.2), (0.0, 0.45), look)
        shape.box((-0.8, 0.8), (-0.25, 0.2), (0.42, 0.48), look)
        shape.box((-0.8, 0.8), (0.18, 0.25), (0.48, 0.9), look)
    elif kind < 0.8:
        for _ in range(int(rng.integers(3, 8))):
            x, y = rng.uniform(-1.5, 1.5, 2)
            size = rng.uniform(0.2, 0.9, 3)
            shape.box(
                (x - size[0] / 2, x + size[0] / 2), (y - size[1] / 2, y + size[1] / 2), (0.0, float(size[2])), look
            )
    elif kind < 0.9:  # shelter
        shape.box((-2.0, 2.0), (0.7, 0.75), (0.1, 2.2), PANE)
        shape.box((-2.1, 2.1), (-0.7, 0.8), (2.3, 2.45), METAL)
        for x in (-2.0, 1.95):
            shape.box((x, x + 0.06), (-0.6, 0.75), (0.0, 2.3), Surface(Material.FENCE, 0.4, 0.4, (150, 150, 150)))
    else:  # heap
        r = float(rng.uniform(0.6, 2.5))
        shape.prism(
            2,
            (0.0, 0.0, -0.2),
            float(rng.uniform(0.5, 1.5)),
            (r, r * 0.2),
            Surface(Material.SOLID, 0.25, 0.0, (90, 110, 130)),
        )
    return shape
