"""Vehicles in lanes of training scenes: flowing, standing close in jams, and lorries with their trailers."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate import heavies
from percept_ros.simulate.layout import Layout
from percept_ros.simulate.shapes import Model, boxed, make
from percept_ros.types import ObjectClass

C = ObjectClass
TRAFFIC = ((C.CAR, 0.67), (C.TRUCK, 0.11), (C.BUS, 0.05), (C.TRAILER, 0.05), (C.MOTORCYCLE, 0.05), (C.BICYCLE, 0.07))
COUPLED_SHARE = 0.75
"""Share of the trailers that have their tractor; the others stand parked without."""
_SADDLE_M = (1.7, 1.2)
"""The king pin: behind the middle of a tractor, and behind the front of its trailer."""


def lane(
    layout: Layout,
    rng: np.random.Generator,
    at: tuple[float, float],
    yaw: float,
    reach: float,
    busy: float,
    speed: float,
) -> None:
    """Fill a lane through ``at`` with traffic that flows at about ``speed`` m/s, ``reach`` m each way."""
    names, odds = zip(*TRAFFIC, strict=True)
    along = -reach + float(rng.exponential(15.0))
    while along < reach:
        class_id = C(rng.choice(names, p=np.array(odds) / sum(odds)))
        x, y = at[0] + along * np.cos(yaw), at[1] + along * np.sin(yaw)
        drift = rng.normal(0, 0.3, 2)
        turn = yaw + rng.normal(0, 0.04) + (rng.uniform(-0.9, 0.9) if rng.random() < 0.07 else 0.0)
        own = 0.0 if rng.random() < 0.25 else speed * float(rng.uniform(0.7, 1.3))
        pose = (x + drift[0], y + drift[1], turn)
        if class_id == C.TRAILER and rng.random() < COUPLED_SHARE:
            along += 9.0 * articulated(layout, rng, pose, own)
        else:
            layout.actor(class_id, pose, own)
        along += (
            7.0
            + (6.0 if class_id in (C.TRUCK, C.BUS, C.TRAILER) else 0.0)
            + float(rng.exponential(22.0 * (1.1 - busy)))
        )


def jam(layout: Layout, rng: np.random.Generator, at: tuple[float, float], yaw: float, heavy: float) -> None:
    """A queue in the lane through ``at``, bumper to bumper. heavy: share of lorries and buses, in [0, 1]."""
    along, end = float(rng.uniform(8, 70)), -float(rng.uniform(0, 60))
    while along > end:
        kind = rng.random()
        if kind < 0.5 * heavy:
            parts: tuple[Model, ...] = _pair(rng)
        elif kind < heavy:
            parts = (make(C.TRUCK if rng.random() < 0.75 else C.BUS, rng),)
        else:
            parts = (make(C.CAR if rng.random() < 0.95 else C.MOTORCYCLE, rng),)
        first = parts[0].size[0] / 2
        x, y = at[0] + (along - first) * np.cos(yaw), at[1] + (along - first) * np.sin(yaw)
        pose = (x, y + float(rng.normal(0, 0.2)), yaw + float(rng.normal(0, 0.03)))
        if len(parts) == 1:
            layout.put(parts[0], pose, 0.0)
            along -= 2 * first
        else:
            _couple(layout, parts[0], parts[1], pose, float(rng.normal(0, 0.04)), 0.0)
            along -= 2 * first + parts[1].size[0] - 2.5
        along -= 0.8 + float(rng.exponential(1.5))


def articulated(layout: Layout, rng: np.random.Generator, pose: tuple[float, float, float], speed_mps: float) -> bool:
    """A tractor at ``pose`` with its semi-trailer, now and then bent as in a turn; False when there is no room."""
    bend = float(rng.uniform(-0.8, 0.8)) if rng.random() < 0.15 else float(rng.normal(0, 0.04))
    tractor, trailer = _pair(rng)
    return _couple(layout, tractor, trailer, pose, bend, speed_mps)


def _pair(rng: np.random.Generator) -> tuple[Model, Model]:
    return boxed(heavies.tractor(rng), C.TRUCK), boxed(heavies.trailer(rng), C.TRAILER)


def _couple(
    layout: Layout, tractor: Model, trailer: Model, pose: tuple[float, float, float], bend: float, speed_mps: float
) -> bool:
    x, y, yaw = pose
    back, behind = yaw + bend, trailer.size[0] / 2 - _SADDLE_M[1]
    pin = x - _SADDLE_M[0] * np.cos(yaw), y - _SADDLE_M[0] * np.sin(yaw)
    rear = (float(pin[0] - behind * np.cos(back)), float(pin[1] - behind * np.sin(back)), back)
    return layout.coupled(tractor, pose, trailer, rear, speed_mps)
