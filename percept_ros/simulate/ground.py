"""Random ground for training scenes: wavy height field and road paint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from percept_ros.simulate.lidar import Ground
from percept_ros.types import F64


def random_ground(rng: np.random.Generator, road: Callable[[F64, F64], F64], reach_m: float = 125.0) -> Ground:
    """Wavy ground, level under the ego vehicle; ``road`` gives the paint at positions x, y."""
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
    fine = np.arange(-100.0, 100.0, 0.5) + 0.25
    paint = road(fine[:, None], fine[None, :]).astype(np.float32)
    return Ground(-reach_m, -reach_m, 2.0, height.astype(np.float32), -100.0, -100.0, 0.5, paint)


def road_paint(
    rng: np.random.Generator, edges: tuple[float, float], middle: float, lane: float, lanes: int, crossing: float | None
) -> Callable[[F64, F64], F64]:
    """Reflectivity at positions x, y of tar, lane marks and verge. edges: y of the road's right and left edge, m."""
    tar, mark, verge = rng.uniform(0.08, 0.35), rng.uniform(0.5, 0.95), rng.uniform(0.15, 0.55)

    def colour(x: F64, y: F64) -> F64:
        road = (y > edges[0]) & (y < edges[1])
        if crossing is not None:
            road = road | (np.abs(x - crossing) < 4.5)
        value = np.where(road, tar, verge)
        for index in range(-lanes, lanes + 1):
            dash = np.mod(x, 9.0) < 4.0 if abs(index) not in (0, lanes) else np.ones_like(x, bool)
            value = np.where((np.abs(y - middle - index * lane) < 0.25) & dash & road, mark, value)
        patch = 1 + 0.15 * np.sin(0.9 * x + 2.0 * np.sin(0.31 * y)) * np.sin(1.1 * y + 1.7 * np.sin(0.23 * x))
        return np.asarray(value * patch)

    return colour
