"""The catalogue of shapes: what stands for each class, and its tight box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from percept_ros.simulate import heavies, people, vehicles
from percept_ros.simulate.solids import Shape
from percept_ros.types import F64, ObjectClass

Maker = Callable[[np.random.Generator], Shape]

MAKERS: dict[ObjectClass, tuple[tuple[float, Maker], ...]] = {
    ObjectClass.CAR: ((0.86, vehicles.car), (0.14, vehicles.van)),
    ObjectClass.TRUCK: ((0.58, heavies.lorry), (0.25, heavies.light_lorry), (0.17, heavies.tractor)),
    ObjectClass.TRAILER: ((1.0, heavies.trailer),),
    ObjectClass.BUS: ((1.0, heavies.bus),),
    ObjectClass.MOTORCYCLE: ((0.7, people.motorcycle), (0.3, lambda rng: people.motorcycle(rng, False))),
    ObjectClass.BICYCLE: ((0.75, people.bicycle), (0.25, lambda rng: people.bicycle(rng, False))),
    ObjectClass.PEDESTRIAN: ((1.0, people.pedestrian),),
}
"""Class -> (share, maker). A van counts as a car, as in most data sets' detection classes."""


@dataclass(frozen=True, slots=True)
class Model:
    """A shape with its tight box: centre of the box in the shape's frame (3,) and size l, w, h (3,), m."""

    shape: Shape
    centre: F64
    size: F64
    class_id: ObjectClass


def make(class_id: ObjectClass, rng: np.random.Generator) -> Model:
    """A random shape of a class."""
    makers = MAKERS[class_id]
    index = int(rng.choice(len(makers), p=[share for share, _ in makers])) if len(makers) > 1 else 0
    return boxed(makers[index][1](rng), class_id)


def boxed(shape: Shape, class_id: ObjectClass) -> Model:
    """A shape with its tight box."""
    low, high = shape.extent()
    return Model(shape, (low + high) / 2, high - low, class_id)


def box_at(model: Model, pose: F64) -> F64:
    """(7,) box of a model whose shape stands at ``pose`` (x, y, z, yaw)."""
    cos, sin = np.cos(pose[3]), np.sin(pose[3])
    x, y, z = model.centre
    at = (pose[0] + cos * x - sin * y, pose[1] + sin * x + cos * y, pose[2] + z)
    return np.array([*at, *model.size, pose[3]])
