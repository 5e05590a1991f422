"""The world of a drive at one moment: the road, its surroundings, everything that moves, and the ego vehicle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from percept_ros.simulate.following import Mover
from percept_ros.simulate.paths import Road, random_road
from percept_ros.simulate.shapes import box_at
from percept_ros.simulate.solids import Solids, place
from percept_ros.simulate.surroundings import Stretch, Surroundings
from percept_ros.simulate.terrain import GroundLabel, Patch, Terrain, ground_patch
from percept_ros.simulate.traffic import Traffic
from percept_ros.types import F64, I64

REACH_M = 105.0
STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class EgoState:
    """The ego vehicle: pose of its base frame (on the road below its middle) in the fixed frame, and how it moves."""

    fixed_SE3_base: F64
    speed_mps: float
    yaw_rate_radps: float

    def poses(self, time_s: F64) -> F64:
        """(n, 4, 4) base poses ``time_s`` (n,) after this state, turning and climbing on as now."""
        turned = self.yaw_rate_radps * time_s
        out = np.broadcast_to(self.fixed_SE3_base, (len(time_s), 4, 4)).copy()
        rotation = np.zeros((len(time_s), 3, 3))
        rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(turned)
        rotation[:, 1, 0] = np.sin(turned)
        rotation[:, 0, 1] = -rotation[:, 1, 0]
        rotation[:, 2, 2] = 1.0
        out[:, :3, :3] = rotation @ self.fixed_SE3_base[:3, :3]
        cos, sin = np.cos(turned / 2), np.sin(turned / 2)
        ahead = self.fixed_SE3_base[:3, 0]
        step = np.stack(
            [cos * ahead[0] - sin * ahead[1], sin * ahead[0] + cos * ahead[1], np.full_like(cos, ahead[2])], 1
        )
        out[:, :3, 3] += (self.speed_mps * time_s)[:, None] * step
        return out


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything near the ego vehicle.

    origin: (3,) in the fixed frame; solids (object = row below) and patch are relative to it.
    boxes: (N, 7) fixed frame. class_ids: (N,). velocity_mps, acceleration_mps2: (N, 2). yaw_rate_radps: (N,). keys: (N,).
    """

    ego: EgoState
    origin: F64
    solids: Solids
    patch: Patch
    boxes: F64
    class_ids: I64
    velocity_mps: F64
    acceleration_mps2: F64
    yaw_rate_radps: F64
    keys: tuple[int, ...]


