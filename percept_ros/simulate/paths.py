"""Lines that things drive and walk along, and the road network made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.types import F64

STEP_M = 1.0
SIDE_ROAD_M = 85.0
RUN_UP_M = 75.0
"""Road behind the place where a drive begins, which is the origin of the fixed frame."""


@dataclass(frozen=True, slots=True)
class Path:
    """A line in the plane, nodes about ``STEP_M`` apart.

    xy: (n, 2) m. along_m: (n,) distance from the start. yaw: (n,) rad, unwrapped. curvature: (n,) 1/m, left positive.
    """

    xy: F64
    along_m: F64
    yaw: F64
    curvature: F64

    @staticmethod
    def through(xy: F64) -> Path:
        """The path through given points, resampled."""
        length = np.r_[0.0, np.cumsum(np.hypot(*np.diff(xy, axis=0).T))]
        along = np.linspace(0.0, length[-1], max(2, int(length[-1] / STEP_M) + 1))
        even = np.column_stack([np.interp(along, length, xy[:, 0]), np.interp(along, length, xy[:, 1])])
        slope = np.gradient(even, along, axis=0)
        yaw = np.unwrap(np.arctan2(slope[:, 1], slope[:, 0]))
        return Path(even, along, yaw, np.gradient(yaw, along))

    @property
    def length_m(self) -> float:
        """Length of the whole path."""
        return float(self.along_m[-1])

    def pose(self, along_m: float) -> tuple[float, float, float]:
        """x, y, yaw at a distance from the start (held at the ends)."""
        return (
            float(np.interp(along_m, self.along_m, self.xy[:, 0])),
            float(np.interp(along_m, self.along_m, self.xy[:, 1])),
            float(np.interp(along_m, self.along_m, self.yaw)),
        )

    def bend(self, along_m: float, ahead_m: float = 0.0) -> float:
        """Curvature at a place, or the strongest within ``ahead_m`` of it."""
        first = int(np.clip(along_m / self.length_m * (len(self.along_m) - 1), 0, len(self.along_m) - 1))
        last = min(len(self.along_m), first + 1 + int(ahead_m / STEP_M))
        part = self.curvature[first:last]
        return float(part[np.argmax(np.abs(part))])

    def nearest(self, point: F64) -> float:
        """Distance from the start of the node nearest to (2,) ``point``."""
        return float(self.along_m[np.argmin(np.sum((self.xy - point) ** 2, axis=1))])

    def shifted(self, left_m: float) -> Path:
        """The parallel path ``left_m`` to the left."""
        normal = np.column_stack([-np.sin(self.yaw), np.cos(self.yaw)])
        return Path.through(self.xy + left_m * normal)

    def reversed(self) -> Path:
        """The same line the other way."""
        return Path.through(self.xy[::-1])

    def part(self, first_m: float, last_m: float) -> Path:
        """The stretch between two distances."""
        rows = (self.along_m >= first_m) & (self.along_m <= last_m)
        return Path.through(self.xy[rows])


def turn(into: Path, out: Path, corner_m: float = 9.0) -> Path:
    """``into`` up to ``corner_m`` before the lines cross, a smooth corner, then ``out``."""
    gaps = np.sum((into.xy[:, None] - out.xy[None]) ** 2, axis=2)
    i, j = np.unravel_index(int(np.argmin(gaps)), gaps.shape)
    crossing = (into.xy[i] + out.xy[j]) / 2
    before, after = into.xy[into.along_m < into.along_m[i] - corner_m], out.xy[out.along_m > out.along_m[j] + corner_m]
    share = np.linspace(0.0, 1.0, 15)[1:-1, None]
    bend = (1 - share) ** 2 * before[-1] + 2 * share * (1 - share) * crossing + share**2 * after[0]
    return Path.through(np.vstack([before, bend, after]))


@dataclass(frozen=True, slots=True)
class Road:
    """A main road, its lanes and the straight side roads that cross it.

    centre: middle of the road, in driving direction of the ego vehicle (traffic keeps right). lanes: of each direction.
    verge_m: from the outermost lane to the kerb (cycle strip and parking). crossings_m: along ``centre``.
    side: middle of each side road, from the right to the left of the main road.
    """

    centre: Path
    lanes: int
    lane_m: float
    verge_m: float
    pavement_m: float
    crossings_m: tuple[float, ...]
    sides: tuple[Path, ...]

    @property
    def edge_m(self) -> float:
        """Distance of the kerb from the middle."""
        return self.lanes * self.lane_m + self.verge_m

    @property
    def side_edge_m(self) -> float:
        """Distance of a side road's kerb from its middle."""
        return self.lane_m + 0.6

    def lane(self, index: int, oncoming: bool = False) -> Path:
        """Middle of a lane, 0 = next to the middle of the road."""
        offset = (index + 0.5) * self.lane_m
        return self.centre.shifted(offset).reversed() if oncoming else self.centre.shifted(-offset)

    def near_crossing(self, along_m: float) -> float:
        """Distance to the nearest crossing, m along the road."""
        return min((abs(along_m - c) for c in self.crossings_m), default=1e9)


def random_road(rng: np.random.Generator, length_m: float) -> Road:
    """Straight and curved stretches in turn, with side roads on the straight ones."""
    bends: list[tuple[float, float]] = [(90.0 + float(rng.uniform(0, 60)), 0.0)]
    heading, total = 0.0, bends[0][0]
    crossings = [total - 15.0 - float(rng.uniform(0, 20))] if rng.random() < 0.9 else []
    while total < length_m:
        angle = float(rng.uniform(0.2, 0.9)) * (-1.0 if heading > 0 or (heading == 0 and rng.random() < 0.5) else 1.0)
        radius = float(rng.uniform(45, 180))
        straight = float(rng.uniform(60, 170))
        bends += [(radius * abs(angle), np.sign(angle) / radius), (straight, 0.0)]
        heading += angle
        total += radius * abs(angle) + straight
        if straight > 90 and rng.random() < 0.85:
            crossings.append(total - straight / 2)
    centre = _bend_line(bends)
    lanes, lane = int(rng.integers(1, 3)), float(rng.uniform(3.1, 3.6))
    return Road(
        centre,
        lanes,
        lane,
        float(rng.uniform(3.1, 3.5)),
        float(rng.uniform(2.0, 4.0)),
        tuple(crossings),
        tuple(_side_road(centre, at) for at in crossings),
    )


def _bend_line(bends: list[tuple[float, float]]) -> Path:
    curvature = np.concatenate([np.full(max(1, int(length)), bend) for length, bend in bends])
    smooth = np.convolve(np.pad(curvature, 7, mode="edge"), np.ones(15) / 15, mode="valid")
    yaw = np.cumsum(smooth)
    steps = np.column_stack([np.cos(yaw), np.sin(yaw)])
    return Path.through(np.vstack([[0.0, 0.0], np.cumsum(steps, axis=0)]) - [RUN_UP_M, 0.0])


def _side_road(centre: Path, along_m: float) -> Path:
    x, y, yaw = centre.pose(along_m)
    reach = np.linspace(-SIDE_ROAD_M, SIDE_ROAD_M, 2)[:, None]
    return Path.through(np.array([x, y]) + reach * np.array([-np.sin(yaw), np.cos(yaw)]))
