"""Traffic that moves plausibly: cars follow, keep distance, slow for bends, turn off, and give way; people walk.

One ``Traffic`` holds everything that moves, the ego vehicle included, and advances it in fixed steps.
"""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.following import Mover, follow, gap_ahead
from percept_ros.simulate.paths import RUN_UP_M, Path, Road, turn
from percept_ros.simulate.shapes import Model, make
from percept_ros.types import F64, ObjectClass

C = ObjectClass
WINDOW_M = (-RUN_UP_M, 135.0)
KINDS = (C.CAR, C.TRUCK, C.BUS, C.MOTORCYCLE)
KIND_ODDS = np.array([0.80, 0.10, 0.05, 0.05])


class Traffic:
    """All movers about the ego vehicle."""

    def __init__(self, road: Road, rng: np.random.Generator, density: float, ego_speed_mps: float) -> None:
        """density: 0 (empty) to 1 (dense)."""
        self.road, self._rng, self._density = road, rng, density
        self._next_key = 1
        self._lanes = [(road.lane(i, back), back) for back in (False, True) for i in range(road.lanes)]
        lane = self._lanes[road.lanes - 1][0]
        self.ego = Mover(0, None, lane, RUN_UP_M, 0.7 * ego_speed_mps, ego_speed_mps)
        self.ego.settle()
        self.movers: list[Mover] = []
        self._served: set[int] = set()
        for path, back in self._lanes:
            self._fill_lane(path, back)
        self._walkers(-40.0, WINDOW_M[1])
        self._side_traffic()

    def step(self, seconds: float) -> None:
        """Advance everything."""
        everyone = [self.ego, *self.movers]
        state = np.array([[*m.pose, m.speed_mps, m.size[0], m.size[1]] for m in everyone])
        for index, mover in enumerate(everyone):
            mover.acceleration_mps2 = self._wish(mover, index, state) if mover.towed is None else 0.0
        for mover in everyone:
            self._move(mover, seconds)
        self._replace()

    def _move(self, mover: Mover, seconds: float) -> None:
        if mover.towed is not None:
            mover.speed_mps = mover.towed.speed_mps
            mover.along_m = mover.towed.along_m - _hitch(mover, mover.towed)
        else:
            before = mover.speed_mps
            mover.speed_mps = max(0.0, before + mover.acceleration_mps2 * seconds)
            mover.along_m += 0.5 * (before + mover.speed_mps) * seconds
        mover.settle()

    def _wish(self, mover: Mover, index: int, state: F64) -> float:
        """Acceleration that a mover wants."""
        speed = mover.speed_mps
        if mover.walks:
            stop = mover.yield_m - mover.along_m
            return float(np.clip((0.0 if 0 < stop < 0.6 and self._busy(mover) else mover.wish_mps) - speed, -2.0, 1.0))
        bend = abs(mover.path.bend(mover.along_m, 8.0 + 1.5 * speed))
        wish = min(mover.wish_mps, np.sqrt(2.2 / max(bend, 1e-4)))
        gap, leader = gap_ahead(index, state, mover.path.bend(mover.along_m))
        to_line = mover.yield_m - mover.along_m - mover.size[0] / 2
        if 0 < to_line < 30.0 and to_line < gap and self._busy(mover):
            gap, leader = to_line, 0.0
        return follow(speed, wish, gap, leader)

    def _busy(self, mover: Mover) -> bool:
        """Whether somebody comes near the crossing that ``mover`` waits at."""
        middle = mover.crossing
        for other in (self.ego, *self.movers):
            if other is mover or other.walks or middle is None or other.crossing is not None:
                continue
            dx, dy = middle[0] - other.pose[0], middle[1] - other.pose[1]
            away = dx * np.cos(other.pose[2]) + dy * np.sin(other.pose[2])
            if np.hypot(dx, dy) < 60.0 and -10.0 < away < 10.0 + 6.0 * other.speed_mps:
                return True
        return False

    def _add(
        self, class_id: ObjectClass, path: Path, along: float, speed: float, wish: float, model: Model | None = None
    ) -> Mover:
        model = make(class_id, self._rng) if model is None else model
        mover = Mover(self._next_key, model, path, along, speed, wish, walks=class_id == C.PEDESTRIAN, size=model.size)
        mover.settle()
        self._next_key += 1
        self.movers.append(mover)
        return mover

    def _free(self, path: Path, along: float, room: float) -> bool:
        x, y, _ = path.pose(along)
        return all(np.hypot(m.pose[0] - x, m.pose[1] - y) > room + m.size[0] / 2 for m in (self.ego, *self.movers))

    def _fill_lane(self, path: Path, back: bool) -> None:
        here = path.nearest(np.array(self.ego.pose[:2]))
        first, last = (here - WINDOW_M[1], here - WINDOW_M[0]) if back else (here + WINDOW_M[0], here + WINDOW_M[1])
        along = first + 5.0
        while along < min(last, path.length_m - 30.0):
            if along > 10.0:
                self._vehicle(path, along, moving=True)
            along += 12.0 + float(self._rng.exponential(10.0 + 50.0 * (1.0 - self._density)))

    def _vehicle(self, path: Path, along: float, *, moving: bool) -> Mover | None:
        if not self._free(path, along, 9.0):
            return None
        wish = self.ego.wish_mps * float(self._rng.uniform(0.75, 1.2))
        class_id = C(self._rng.choice(np.array(KINDS), p=KIND_ODDS))
        mover = self._add(class_id, path, along, wish * 0.8 if moving else 0.0, wish)
        assert mover.model is not None
        if class_id == C.TRUCK and mover.size[0] < 6.3 and along > 20.0 and self._free(path, along - 12.0, 5.0):
            towed = self._add(C.TRAILER, path, along, mover.speed_mps, wish)
            towed.towed = mover
            towed.along_m = along - _hitch(towed, mover)
            towed.settle()
        elif path is not self.ego.path or self._rng.random() < 0.3:
            self._perhaps_turn(mover)
        return mover

    def _perhaps_turn(self, mover: Mover) -> None:
        """Send some vehicles into a side road to the right."""
        for crossing, side in zip(self.road.crossings_m, self.road.sides, strict=True):
            x, y, _ = self.road.centre.pose(crossing)
            if mover.path.nearest(np.array([x, y])) - mover.along_m > 25.0 and self._rng.random() < 0.2:
                back = np.cos(mover.pose[2] - self.road.centre.pose(crossing)[2]) < 0
                out = (side if back else side.reversed()).shifted(-self.road.lane_m / 2)
                mover.path = turn(mover.path, out, 9.0)
                return

    def _side_traffic(self) -> None:
        """Vehicles that come out of the side roads near the ego vehicle, each road once."""
        here = self.road.centre.nearest(np.array(self.ego.pose[:2]))
        for index, (crossing, side) in enumerate(zip(self.road.crossings_m, self.road.sides, strict=True)):
            if index in self._served or not WINDOW_M[0] < crossing - here < WINDOW_M[1]:
                continue
            self._served.add(index)
            x, y, _ = self.road.centre.pose(crossing)
            for line, back in ((side, False), (side.reversed(), True)):
                path = line.shifted(-self.road.lane_m / 2)
                for along in np.arange(20.0, 70.0, float(self._rng.uniform(12, 25))):
                    if self._rng.random() < 0.25 + 0.5 * self._density:
                        self._give_way(path, float(along), np.array([x, y]), back)
            self._cross_on_foot(crossing)

    def _give_way(self, path: Path, along: float, middle: F64, back: bool) -> None:
        wish = float(self._rng.uniform(7, 11))
        mover = self._add(C(self._rng.choice(np.array(KINDS), p=KIND_ODDS)), path, along, wish * 0.6, wish)
        mover.yield_m = path.nearest(middle) - self.road.edge_m - 0.5
        mover.crossing = middle
        if self._rng.random() < 0.4:
            lane = self.road.lane(self.road.lanes - 1, oncoming=back)
            mover.path = turn(path, lane, self.road.edge_m - 0.5 * self.road.lane_m)

    def _cross_on_foot(self, crossing: float) -> None:
        x, y, yaw = self.road.centre.pose(crossing + self.road.side_edge_m + 3.0)
        reach = self.road.edge_m + 6.0
        left = np.array([-np.sin(yaw), np.cos(yaw)])
        for _ in range(int(self._rng.poisson(1.0 + 2.0 * self._density))):
            sign, spread = float(self._rng.choice([-1.0, 1.0])), float(self._rng.uniform(-1.2, 1.2))
            middle = np.array([x, y]) + spread * np.array([np.cos(yaw), np.sin(yaw)])
            path = Path.through(np.array([middle - sign * reach * left, middle + sign * reach * left]))
            walk = float(self._rng.uniform(0.9, 1.7))
            walker = self._add(C.PEDESTRIAN, path, float(self._rng.uniform(0.5, 5.0)), walk, walk)
            walker.yield_m, walker.crossing = reach - self.road.edge_m - 0.3, middle

    def _walkers(self, first: float, last: float) -> None:
        """People and cyclists beside the road between two distances from the ego vehicle, m along the road."""
        here = self.road.centre.nearest(np.array(self.ego.pose[:2]))
        first, last = max(here + first, 5.0), min(here + last, self.road.centre.length_m - 30.0)
        if last - first < 20.0:
            return
        for _ in range(int(self._rng.poisson((last - first) / 100.0 * (2.0 + 9.0 * self._density)))):
            side, sign = float(self._rng.choice([-1.0, 1.0])), float(self._rng.choice([-1.0, 1.0]))
            offset = side * (self.road.edge_m + float(self._rng.uniform(0.7, self.road.pavement_m - 0.3)))
            at = float(self._rng.uniform(first, last))
            if self.road.near_crossing(at) > self.road.side_edge_m + 3.0:
                for _ in range(int(self._rng.choice([1, 1, 1, 2, 2, 3]))):
                    self._stroll(
                        at + float(self._rng.normal(0, 0.8)),
                        offset + float(self._rng.normal(0, 0.35)),
                        sign,
                        C.PEDESTRIAN,
                    )
        for _ in range(int(self._rng.poisson((last - first) / 100.0 * (0.5 + self._density)))):
            side = float(self._rng.choice([-1.0, 1.0]))
            offset = side * (self.road.lanes * self.road.lane_m + 0.5)
            self._stroll(float(self._rng.uniform(first, last)), offset, -side, C.BICYCLE)

    def _stroll(self, at: float, offset: float, sign: float, class_id: ObjectClass) -> None:
        line = self.road.centre.part(at - 100.0, at + 100.0).shifted(offset)
        path = line if sign > 0 else line.reversed()
        x, y, yaw = self.road.centre.pose(at)
        along = path.nearest(np.array([x - offset * np.sin(yaw), y + offset * np.cos(yaw)]))
        fast = float(self._rng.uniform(0.7, 1.7)) if class_id == C.PEDESTRIAN else float(self._rng.uniform(3.5, 6.5))
        if self._free(path, along, 0.7):
            self._add(class_id, path, along, fast, fast, _ridden(self._rng) if class_id == C.BICYCLE else None)

    def _replace(self) -> None:
        """Drop who is far away or at the end of the way; let others come in at the edges."""
        ego = np.array(self.ego.pose[:2])
        gone = {
            m.key
            for m in self.movers
            if m.along_m > m.path.length_m - 1.0 or np.hypot(*(np.array(m.pose[:2]) - ego)) > WINDOW_M[1] + 40.0
        }
        gone |= {m.key for m in self.movers if m.towed is not None and m.towed.key in gone}
        self.movers = [m for m in self.movers if m.key not in gone]
        for path, back in self._lanes:
            here = path.nearest(ego)
            for along in (here - WINDOW_M[1],) if back else (here + WINDOW_M[1], here + WINDOW_M[0]):
                if 30.0 < along < path.length_m - 40.0 and self._rng.random() < 0.01 + 0.05 * self._density:
                    self._vehicle(path, along, moving=True)
        if self._rng.random() < 0.05:
            self._walkers(WINDOW_M[1] - 12.0, WINDOW_M[1] + 12.0)
        self._side_traffic()


def _ridden(rng: np.random.Generator) -> Model:
    from percept_ros.simulate import people
    from percept_ros.simulate.shapes import boxed

    return boxed(people.bicycle(rng), C.BICYCLE)


def _hitch(trailer: Mover, tractor: Mover) -> float:
    return float(tractor.size[0] / 2 - 2.5 + trailer.size[0] / 2)
