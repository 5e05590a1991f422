"""Things that go along a path, and how they keep their distance."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from percept_ros.simulate.paths import Path
from percept_ros.simulate.shapes import Model
from percept_ros.types import F64

COMFORT_MPS2, BRAKE_MPS2 = 1.4, 6.0
EGO_SIZE = np.array([4.6, 1.85, 1.6])


@dataclass(slots=True)
class Mover:
    """Something that goes along a path.

    along_m: its middle on the path. wish_mps: speed it wants. yield_m: where it waits for a gap, or infinity.
    crossing: middle of the crossing it waits for. towed: the trailer behind it follows this mover.
    """

    key: int
    model: Model | None
    path: Path
    along_m: float
    speed_mps: float
    wish_mps: float
    yield_m: float = np.inf
    crossing: F64 | None = None
    towed: Mover | None = None
    walks: bool = False
    acceleration_mps2: float = 0.0
    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    size: F64 = field(default_factory=lambda: EGO_SIZE)

    def settle(self) -> None:
        """Take the pose of the present place on the path."""
        self.pose = self.path.pose(self.along_m)

    @property
    def yaw_rate_radps(self) -> float:
        """Turning speed that the path asks for."""
        return self.speed_mps * self.path.bend(self.along_m)


def follow(speed_mps: float, wish_mps: float, gap_m: float, leader_mps: float) -> float:
    """Acceleration by the intelligent driver model (Treiber, Hennecke, Helbing 2000, equations 3 and 4), m/s^2."""
    closing = speed_mps * (speed_mps - leader_mps) / (2 * np.sqrt(COMFORT_MPS2 * 2.0))
    safe = 2.0 + max(0.0, 1.3 * speed_mps + closing)
    free = 1.0 - (speed_mps / max(wish_mps, 0.1)) ** 4
    return float(np.clip(COMFORT_MPS2 * (free - (safe / max(gap_m, 0.3)) ** 2), -BRAKE_MPS2, COMFORT_MPS2))


def gap_ahead(index: int, state: F64, bend: float) -> tuple[float, float]:
    """Free way in front of row ``index`` and the leader's speed along it.

    state: (n, 6) x, y, yaw, speed, length, width. bend: curvature of the way ahead, 1/m. No leader: (1000, 0).
    """
    x, y, yaw, _, length, width = state[index]
    dx, dy = state[:, 0] - x, state[:, 1] - y
    ahead = np.cos(yaw) * dx + np.sin(yaw) * dy
    aside = np.cos(yaw) * dy - np.sin(yaw) * dx - 0.5 * bend * ahead**2
    turned = state[:, 2] - yaw
    cos, sin = np.abs(np.cos(turned)), np.abs(np.sin(turned))
    reach_along = (cos * state[:, 4] + sin * state[:, 5]) / 2
    reach_aside = (sin * state[:, 4] + cos * state[:, 5]) / 2
    oncoming: npt.NDArray[np.bool_] = np.cos(turned) < -0.7
    block = (ahead > 0.5) & (ahead < 70.0) & (np.abs(aside) < reach_aside + width / 2 + 0.3) & ~oncoming
    block[index] = False
    if not block.any():
        return 1000.0, 0.0
    gaps = np.where(block, ahead - reach_along - length / 2, np.inf)
    first = int(np.argmin(gaps))
    return float(gaps[first]), float(state[first, 3] * np.cos(turned[first]))
