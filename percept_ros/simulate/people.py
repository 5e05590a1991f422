"""Pedestrians and riders of convex solids, in several poses."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.solids import Material, Shape, Surface
from percept_ros.simulate.vehicles import LAMP, TAIL, TYRE, paint

SKIN = Surface(Material.SOLID, 0.45, 0.0, (140, 170, 215))
SPOKES = Surface(Material.FENCE, 0.15, 0.35, (40, 40, 40))


def _cloth(rng: np.random.Generator) -> Surface:
    colour = tuple(int(v) for v in rng.integers(20, 220, 3))
    return Surface(Material.SOLID, float(rng.uniform(0.08, 0.8)), 0.0, (colour[0], colour[1], colour[2]))


def pedestrian(rng: np.random.Generator, stride: float | None = None) -> Shape:
    """A standing or walking person.

    stride: half distance between the feet as a share of the height, in [0, 0.25]; None = drawn.
    """
    height = float(np.clip(rng.normal(1.72, 0.09), 1.5, 1.98)) if rng.random() > 0.12 else float(rng.uniform(1.0, 1.5))
    reach = float(rng.choice([0.0, rng.uniform(0.05, 0.25)])) if stride is None else stride
    shape, top, leg = Shape(), _cloth(rng), _cloth(rng)
    hip, shoulder, chin = 0.47 * height, 0.80 * height, 0.86 * height
    stout = float(rng.uniform(0.85, 1.25)) * height / 1.72
    lead = 1.0 if rng.random() < 0.5 else -1.0
    for side in (-1.0, 1.0):
        foot = side * lead * reach * height
        shape.limb((foot, side * 0.1 * stout, 0.0), (0.0, side * 0.09 * stout, hip + 0.05), 0.14 * stout, leg)
        shape.box((foot - 0.08, foot + 0.17), (side * 0.1 - 0.05, side * 0.1 + 0.05), (0.0, 0.09), TYRE)
        swing = -foot * float(rng.uniform(0.6, 1.3))
        shape.limb((swing, side * 0.26 * stout, hip - 0.02), (0.0, side * 0.21 * stout, shoulder), 0.09 * stout, top)
    low, high = (0.11 * stout, 0.15 * stout), (0.12 * stout, 0.2 * stout)
    shape.frustum(
        2, (-low[0], low[0], -low[1], low[1]), hip, (-high[0], high[0], -high[1], high[1]), shoulder + 0.03, top
    )
    if rng.random() < 0.25:  # skirt or coat
        shape.frustum(2, (-0.2, 0.2, -0.22, 0.22), 0.25 * height, (-0.13, 0.13, -0.17, 0.17), hip + 0.1, top)
    shape.prism(2, (0.02, 0.0, chin - 0.04), 0.05, (0.06, 0.06), SKIN)
    shape.prism(2, (0.02, 0.0, chin), height - chin, (0.095, 0.08), SKIN)
    _bag(shape, rng, hip, shoulder)
    return shape


def _bag(shape: Shape, rng: np.random.Generator, hip: float, shoulder: float) -> None:
    kind = rng.random()
    if kind < 0.2:
        shape.box((-0.32, -0.12), (-0.15, 0.15), (hip + 0.1, shoulder), _cloth(rng))
    elif kind < 0.35:
        shape.box((-0.15, 0.2), (0.24, 0.36), (hip - 0.35, hip), _cloth(rng))


def _rider(shape: Shape, rng: np.random.Generator, seat: float, lean: float, reach: float) -> None:
    """A person on a saddle at height ``seat``, leaning forward by ``lean`` m at the shoulders."""
    top, leg = _cloth(rng), _cloth(rng)
    shoulder = seat + float(rng.uniform(0.52, 0.62))
    shape.frustum(2, (-0.3, -0.02, -0.15, 0.15), seat - 0.05, (lean - 0.25, lean + 0.02, -0.2, 0.2), shoulder, top)
    for side in (-1.0, 1.0):
        knee = (0.22 + 0.1 * side * float(rng.uniform(-1, 1)), side * 0.12)
        shape.limb((knee[0] - 0.1, knee[1], max(seat - 0.75, 0.12)), (knee[0], knee[1], seat - 0.25), 0.11, leg)
        shape.frustum(
            0,
            (side * 0.12 - 0.07, side * 0.12 + 0.07, seat - 0.12, seat + 0.05),
            -0.15,
            (knee[1] - 0.06, knee[1] + 0.06, seat - 0.32, seat - 0.16),
            knee[0] + 0.06,
            leg,
        )
        shape.frustum(
            0,
            (side * 0.2 - 0.05, side * 0.2 + 0.05, shoulder - 0.14, shoulder - 0.04),
            lean - 0.1,
            (side * 0.24 - 0.04, side * 0.24 + 0.04, seat + 0.08, seat + 0.16),
            reach,
            top,
        )
    shape.prism(
        2, (lean - 0.05, 0.0, shoulder + 0.03), 0.26, (0.1, 0.1), Surface(Material.SOLID, 0.5, 0.2, paint(rng).colour)
    )


def bicycle(rng: np.random.Generator, ridden: bool = True) -> Shape:
    """A bicycle, with its rider when ridden."""
    shape, frame = Shape(), paint(rng)
    half, radius = float(rng.uniform(0.5, 0.56)), float(rng.uniform(0.3, 0.35))
    for x in (-half, half):
        shape.prism(1, (x, -0.02, radius), 0.04, (radius, radius), SPOKES)
        shape.box((x - radius * 0.9, x + radius * 0.9), (-0.025, 0.025), (0.0, 0.06), TYRE)
    seat = float(rng.uniform(0.88, 1.0))
    shape.limb((-0.05, 0.0, 0.28), (-0.2, 0.0, seat - 0.04), 0.045, frame)
    shape.limb((-0.05, 0.0, 0.28), (half - 0.14, 0.0, 0.8), 0.045, frame)
    shape.limb((half - 0.02, 0.0, radius), (half - 0.17, 0.0, 1.0), 0.045, frame)
    shape.box((-0.16, half - 0.16), (-0.02, 0.02), (0.74, 0.79), frame)
    shape.box((half - 0.22, half - 0.16), (-0.29, 0.29), (0.98, 1.03), TYRE)
    shape.box((-0.32, -0.08), (-0.07, 0.07), (seat - 0.05, seat), TYRE)
    shape.box((-half - 0.3, -half - 0.27), (-0.03, 0.03), (0.5, 0.58), TAIL)
    if ridden:
        _rider(shape, rng, seat, float(rng.uniform(0.1, 0.4)), half - 0.15)
    return shape


def motorcycle(rng: np.random.Generator, ridden: bool = True) -> Shape:
    """A motorcycle or scooter, with its rider when ridden."""
    shape, body = Shape(), paint(rng)
    half, radius = float(rng.uniform(0.62, 0.75)), float(rng.uniform(0.25, 0.32))
    for x in (-half, half):
        shape.prism(1, (x, -0.07, radius), 0.14, (radius, radius), TYRE)
    seat = float(rng.uniform(0.74, 0.85))
    shape.frustum(2, (-0.35, 0.35, -0.17, 0.17), 0.2, (-0.45, 0.3, -0.15, 0.15), seat - 0.1, body)
    shape.frustum(0, (-0.13, 0.13, seat - 0.12, seat), -half - 0.15, (-0.15, 0.15, seat - 0.15, seat), 0.05, TYRE)
    shape.frustum(2, (0.05, 0.45, -0.15, 0.15), seat - 0.15, (0.1, 0.4, -0.1, 0.1), seat + 0.15, body)
    shape.limb((half, 0.0, radius), (half - 0.25, 0.0, 1.0), 0.12, body)
    shape.box((half - 0.32, half - 0.26), (-0.36, 0.36), (0.98, 1.04), TYRE)
    shape.box((half - 0.2, half - 0.12), (-0.1, 0.1), (0.72, 0.9), LAMP)
    shape.box((-half - 0.3, -half - 0.27), (-0.1, 0.1), (0.55, 0.68), TAIL)
    if rng.random() < 0.3:
        shape.box((-half - 0.3, -half + 0.1), (-0.2, 0.2), (seat, seat + 0.35), body)
    if ridden:
        _rider(shape, rng, seat, float(rng.uniform(0.0, 0.2)), half - 0.28)
    return shape
