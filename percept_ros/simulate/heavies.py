"""Lorries, trailers and buses of convex solids."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.solids import Material, Shape, Surface
from percept_ros.simulate.vehicles import INTERIOR, LAMP, PLATE, TAIL, UNDERSIDE, paint, plates, wheels, window


def _cab(shape: Shape, front: float, depth: float, half: float, height: float, rng: np.random.Generator) -> None:
    """Cab over the engine, its windscreen nearly upright."""
    body, glass = paint(rng), window(rng)
    belt, sill = float(rng.uniform(1.3, 1.75)), float(rng.uniform(0.3, 0.5))
    eave = min(height - 0.1, belt + float(rng.uniform(0.75, 1.0)))
    rear = front - depth
    shape.frustum(0, (-half, half, sill, belt), rear, (-half * 0.96, half * 0.96, sill, belt), front, body)
    shape.frustum(
        2,
        (rear + 0.5, front - 0.03, -half * 0.98, half * 0.98),
        belt,
        (rear + 0.5, front - 0.15, -half * 0.95, half * 0.95),
        eave,
        glass,
    )
    shape.box((rear, rear + 0.5), (-half, half), (belt, height), body)
    shape.frustum(
        2,
        (rear + 0.5, front - 0.12, -half, half),
        eave,
        (rear + 0.5, front - 0.6, -half * 0.9, half * 0.9),
        height,
        body,
    )
    shape.box((rear + 0.55, rear + 0.7), (-half * 0.8, half * 0.8), (belt - 0.1, belt + 0.6), INTERIOR)
    for side in (-1.0, 1.0):
        shape.limb((front - 0.08, side * half * 0.96, belt), (front - 0.2, side * half * 0.94, eave), 0.1, body)
        shape.box(
            (front - 0.25, front - 0.1),
            (side * (half + 0.15) - 0.1, side * (half + 0.15) + 0.1),
            (belt, belt + 0.6),
            UNDERSIDE,
        )
        shape.leave_out()
        middle = side * (half - 0.3)
        shape.box((front - 0.1, front + 0.01), (middle - 0.15, middle + 0.15), (sill + 0.15, sill + 0.32), LAMP)


def _load(
    shape: Shape, x: tuple[float, float], half: float, floor: float, top: float, rng: np.random.Generator
) -> None:
    """A closed box, tilt, tank, flat bed with load, or tipper between x[0] and x[1]."""
    cover = Surface(Material.SOLID, float(rng.uniform(0.15, 0.85)), float(rng.uniform(0, 0.3)), paint(rng).colour)
    kind = rng.random()
    shape.box((x[0] + 0.05, x[1]), (-half * 0.45, half * 0.45), (floor - 0.35, floor), UNDERSIDE)
    _gear(shape, x, half, floor, rng)
    if kind < 0.57:
        shape.box(x, (-half, half), (floor, top), cover)
    elif kind < 0.66:
        radius = min(half, (top - floor) / 2)
        shape.prism(0, (x[0], 0.0, floor + radius), x[1] - x[0], (radius, radius), cover)
    elif kind < 0.75:
        _silo(shape, x, half, floor, top, cover, rng)
    elif kind < 0.9:
        shape.box(x, (-half, half), (floor, floor + 0.15), cover)
        for start in np.arange(x[0] + 0.3, x[1] - 1.5, 2.0):
            tall = float(rng.uniform(0.3, max(0.4, top - floor - 0.2)))
            shape.box(
                (start, start + float(rng.uniform(0.8, 1.7))),
                (-half * 0.9, half * 0.9),
                (floor + 0.15, floor + 0.15 + tall),
                paint(rng),
            )
    else:
        shape.frustum(2, (x[0], x[1], -half * 0.8, half * 0.8), floor, (x[0], x[1], -half, half), top * 0.75, cover)


def _silo(
    shape: Shape,
    x: tuple[float, float],
    half: float,
    floor: float,
    top: float,
    cover: Surface,
    rng: np.random.Generator,
) -> None:
    """A tank that tapers to hoppers below and to its ends."""
    radius = min(half, (top - floor) / 2)
    middle, end = floor + radius, float(rng.uniform(0.5, 0.9)) * radius
    third = (x[1] - x[0]) / 4
    shape.prism(0, (x[0], 0.0, middle), third, (end, radius), cover)
    shape.prism(0, (x[0] + third, 0.0, middle), 2 * third, (radius, radius), cover)
    shape.prism(0, (x[1] - third, 0.0, middle), third, (radius, end), cover)
    for start in np.arange(x[0] + 0.6, x[1] - 1.8, float(rng.uniform(2.0, 3.5))):
        shape.frustum(
            2,
            (start + 0.6, start + 1.0, -0.2, 0.2),
            floor - 0.5,
            (start, start + 1.6, -half * 0.7, half * 0.7),
            floor + 0.4 * radius,
            cover,
        )


def _gear(shape: Shape, x: tuple[float, float], half: float, floor: float, rng: np.random.Generator) -> None:
    """Pipes, lockers, tanks and guards under and along the sides of a load."""
    for side in (-1.0, 1.0):
        if rng.random() < 0.4:
            z = float(rng.uniform(0.7, floor + 0.2))
            radius = float(rng.uniform(0.06, 0.16))
            shape.prism(0, (x[0] + 0.3, side * (half - radius), z), x[1] - x[0] - 0.6, (radius, radius), UNDERSIDE)
        for _ in range(int(rng.poisson(1.0))):
            start = float(rng.uniform(x[0], x[1] - 1.0))
            y = side * (half - 0.05)
            low = float(rng.uniform(0.35, 0.6))
            shape.box(
                (start, start + float(rng.uniform(0.5, 1.0))),
                (min(y, y - side * 0.5), max(y, y - side * 0.5)),
                (low, floor - 0.05),
                paint(rng),
            )


def lorry(rng: np.random.Generator) -> Shape:
    """A rigid lorry: cab, gap, load."""
    length, width, height = float(rng.uniform(5.8, 11.0)), float(rng.uniform(2.1, 2.55)), float(rng.uniform(2.5, 3.9))
    shape = Shape()
    front, half, depth = length / 2, width / 2, float(rng.uniform(1.5, 2.2))
    floor = float(rng.uniform(0.9, 1.2))
    _cab(shape, front, depth, half * 0.98, min(height, float(rng.uniform(2.4, 3.3))), rng)
    _load(shape, (-front, front - depth - 0.15), half, floor, height, rng)
    axles = (front - 1.2, -front + 1.6) if length < 8 else (front - 1.4, -front + 2.7, -front + 1.4)
    wheels(shape, axles, width - 0.1, 0.48, 0.3)
    shape.box((-front - 0.01, -front + 0.02), (-0.26, 0.26), (0.6, 0.72), PLATE)
    return shape


def light_lorry(rng: np.random.Generator) -> Shape:
    """A pick-up lorry: short bonnet, cab of one or two rows, flat bed, tilt or box behind."""
    length, half = float(rng.uniform(5.2, 7.2)), float(rng.uniform(0.95, 1.12))
    shape, body, glass = Shape(), paint(rng), window(rng)
    front, belt, sill = length / 2, float(rng.uniform(1.15, 1.35)), float(rng.uniform(0.3, 0.45))
    cowl, cabin = front - float(rng.uniform(0.6, 1.0)), front - float(rng.choice([2.0, 2.9]))
    eave = belt + float(rng.uniform(0.75, 0.95))
    shape.frustum(0, (-half, half, sill, belt), cowl, (-half * 0.9, half * 0.9, sill, belt * 0.75), front, body)
    shape.box((cabin, cowl), (-half, half), (sill, belt), body)
    low, high = (cabin, cowl, -half * 0.96, half * 0.96), (cabin, cowl - 0.6, -half * 0.88, half * 0.88)
    shape.frustum(2, low, belt, high, eave, glass)
    shape.box((cabin, cowl - 0.6), (-half * 0.88, half * 0.88), (eave - 0.02, eave + 0.1), body)
    for side in (-1.0, 1.0):
        shape.limb((cowl, side * half * 0.95, belt), (cowl - 0.6, side * half * 0.88, eave), 0.1, body)
    shape.box((cabin + 0.3, cabin + 0.5), (-half * 0.8, half * 0.8), (belt - 0.1, belt + 0.5), INTERIOR)
    _load(shape, (-front, cabin - 0.1), half, float(rng.uniform(0.75, 0.95)), float(rng.uniform(2.1, 3.0)), rng)
    wheels(shape, (front - 0.9, -front + 1.2), 2 * half - 0.05, 0.36, 0.25)
    plates(shape, front, 2 * half, rng)
    return shape


def tractor(rng: np.random.Generator) -> Shape:
    """The pulling half of an articulated lorry."""
    shape, front, half = Shape(), 3.0, 1.25
    _cab(shape, front, 2.2, half, float(rng.uniform(2.9, 3.7)), rng)
    shape.box((-front, front - 2.2), (-0.5, 0.5), (0.6, 0.95), UNDERSIDE)
    wheels(shape, (front - 1.4, -front + 1.1), 2.5, 0.5, 0.3)
    return shape


def trailer(rng: np.random.Generator) -> Shape:
    """A semi-trailer."""
    length, height = float(rng.uniform(9.0, 13.6)), float(rng.uniform(3.4, 4.0))
    shape, front = Shape(), length / 2
    _load(shape, (-front, front), 1.27, 1.2, height, rng)
    wheels(shape, (-front + 1.6, -front + 2.9, -front + 4.2), 2.5, 0.5, 0.35)
    for side in (-1.0, 1.0):  # side guards
        shape.box(
            (-front + 5.2, front - 3.6),
            (side * 1.22 - 0.03, side * 1.22 + 0.03),
            (0.5, 0.9),
            Surface(Material.FENCE, 0.4, 0.6, (160, 160, 160)),
        )
    shape.box((-front - 0.01, -front + 0.06), (-1.2, 1.2), (0.5, 0.75), TAIL)
    return shape


def bus(rng: np.random.Generator) -> Shape:
    """A city bus or coach."""
    length, width, height = float(rng.uniform(8.5, 13.5)), float(rng.uniform(2.4, 2.6)), float(rng.uniform(2.8, 3.5))
    shape, body, glass = Shape(), paint(rng), window(rng)
    front, half = length / 2, width / 2
    belt, eave = float(rng.uniform(1.0, 1.5)), height - float(rng.uniform(0.35, 0.6))
    shape.frustum(0, (-half, half, 0.3, belt), -front, (-half * 0.97, half * 0.97, 0.3, belt), front, body)
    shape.frustum(
        2,
        (-front + 0.02, front - 0.02, -half * 0.99, half * 0.99),
        belt,
        (-front + 0.05, front - 0.2, -half * 0.96, half * 0.96),
        eave,
        glass,
    )
    shape.frustum(
        2,
        (-front + 0.03, front - 0.15, -half, half),
        eave,
        (-front + 0.1, front - 0.4, -half * 0.9, half * 0.9),
        height,
        body,
    )
    posts = np.linspace(-front + 0.1, front - 0.3, int(length // 1.5) + 1)
    for x in posts:
        for side in (-1.0, 1.0):
            shape.limb((x, side * half * 0.97, belt), (x, side * half * 0.95, eave), 0.1, body)
    for x in posts[1:-1]:
        shape.box((x, x + 0.15), (-half * 0.85, half * 0.85), (belt - 0.3, belt + 0.35), INTERIOR)
    wheels(shape, (front - 2.6, -front + 3.0), width - 0.05, 0.48, 0.3)
    plates(shape, front, width, rng)
    return shape
