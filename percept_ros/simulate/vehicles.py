"""Cars, vans, lorries and buses of convex solids: body, bonnet, cabin of glass, pillars, seats, wheels, plates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.simulate.solids import Material, Shape, Surface

GLASS_COLOUR = (70, 60, 50)
TYRE = Surface(Material.SOLID, 0.06, 0.0, (30, 30, 30))
UNDERSIDE = Surface(Material.SOLID, 0.05, 0.0, (25, 25, 25))
INTERIOR = Surface(Material.SOLID, 0.12, 0.0, (45, 45, 50))
PLATE = Surface(Material.RETRO, 0.8, 0.0, (230, 235, 240))
LAMP = Surface(Material.RETRO, 0.5, 0.0, (235, 240, 245))
TAIL = Surface(Material.RETRO, 0.5, 0.0, (40, 40, 200))

# BGR, reflectivity at 905 nm (black paint is nearly black there too)
PAINTS = (
    ((235, 235, 235), 0.75),
    ((190, 190, 190), 0.55),
    ((120, 120, 120), 0.35),
    ((35, 35, 35), 0.06),
    ((60, 50, 45), 0.12),
    ((150, 70, 30), 0.30),
    ((40, 40, 170), 0.50),
    ((50, 110, 60), 0.30),
    ((90, 150, 190), 0.50),
    ((60, 190, 225), 0.65),
)


@dataclass(frozen=True, slots=True)
class CarStyle:
    """Proportions of a car body: shares of the length from the front, and heights as shares of the height.

    length_m, width_m, height_m: normal distributions (mean, sigma). bonnet: windscreen's foot. roof: start and end of the
    roof. tail: foot of the rear window. deck: height share of the boot lid at the rear end.
    """

    length_m: tuple[float, float]
    width_m: tuple[float, float]
    height_m: tuple[float, float]
    bonnet: float
    roof: tuple[float, float]
    tail: float
    belt: float
    deck: float
    weight: float


CAR_STYLES: dict[str, CarStyle] = {
    "hatchback": CarStyle((3.95, 0.22), (1.71, 0.06), (1.49, 0.05), 0.25, (0.43, 0.92), 0.99, 0.60, 0.60, 0.28),
    "sedan": CarStyle((4.60, 0.22), (1.79, 0.06), (1.45, 0.04), 0.27, (0.42, 0.70), 0.86, 0.62, 0.66, 0.24),
    "estate": CarStyle((4.60, 0.18), (1.79, 0.05), (1.48, 0.05), 0.26, (0.41, 0.93), 0.995, 0.61, 0.61, 0.16),
    "suv": CarStyle((4.55, 0.28), (1.86, 0.07), (1.70, 0.09), 0.25, (0.40, 0.92), 0.99, 0.60, 0.60, 0.14),
    "small": CarStyle((2.90, 0.35), (1.60, 0.06), (1.52, 0.05), 0.16, (0.34, 0.92), 0.99, 0.58, 0.58, 0.07),
    "mpv": CarStyle((4.50, 0.22), (1.82, 0.05), (1.66, 0.07), 0.18, (0.38, 0.94), 0.995, 0.58, 0.58, 0.08),
    "coupe": CarStyle((4.25, 0.20), (1.82, 0.05), (1.31, 0.05), 0.32, (0.48, 0.66), 0.90, 0.64, 0.64, 0.03),
}


def paint(rng: np.random.Generator) -> Surface:
    """A random car paint."""
    colour, reflectivity = PAINTS[rng.choice(len(PAINTS), p=_PAINT_ODDS)]
    dye = tuple(int(np.clip(c + rng.normal(0, 12), 5, 250)) for c in colour)
    level = float(np.clip(reflectivity * rng.uniform(0.7, 1.3), 0.02, 0.95))
    return Surface(Material.SOLID, level, float(rng.uniform(0.3, 0.8)), (dye[0], dye[1], dye[2]))


_PAINT_ODDS = np.array([0.2, 0.17, 0.15, 0.18, 0.1, 0.07, 0.06, 0.02, 0.03, 0.02])


def _size(rng: np.random.Generator, spec: tuple[float, float]) -> float:
    return float(spec[0] + spec[1] * np.clip(rng.normal(), -2.5, 2.5))


def window(rng: np.random.Generator) -> Surface:
    """Random window glass."""
    return Surface(Material.GLASS, float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.1, 0.6)), GLASS_COLOUR)


def car(rng: np.random.Generator, style: str | None = None) -> Shape:
    """A passenger car; ``style`` is a key of CAR_STYLES, or None = drawn by weight."""
    if style is None:
        weights = np.array([s.weight for s in CAR_STYLES.values()])
        style = list(CAR_STYLES)[rng.choice(len(weights), p=weights / weights.sum())]
    form = CAR_STYLES[style]
    length, width, height = (_size(rng, form.length_m), _size(rng, form.width_m), _size(rng, form.height_m))
    shift = float(rng.normal(0, 0.012))
    shape, body = Shape(), paint(rng)
    front = length / 2

    def at(share: float) -> float:
        return front - (share + (shift if 0.1 < share < 0.9 else 0.0)) * length

    belt = form.belt * height * float(rng.uniform(0.97, 1.03))
    _car_body(
        shape, body, (at(0.0), at(form.bonnet), at(form.tail), -front), width, height, belt, form.deck * height, rng
    )
    roof = (at(form.roof[0]), at(form.roof[1]))
    _greenhouse(shape, body, window(rng), (at(form.bonnet), at(form.tail)), roof, width, belt, height, rng)
    wheels(shape, (front - 0.19 * length, -front + 0.19 * length), width, float(rng.uniform(0.29, 0.36)), 0.2)
    plates(shape, front, width, rng)
    return shape


def _car_body(
    shape: Shape,
    body: Surface,
    along: tuple[float, float, float, float],
    width: float,
    height: float,
    belt: float,
    deck: float,
    rng: np.random.Generator,
) -> None:
    """Nose, bonnet, middle and boot. along: x of front, windscreen's foot, rear window's foot, rear."""
    front, cowl, tail, rear = along
    half, sill = width / 2, float(rng.uniform(0.15, 0.24)) * (height / 1.5)
    nose, lip = front - 0.09 * (front - rear), belt * float(rng.uniform(0.74, 0.86))
    edge = belt * float(rng.uniform(0.93, 0.98))
    shape.frustum(
        0,
        (-half * 0.98, half * 0.98, sill, lip),
        nose,
        (-half * 0.84, half * 0.84, sill + 0.08, lip - 0.1),
        front,
        body,
    )
    shape.frustum(0, (-half, half, sill, edge), cowl, (-half * 0.98, half * 0.98, sill, lip), nose, body)
    back = max(tail, rear + 0.25)
    shape.frustum(2, (back, cowl, -half, half), sill, (back, cowl, -half * 0.97, half * 0.97), belt, body)
    shape.frustum(
        0, (-half * 0.88, half * 0.88, sill + 0.08, deck), rear, (-half, half, sill, max(deck, belt)), back, body
    )
    inner = half * 0.85
    shape.box((rear + 0.3, front - 0.3), (-inner, inner), (sill - 0.06, sill + 0.02), UNDERSIDE)


def _greenhouse(
    shape: Shape,
    body: Surface,
    glass: Surface,
    foot: tuple[float, float],
    roof: tuple[float, float],
    width: float,
    belt: float,
    height: float,
    rng: np.random.Generator,
) -> None:
    """Glass between belt and roof, roof skin, pillars and what is seen inside."""
    low, high = width / 2 * 0.95, width / 2 * float(rng.uniform(0.70, 0.80))
    top, eave = roof, height - float(rng.uniform(0.05, 0.09))
    shape.frustum(2, (foot[1], foot[0], -low, low), belt, (top[1], top[0], -high, high), eave, glass)
    lid = (top[1] - 0.02, top[0] + 0.02, -high - 0.02, high + 0.02)
    shape.frustum(2, lid, eave - 0.01, (top[1] + 0.15, top[0] - 0.15, -high * 0.8, high * 0.8), height, body)
    mid = 0.5 * (top[0] + top[1]) + 0.1
    for side in (-1.0, 1.0):
        for bottom, up in ((foot[0], top[0]), (mid, mid - 0.05), (foot[1] + 0.06, top[1] + 0.06)):
            shape.limb((bottom, side * (low - 0.02), belt), (up, side * (high - 0.01), eave), 0.08, body)
        shape.box(
            (foot[0] - 0.35, foot[0] - 0.15),
            (side * (low + 0.06) - 0.1, side * (low + 0.06) + 0.1),
            (belt, belt + 0.15),
            body,
        )
        shape.leave_out()
    span = foot[0] - foot[1]
    for share in (0.48, 0.85) if span > 1.9 else (0.6,):
        x = foot[0] - share * span
        shape.box((x - 0.14, x), (-low * 0.8, low * 0.8), (belt - 0.1, belt + 0.55 * (eave - belt)), INTERIOR)


def wheels(shape: Shape, axles: Sequence[float], width: float, radius: float, thick: float) -> None:
    """Two wheels an axle, their outer faces just outside the width."""
    for x in axles:
        for y in (-width / 2 - 0.012, width / 2 - thick + 0.012):
            shape.prism(1, (x, y, radius), thick, (radius, radius), TYRE)


def plates(shape: Shape, front: float, width: float, rng: np.random.Generator) -> None:
    """Number plates and lamps, front and rear."""
    height = float(rng.uniform(0.35, 0.6))
    shape.box((front - 0.02, front + 0.01), (-0.26, 0.26), (height, height + 0.11), PLATE)
    height = float(rng.uniform(0.4, 0.95))
    shape.box((-front - 0.01, -front + 0.02), (-0.26, 0.26), (height, height + 0.11), PLATE)
    for side in (-1.0, 1.0):
        middle = side * (width / 2 - 0.3)
        shape.box((front - 0.16, front - 0.06), (middle - 0.13, middle + 0.13), (0.58, 0.7), LAMP)
        middle = side * (width / 2 - 0.2)
        shape.box((-front - 0.01, -front + 0.06), (middle - 0.09, middle + 0.09), (0.7, 0.85), TAIL)


def van(rng: np.random.Generator) -> Shape:
    """A panel van or minibus: short bonnet, tall box."""
    length, width, height = float(rng.uniform(4.4, 6.6)), float(rng.uniform(1.8, 2.1)), float(rng.uniform(1.85, 2.75))
    shape, body, glass = Shape(), paint(rng), window(rng)
    front, half = length / 2, width / 2
    cowl, cabin = front - float(rng.uniform(0.6, 1.0)), front - float(rng.uniform(1.9, 2.3))
    belt, sill = float(rng.uniform(1.05, 1.25)), float(rng.uniform(0.25, 0.35))
    shape.frustum(0, (-half, half, sill, belt), cowl, (-half * 0.9, half * 0.9, sill, belt * 0.75), front, body)
    shape.box((cabin, cowl), (-half, half), (sill, belt), body)
    shape.frustum(
        2, (-front, cabin, -half, half), sill, (-front + 0.08, cabin, -half * 0.92, half * 0.92), height, body
    )
    eave = min(height, belt + float(rng.uniform(0.75, 0.95)))
    roof = cowl - float(rng.uniform(0.5, 0.8))
    shape.frustum(
        2, (cabin, cowl, -half * 0.96, half * 0.96), belt, (cabin, roof, -half * 0.88, half * 0.88), eave, glass
    )
    shape.frustum(
        2,
        (cabin, roof + 0.03, -half * 0.9, half * 0.9),
        eave - 0.02,
        (cabin, roof - 0.35, -half * 0.85, half * 0.85),
        height,
        body,
    )
    for side in (-1.0, 1.0):
        shape.limb((cowl, side * half * 0.95, belt), (roof, side * half * 0.88, eave), 0.1, body)
        shape.box(
            (cowl - 0.3, cowl - 0.1), (side * (half + 0.1) - 0.1, side * (half + 0.1) + 0.1), (belt, belt + 0.3), body
        )
        shape.leave_out()
        if rng.random() < 0.4:  # windows of a minibus
            shape.box(
                (-front + 0.4, cabin - 0.1),
                (side * half * 0.99 - 0.02, side * half * 0.99 + 0.02),
                (belt, eave - 0.1),
                glass,
            )
    shape.box((cabin + 0.3, cabin + 0.5), (-half * 0.8, half * 0.8), (belt - 0.1, belt + 0.5), INTERIOR)
    wheels(shape, (front - 0.9, -front + 0.9), width, 0.34, 0.22)
    plates(shape, front, width, rng)
    return shape
