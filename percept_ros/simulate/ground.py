"""Random ground for training scenes: wavy height field and painted streets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from percept_ros.simulate.lidar import Ground
from percept_ros.simulate.terrain import GroundLabel, Patch
from percept_ros.types import F32, U8

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Street:
    """A straight street along x and perhaps one that crosses it.

    edges_m: y of the right and left edge. middle_m: y of the middle. lanes: of each direction. crossing_m: x, or None.
    reflectivity: (256,) by ``GroundLabel``.
    """

    edges_m: tuple[float, float]
    middle_m: float
    lane_m: float
    lanes: int
    crossing_m: float | None
    reflectivity: F32

    @staticmethod
    def random(
        rng: np.random.Generator,
        edges: tuple[float, float],
        middle: float,
        lane: float,
        lanes: int,
        crossing: float | None,
    ) -> Street:
        """A street with random materials."""
        reflectivity = np.full(256, rng.uniform(0.15, 0.55), np.float32)
        reflectivity[GroundLabel.TAR] = rng.uniform(0.08, 0.35)
        reflectivity[GroundLabel.PAINT] = rng.uniform(0.5, 0.95)
        return Street(edges, middle, lane, lanes, crossing, reflectivity)

    def labels(self, x: Floats, y: Floats) -> U8:
        """``GroundLabel`` at positions x, y (broadcast together)."""
        road = (y > self.edges_m[0]) & (y < self.edges_m[1])
        if self.crossing_m is not None:
            road = road | (np.abs(x - self.crossing_m) < 4.5)
        value = np.where(road, GroundLabel.TAR, GroundLabel.VERGE)
        for index in range(-self.lanes, self.lanes + 1):
            dash = np.mod(x, 9.0) < 4.0 if abs(index) not in (0, self.lanes) else np.ones_like(x, bool)
            line = np.abs(y - self.middle_m - index * self.lane_m) < 0.1
            value = np.where(line & dash & road, GroundLabel.PAINT, value)
        return value.astype(np.uint8)

    def paint(self, x: Floats, y: Floats) -> Floats:
        """Reflectivity at positions x, y, blotched."""
        patch = 1 + 0.15 * np.sin(0.9 * x + 2.0 * np.sin(0.31 * y)) * np.sin(1.1 * y + 1.7 * np.sin(0.23 * x))
        return np.asarray(self.reflectivity[self.labels(x, y)] * patch)

    def patch(self, ground: Ground, reach_m: float = 64.0, cell_m: float = 0.2) -> Patch:
        """Ground and labels for a camera."""
        axis = np.arange(-reach_m, reach_m, cell_m) + cell_m / 2
        return Patch(np.zeros(2), ground, self.labels(axis[:, None], axis[None, :]), -reach_m, -reach_m, cell_m)


def random_ground(rng: np.random.Generator, street: Street, reach_m: float = 125.0) -> Ground:
    """Wavy ground, level under the ego vehicle; painted by ``street``."""
    axis = np.arange(-reach_m, reach_m + 1.0, 2.0)
    x, y = axis[:, None], axis[None, :]
    height = np.zeros((len(axis), len(axis)))
    for low, high, steep in ((60.0, 200.0, 0.04), (15.0, 40.0, 0.008)):
        for _ in range(3):
            length, turn, phase = rng.uniform(low, high), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
            k = 2 * np.pi / length
            wave = steep * rng.uniform(0, 1) / k
            kx, ky = k * np.cos(turn), k * np.sin(turn)
            height += wave * (np.sin(kx * x + ky * y + phase) - np.sin(phase) - np.cos(phase) * (kx * x + ky * y))
    limit = 0.05 * np.hypot(x, y)
    height = limit * np.tanh(height / np.maximum(limit, 1e-6))
    rough = street.labels(x, y) == GroundLabel.VERGE
    height += rough * rng.normal(0.0, rng.choice([0.0, rng.uniform(0.0, 0.06)]), height.shape)
    fine = (np.arange(-100.0, 100.0, 0.5) + 0.25).astype(np.float32)
    paint = street.paint(fine[:, None], fine[None, :]).astype(np.float32)
    return Ground(-reach_m, -reach_m, 2.0, height.astype(np.float32), -100.0, -100.0, 0.5, paint)
