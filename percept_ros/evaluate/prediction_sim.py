"""Simulated objects through the real tracker: what the predictor sees on the road, and where the objects really went.

Traffic of the simulator is stepped without rendering. Each tenth of a second its boxes become detections (missed, and with
noise that grows with range), the tracker follows them, and each track is paired with the truth of its object.
"""

from __future__ import annotations

import numpy as np

from percept_ros.config import TrackingConfig
from percept_ros.core.path_features import GROUP_OF_CLASS
from percept_ros.core.tracking import Tracker
from percept_ros.errors import PerceptError
from percept_ros.evaluate.prediction_data import Trajectory
from percept_ros.simulate.paths import random_road
from percept_ros.simulate.traffic import Traffic
from percept_ros.types import F64, I64, LIDAR_BIT, NUM_CLASSES, Bool, Detections, ObjectClass, Tracks

STEP_S, STEP_NS = 0.1, 100_000_000
REACH_M = 60.0
PAIR_M = 2.0
PARKED = 12
_BLIND: dict[str, float] = {"miss": 0.06, "position_m": 0.05, "position_per_m": 0.003, "yaw_rad": 0.03}


def drives(seed: int, count: int, seconds: float = 40.0) -> list[Trajectory]:
    """Tracks of ``count`` drives, each of another seed, density and speed; sequence names are the seeds."""
    found = []
    for index in range(count):
        found += drive(seed + index, seconds)
    return found


def drive(seed: int, seconds: float) -> list[Trajectory]:
    """Tracks of one drive in the fixed frame: measured = the tracker's positions, truth = the object's."""
    rng = np.random.default_rng([seed, 77])
    speed = float(rng.uniform(5.0, 14.0))
    road = random_road(rng, seconds * speed * 1.1 + 400.0)
    traffic = Traffic(road, rng, float(rng.uniform(0.2, 0.9)), speed)
    tracker = Tracker(TrackingConfig(), seed=seed)
    parked = _parked(traffic, rng)
    noise = float(rng.uniform(0.5, 2.0))
    truth: dict[int, dict[int, F64]] = {}
    seen: dict[tuple[bytes, int], list[tuple[int, F64, F64]]] = {}
    kinds: dict[int, int] = {}
    for step in range(round(seconds / STEP_S)):
        for _ in range(2):
            traffic.step(STEP_S / 2)
        keys, boxes, classes = _objects(traffic, parked)
        for key, box, kind in zip(keys.tolist(), boxes, classes.tolist(), strict=True):
            truth.setdefault(key, {})[step] = box[:2]
            kinds[key] = kind
        pose = _pose(traffic)
        tracks = tracker.step(_detect(boxes, classes, pose, noise, rng, step * STEP_NS), {}, {}, pose)
        _pair(tracks, keys, boxes, step, seen)
    return [t for (_, key), rows in seen.items() for t in _trajectories(str(seed), rows, truth[key], kinds[key])]


def _parked(traffic: Traffic, rng: np.random.Generator) -> F64:
    """(n, 7) cars that stand beside the road ahead."""
    road, here = traffic.road, traffic.road.centre.nearest(np.array(traffic.ego.pose[:2]))
    boxes = []
    for at in rng.uniform(here, here + 350.0, PARKED):
        x, y, yaw = road.centre.pose(float(min(at, road.centre.length_m - 30.0)))
        side = float(rng.choice([-1.0, 1.0])) * (road.edge_m + 1.2)
        boxes.append([x - side * np.sin(yaw), y + side * np.cos(yaw), 0.75, 4.4, 1.8, 1.5, yaw])
    return np.array(boxes)