class World:
    """A drive that can be stepped and looked at; deterministic by its seed."""

    def __init__(self, seconds: float, seed: int, density: float = 0.5, speed_mps: float = 10.0) -> None:
        rng = np.random.default_rng([seed, 1])
        self.road: Road = random_road(rng, seconds * speed_mps * 1.1 + 400.0)
        self.terrain = Terrain.random(rng)
        self.traffic = Traffic(self.road, np.random.default_rng([seed, 2]), density, speed_mps)
        self._surroundings = Surroundings(self.road, self.terrain, seed, density)
        reflectivity = np.full(256, 0.25, np.float32)
        reflectivity[GroundLabel.VERGE] = rng.uniform(0.2, 0.5)
        reflectivity[GroundLabel.TAR] = rng.uniform(0.1, 0.3)
        reflectivity[GroundLabel.PAINT] = rng.uniform(0.6, 0.9)
        reflectivity[GroundLabel.PAVEMENT] = rng.uniform(0.2, 0.4)
        self._reflectivity = reflectivity
        self._shapes: dict[int, Solids] = {}

    def step(self) -> None:
        """Advance by ``STEP_S``."""
        self.traffic.step(STEP_S)

    def ego(self) -> EgoState:
        """Where the ego vehicle is now."""
        mover = self.traffic.ego
        x, y, yaw = mover.pose
        gx, gy = self.terrain.gradient(x, y)
        up = np.array([-gx, -gy, 1.0]) / np.sqrt(1.0 + gx * gx + gy * gy)
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        ahead[2] = gx * ahead[0] + gy * ahead[1]
        ahead = ahead / np.linalg.norm(ahead) + 0.003 * mover.acceleration_mps2 * up
        ahead /= np.linalg.norm(ahead)
        left = np.cross(up, ahead)
        left /= np.linalg.norm(left)
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([ahead, left, np.cross(ahead, left)])
        pose[:3, 3] = x, y, float(self.terrain.height(x, y))
        return EgoState(pose, mover.speed_mps, mover.yaw_rate_radps)

    def look(self) -> Moment:
        """Everything within reach of the sensors now."""
        ego = self.ego()
        origin = np.array([*self.traffic.ego.pose[:2], 0.0])
        movers = [
            m for m in self.traffic.movers if m.model is not None and np.hypot(*(m.pose[:2] - origin[:2])) < REACH_M
        ]
        stretches = self._surroundings.near(self.road.centre.nearest(origin[:2]), REACH_M + 15.0)
        moving, poses = self._moving(movers, origin)
        standing, count = [], len(movers)
        for stretch in stretches:
            standing.append(_shifted(stretch, origin, count))
            count += len(stretch.keys)
        boxes = [box_at(m.model, p) for m, p in zip(movers, poses, strict=True) if m.model is not None]
        every = np.array([*boxes, *(row for s in stretches for row in s.boxes)]).reshape(-1, 7)
        classes = [int(m.model.class_id) for m in movers if m.model is not None]
        classes += [int(c) for s in stretches for c in s.class_ids]
        yaw = np.array([m.pose[2] for m in movers]).reshape(-1)
        speed = np.array([m.speed_mps for m in movers]).reshape(-1)
        gain = np.array([m.acceleration_mps2 for m in movers]).reshape(-1)
        rate = np.array([m.yaw_rate_radps for m in movers]).reshape(-1)
        rest = count - len(movers)
        heading, across = np.column_stack([np.cos(yaw), np.sin(yaw)]), np.column_stack([-np.sin(yaw), np.cos(yaw)])
        acceleration = gain[:, None] * heading + (speed * rate)[:, None] * across
        every[:, 6] = np.mod(every[:, 6] + np.pi, 2 * np.pi) - np.pi
        return Moment(
            ego,
            origin,
            Solids.join([moving, *standing]),
            ground_patch(self.terrain, self.road, origin[:2], self._reflectivity),
            every,
            np.array(classes, np.int64),
            np.vstack([speed[:, None] * heading, np.zeros((rest, 2))]),
            np.vstack([acceleration, np.zeros((rest, 2))]),
            np.r_[rate, np.zeros(rest)],
            (*(m.key for m in movers), *(k for s in stretches for k in s.keys)),
        )

    def _moving(self, movers: list[Mover], origin: F64) -> tuple[Solids, F64]:
        """Solids of the movers relative to ``origin``, and their poses (n, 4) in the fixed frame."""
        self._shapes = {m.key: self._shapes.get(m.key) or _own(m) for m in movers}
        poses = np.array([[m.pose[0], m.pose[1], 0.0, m.pose[2]] for m in movers]).reshape(-1, 4)
        poses[:, 2] = self.terrain.height(poses[:, 0], poses[:, 1])
        if not movers:
            return place([], np.zeros((0, 4)), []), poses
        parts = [self._shapes[m.key] for m in movers]
        row = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        speed = np.array([m.speed_mps for m in movers])
        velocity = np.zeros((len(row), 3), np.float32)
        velocity[:, 0] = (speed * np.cos(poses[:, 3]))[row]
        velocity[:, 1] = (speed * np.sin(poses[:, 3]))[row]
        joined = Solids.join(parts).moved((poses[:, :3] - origin)[row], poses[row, 3])
        return replace(joined, object=row.astype(np.int32), velocity=velocity), poses


def _own(mover: Mover) -> Solids:
    assert mover.model is not None
    return place([mover.model.shape], np.zeros((1, 4)), [0])


def _shifted(stretch: Stretch, origin: F64, first_row: int) -> Solids:
    shift = np.array([*(stretch.origin - origin[:2]), -origin[2]])
    moved = stretch.solids.moved(shift)
    owner = np.where(moved.object >= 0, moved.object + first_row, moved.object).astype(np.int32)
    return replace(moved, object=owner)
