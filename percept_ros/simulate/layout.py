"""Where things stand: actors and scenery, no two in the same place."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.people import bicycle
from percept_ros.simulate.shapes import Model, boxed, make
from percept_ros.simulate.solids import Shape
from percept_ros.types import F64, Bool, ObjectClass


class Layout:
    """Collects actors and things; one that would stand inside another is refused."""

    def __init__(self, rng: np.random.Generator, capacity: int = 2048) -> None:
        self._rng = rng
        self._rects = np.zeros((capacity, 6))  # x, y, cos, sin, half length, half width
        self._count = 0
        self.models: list[Model] = []
        self.actor_poses: list[tuple[float, float, float]] = []
        self.speeds: list[float] = []
        self.things: list[Shape] = []
        self.thing_poses: list[tuple[float, float, float]] = []

    def keep_clear(self, pose: tuple[float, float, float], size: tuple[float, float]) -> bool:
        """Take the ground under a rectangle (x, y, yaw; length, width); False when something stands there."""
        row = np.array([pose[0], pose[1], np.cos(pose[2]), np.sin(pose[2]), size[0] / 2, size[1] / 2])
        if self._count >= len(self._rects) or overlaps(row, self._rects[: self._count]).any():
            return False
        self._rects[self._count] = row
        self._count += 1
        return True

    def actor(self, class_id: ObjectClass, pose: tuple[float, float, float], speed_mps: float) -> bool:
        """Put a random object of a class at x, y, yaw; False when there is no room."""
        return self.put(make(class_id, self._rng), pose, speed_mps)

    def parked_bicycle(self, pose: tuple[float, float, float]) -> bool:
        """Put a bicycle without rider at x, y, yaw, as close to others as in a rack."""
        return self.put(boxed(bicycle(self._rng, False), ObjectClass.BICYCLE), pose, 0.0, (0.0, 0.0))

    def coupled(
        self,
        front: Model,
        front_pose: tuple[float, float, float],
        rear: Model,
        rear_pose: tuple[float, float, float],
        speed_mps: float,
    ) -> bool:
        """Put two objects that reach into each other, a tractor and its trailer; False when there is no room for both."""
        before = self._count
        room = ((m, p, m.size + 0.3) for m, p in ((front, front_pose), (rear, rear_pose)))
        rows = [np.array([p[0], p[1], np.cos(p[2]), np.sin(p[2]), s[0] / 2, s[1] / 2]) for _, p, s in room]
        if before + 2 > len(self._rects) or any(overlaps(row, self._rects[:before]).any() for row in rows):
            return False
        self._rects[before : before + 2] = rows
        self._count += 2
        self.models += [front, rear]
        self.actor_poses += [front_pose, rear_pose]
        self.speeds += [speed_mps, speed_mps]
        return True

    def put(
        self,
        model: Model,
        pose: tuple[float, float, float],
        speed_mps: float,
        room_m: tuple[float, float] | None = None,
    ) -> bool:
        """Put a model at x, y, yaw; False when there is no room. room_m: free length and width about it; None = usual."""
        person = model.class_id == ObjectClass.PEDESTRIAN
        room_m = room_m or ((0.05, 0.05) if person else (0.3, 0.2))
        if not self.keep_clear(pose, (model.size[0] + room_m[0], model.size[1] + room_m[1])):
            return False
        self.models.append(model)
        self.actor_poses.append(pose)
        self.speeds.append(speed_mps)
        return True

    def thing(
        self,
        shape: Shape,
        pose: tuple[float, float, float],
        *,
        solid: bool = True,
        ground: tuple[float, float] | None = None,
    ) -> bool:
        """Put scenery at x, y, yaw. solid: it needs room of its own. ground: length and width it takes; None = all it covers."""
        if solid:
            low, high = shape.extent()
            size = 2 * np.maximum(np.abs(low), np.abs(high))
            if not self.keep_clear(pose, ground or (float(size[0]), float(size[1]))):
                return False
        self.things.append(shape)
        self.thing_poses.append(pose)
        return True


def overlaps(row: F64, others: F64) -> Bool:
    """(n,) whether rectangle ``row`` meets each of ``others`` (x, y, cos, sin, half length, half width)."""
    dx, dy = others[:, 0] - row[0], others[:, 1] - row[1]
    along = np.abs(others[:, 2] * row[2] + others[:, 3] * row[3])
    across = np.abs(others[:, 3] * row[2] - others[:, 2] * row[3])
    apart = np.abs(row[2] * dx + row[3] * dy) > row[4] + along * others[:, 4] + across * others[:, 5]
    apart |= np.abs(row[2] * dy - row[3] * dx) > row[5] + across * others[:, 4] + along * others[:, 5]
    apart |= np.abs(others[:, 2] * dx + others[:, 3] * dy) > others[:, 4] + along * row[4] + across * row[5]
    apart |= np.abs(others[:, 2] * dy - others[:, 3] * dx) > others[:, 5] + across * row[4] + along * row[5]
    meets: Bool = ~apart
    return meets