def _objects(traffic: Traffic, parked: F64) -> tuple[I64, F64, I64]:
    """Keys, boxes (n, 7) in the fixed frame and classes of all objects within reach."""
    movers = [m for m in traffic.movers if m.model is not None]
    boxes = [[m.pose[0], m.pose[1], m.size[2] / 2, *m.size, m.pose[2]] for m in movers]
    every = np.array([*boxes, *parked]).reshape(-1, 7)
    keys = np.array([m.key for m in movers] + [-1 - i for i in range(len(parked))], np.int64)
    classes = [int(m.model.class_id) for m in movers if m.model is not None] + [int(ObjectClass.CAR)] * len(parked)
    near = np.hypot(*(every[:, :2] - traffic.ego.pose[:2]).T) < REACH_M
    return keys[near], every[near], np.array(classes, np.int64)[near]


def _pose(traffic: Traffic) -> F64:
    x, y, yaw = traffic.ego.pose
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def _detect(boxes: F64, classes: I64, pose: F64, noise: float, rng: np.random.Generator, stamp_ns: int) -> Detections:
    """Noisy detections in the base frame; far objects are missed more often."""
    local = boxes.copy()
    local[:, :2] = (boxes[:, :2] - pose[:2, 3]) @ pose[:2, :2]
    local[:, 6] -= np.arctan2(pose[1, 0], pose[0, 0])
    away = np.hypot(local[:, 0], local[:, 1])
    found: Bool = rng.random(len(boxes)) > _BLIND["miss"] + 0.3 * (away / REACH_M) ** 2
    local, away, classes = local[found], away[found], classes[found]
    sigma = noise * (_BLIND["position_m"] + _BLIND["position_per_m"] * away)
    local[:, :2] += sigma[:, None] * rng.normal(size=(len(local), 2))
    local[:, 6] += noise * _BLIND["yaw_rad"] * rng.normal(size=len(local))
    local[:, 6] = np.arctan2(np.sin(local[:, 6]), np.cos(local[:, 6]))
    shares = np.full((len(local), NUM_CLASSES), 0.01)
    shares[np.arange(len(local)), classes] = 1.0
    return Detections(
        stamp_ns,
        "base_link",
        local,
        np.clip(rng.normal(0.8, 0.1, len(local)), 0.2, 0.99),
        shares / shares.sum(axis=1, keepdims=True),
        np.full((len(local), 2), np.nan),
        np.full(len(local), LIDAR_BIT, np.uint32),
    )


def _pair(
    tracks: Tracks, keys: I64, boxes: F64, step: int, seen: dict[tuple[bytes, int], list[tuple[int, F64, F64]]]
) -> None:
    """Note position and velocity of each track under its id and the nearest object."""
    if not len(tracks) or not len(keys):
        return
    apart = np.hypot(tracks.boxes[:, None, 0] - boxes[None, :, 0], tracks.boxes[:, None, 1] - boxes[None, :, 1])
    nearest = apart.argmin(axis=1)
    for row in np.flatnonzero(apart.min(axis=1) < PAIR_M):
        name = (tracks.id[row].tobytes(), int(keys[nearest[row]]))
        seen.setdefault(name, []).append((step, tracks.boxes[row, :2], tracks.velocity_mps[row]))


def _trajectories(name: str, rows: list[tuple[int, F64, F64]], truth: dict[int, F64], kind: int) -> list[Trajectory]:
    """Runs without gaps; the truth may go on after the track ended."""
    found, start = [], 0
    group = int(GROUP_OF_CLASS[kind])
    for end in range(1, len(rows) + 1):
        if end < len(rows) and rows[end][0] == rows[end - 1][0] + 1:
            continue
        part, first = rows[start:end], rows[start][0]
        start = end
        if len(part) >= 5:
            placed = np.array([truth[s] for s, _, _ in part])
            measured, told = np.array([p for _, p, _ in part]), np.array([v for _, _, v in part])
            found.append(Trajectory(name, first, group, measured, placed, told))
    return found


def need(trajectories: list[Trajectory]) -> list[Trajectory]:
    """The trajectories, when there are any. Raises PerceptError."""
    if not trajectories:
        raise PerceptError("the simulated drives gave no track: more drives or longer ones are needed")
    return trajectories
