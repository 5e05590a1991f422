"""Independent random scenes with wide variation, for training: one LiDAR sweep each, with boxes.

rng = np.random.default_rng(seed)
sample = scan(random_scene(rng), rng)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from percept_ros.simulate import people, roadside, scenery
from percept_ros.simulate.backdrop import backdrop, close_in
from percept_ros.simulate.camera import Camera, Look, render
from percept_ros.simulate.ground import Street, random_ground
from percept_ros.simulate.layout import Layout
from percept_ros.simulate.lidar import Ground, LidarModel, Scan, sweep
from percept_ros.simulate.queues import jam, lane
from percept_ros.simulate.sensors import ego_body, mounted, random_lidar
from percept_ros.simulate.shapes import boxed
from percept_ros.simulate.solids import SCENERY, Solids, place
from percept_ros.types import F32, F64, I64, U8, ObjectClass

C = ObjectClass
TWIN_SHARE = 0.15
"""Share of the sweeps that two 32-beam sensors above each other make."""
QUIET_SHARE = 0.35
"""Share of the streets with little traffic, where most returns are scenery."""
JAM_SHARE = 0.25
"""Share of the streets where one direction stands in a queue."""
TURNED_SHARE = 0.3
"""Share of the lanes that run the other way, as in one-way streets: which way a car faces must be seen, not guessed."""
EGO_CLEAR_M = (6.0, 2.6)


@dataclass(frozen=True, slots=True)
class Scene:
    """A frozen moment. Frame: base (z = 0 on the road under the ego vehicle, x forward).

    boxes: (N, 7). class_ids: (N,) ``ObjectClass``. velocity_mps: (N, 2).
    """

    solids: Solids
    ground: Ground
    boxes: F64
    class_ids: I64
    velocity_mps: F64
    street: Street


@dataclass(frozen=True, slots=True)
class Sample:
    """One simulated sweep with its ground truth, base frame (z = 0 at the road by the nominal mounting height).

    points: (P, 3) float32. intensity: (P,) float32 [0, 1]. ring: (P,) uint16, 0 = top. time_offset_s: (P,) float32.
    owner: (P,) int32 row of ``boxes``, or negative (ground, scenery, ghost; see lidar.py).
    boxes: (N, 7) float64. class_ids: (N,) int64. velocity_mps: (N, 2). points_inside: (N,) returns from each object.
    sensor: (3,) position of the LiDAR in the base frame. beams: number of beams.
    base_SE3_scene: (4, 4) how the vehicle leans: takes the scene's frame into the base frame.
    """

    points: F32
    intensity: F32
    ring: npt.NDArray[np.uint16]
    time_offset_s: F32
    owner: npt.NDArray[np.int32]
    boxes: F64
    class_ids: I64
    velocity_mps: F64
    points_inside: I64
    sensor: F64
    beams: int
    base_SE3_scene: F64


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a street, crossing, car park or open ground with traffic and scenery."""
    layout = Layout(rng)
    layout.keep_clear((0.0, 0.0, 0.0), EGO_CLEAR_M)
    lanes = int(rng.integers(1, 4))
    wide = float(rng.uniform(2.9, 3.7))
    ego_lane = (float(rng.integers(0, lanes)) + 0.5) * wide
    kind = rng.random()
    crossing = float(rng.uniform(12, 45)) * (1 if rng.random() < 0.8 else -1) if kind < 0.45 else None
    edge = lanes * wide + float(rng.choice([0.3, 2.4]))
    right, left = ego_lane - edge, ego_lane + edge  # y of the road's edges; the middle is at y = ego_lane
    _fill(layout, rng, kind, (lanes, wide, ego_lane), (right, left), crossing)
    street = Street.random(rng, (right, left), ego_lane, wide, lanes, crossing)
    return _freeze(layout, random_ground(rng, street), street)


def _fill(
    layout: Layout,
    rng: np.random.Generator,
    kind: float,
    lanes: tuple[int, float, float],
    edges: tuple[float, float],
    crossing: float | None,
) -> None:
    count, width, middle = lanes
    busy = rng.uniform(0.15, 1.0)
    quiet = rng.random() < QUIET_SHARE
    jammed = (rng.random() < JAM_SHARE, rng.random() < JAM_SHARE)
    heavy = float(rng.uniform(0.0, 0.5))
    for index in range(count):
        for side, yaw, queue in ((-1.0, 0.0, jammed[0]), (1.0, np.pi, jammed[1])):
            y = middle + side * (index + 0.5) * width
            yaw += np.pi if rng.random() < TURNED_SHARE else 0.0
            if queue:
                jam(layout, rng, (0.0, y), yaw, heavy)
            elif not (quiet and rng.random() < 0.7):
                lane(layout, rng, (0.0, y), yaw, 75.0, busy, rng.uniform(0, 20))
    if crossing is not None:
        for side, yaw in ((-1.0, -np.pi / 2), (1.0, np.pi / 2)):
            lane(layout, rng, (crossing + side * 2.0, 0.0), yaw, 45.0, busy, rng.uniform(0, 12))
    motorway = kind > 0.6 and crossing is None and rng.random() < 0.6
    if motorway:
        close_in(layout, rng, edges)
    parking = rng.random() + (1.0 if motorway else 0.0)
    for edge, out in ((edges[0], -1.0), (edges[1], 1.0)):
        if parking < (0.25 if quiet else 0.6):
            _parked(layout, rng, edge, out)
        if not motorway:
            _pavement(layout, rng, edge, out, busy)
    if kind > 0.75:  # car park or open ground: things stand anyhow
        for _ in range(int(rng.integers(5, 40))):
            class_id = C(rng.choice([C.CAR, C.CAR, C.CAR, C.TRUCK, C.PEDESTRIAN, C.BICYCLE, C.MOTORCYCLE, C.BUS]))
            speed = 0.0 if rng.random() < 0.6 else float(rng.uniform(0, 6))
            layout.actor(class_id, (*rng.uniform(-60, 60, 2), rng.uniform(-np.pi, np.pi)), speed)
    if kind > 0.7:
        roadside.scatter(layout, rng)
    if not motorway and rng.random() < 0.8:
        roadside.dress(layout, rng, edges)
    _roadside(layout, rng, edges, rng.uniform(0.3, 1.7) * (0.7 if motorway else 0.5))
    backdrop(layout, rng, edges)


def _parked(layout: Layout, rng: np.random.Generator, edge: float, out: float) -> None:
    angle = float(rng.choice([0.0, 0.0, np.pi / 2, np.pi / 4]))
    step, inset = (float(rng.uniform(5.2, 7.0)), -1.1) if angle == 0.0 else (float(rng.uniform(2.5, 3.2)), 2.3)
    first, last = np.sort(rng.uniform(-60, 60, 2))
    for x in np.arange(first, last, step):
        if rng.random() < 0.8:
            class_id = C(rng.choice([C.CAR, C.TRUCK, C.MOTORCYCLE, C.BICYCLE], p=[0.92, 0.03, 0.03, 0.02]))
            yaw = out * angle + (np.pi if rng.random() < 0.35 else 0.0) + rng.normal(0, 0.04)
            layout.actor(class_id, (x + rng.normal(0, 0.3), edge + out * (inset + rng.normal(0, 0.12)), yaw), 0.0)


def _pavement(layout: Layout, rng: np.random.Generator, edge: float, out: float, busy: float) -> None:
    for _ in range(int(rng.poisson(9 * busy))):
        x, y = rng.uniform(-45, 45), edge + out * rng.uniform(0.4, 5.0)
        if rng.random() < 0.1:
            y = rng.uniform(-8, 8)
        yaw = rng.choice([0.0, np.pi]) + rng.normal(0, 0.3) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
        for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3, 5]))):
            near = (x + rng.normal(0, 0.6), y + rng.normal(0, 0.6), yaw + rng.normal(0, 0.2))
            _person(layout, rng, near)
    for _ in range(int(rng.poisson(1.5 * busy))):
        yaw = rng.choice([0.0, np.pi]) + rng.normal(0, 0.1)
        layout.actor(
            C.BICYCLE, (rng.uniform(-40, 40), edge + out * rng.uniform(-1.0, 3.0), yaw), float(rng.uniform(0, 7))
        )


def _person(layout: Layout, rng: np.random.Generator, pose: tuple[float, float, float]) -> None:
    """Half of them walk; the faster, the longer the stride."""
    speed = float(rng.choice([0.0, rng.uniform(0.4, 2.0)]))
    stride = float(rng.uniform(0.0, 0.13 + 0.06 * speed)) if speed else None
    layout.put(boxed(people.pedestrian(rng, stride), C.PEDESTRIAN), pose, speed)


def _roadside(layout: Layout, rng: np.random.Generator, edges: tuple[float, float], density: float) -> None:
    for edge, out in ((edges[0], -1.0), (edges[1], 1.0)):
        back = edge + out * float(rng.uniform(2.5, 9.0))
        facing = -out * np.pi / 2
        if rng.random() < 0.7:
            for x in np.arange(-80.0, 80.0, 10.0):
                layout.thing(scenery.kerb(rng, 5.0), (x, edge, 0.0 if out > 0 else np.pi), solid=False)
        urban = rng.random()
        for x in np.arange(-80.0, 80.0, float(rng.uniform(12, 30))):
            if rng.random() < urban:
                layout.thing(scenery.building(rng), (x, back + out * rng.uniform(4, 14), facing + rng.normal(0, 0.03)))
        for maker, count in _ROADSIDE:
            for _ in range(int(rng.poisson(count * density))):
                deep = float(rng.exponential(8.0)) if maker in _FREE else abs(rng.normal(0, 1.5))
                at = (rng.uniform(-70, 70), (back if maker not in _FREE else edge + out * 0.6) + out * deep)
                yaw = rng.normal(0, 0.05) if maker in _ALONG else rng.uniform(-np.pi, np.pi)
                layout.thing(maker(rng), (*at, yaw))


_ROADSIDE = (
    (scenery.tree, 9.0),
    (scenery.bush, 8.0),
    (scenery.pole, 6.0),
    (scenery.sign, 4.0),
    (scenery.clutter, 9.0),
    (scenery.wall, 1.2),
    (scenery.hedge, 1.5),
    (scenery.fence, 1.2),
    (scenery.guard_rail, 0.4),
    (scenery.thicket, 3.0),
)
_FREE = (scenery.thicket, scenery.tree, scenery.bush, scenery.pole, scenery.sign, scenery.clutter)
_ALONG = (scenery.wall, scenery.hedge, scenery.fence, scenery.guard_rail)


def _freeze(layout: Layout, ground: Ground, street: Street) -> Scene:
    models, poses, speeds = layout.models, np.array(layout.actor_poses).reshape(-1, 3), np.array(layout.speeds)
    scenery_poses = np.array(layout.thing_poses).reshape(-1, 3)
    every = np.concatenate([poses, scenery_poses])
    height = ground.height_at(every[:, :2]) if len(every) else np.zeros(0)
    full = np.column_stack([every[:, :2], height, every[:, 2]])
    count = len(models)
    velocity = np.zeros((len(every), 2))
    velocity[:count] = np.column_stack([speeds * np.cos(poses[:, 2]), speeds * np.sin(poses[:, 2])])
    objects = [*range(count), *[SCENERY] * len(scenery_poses)]
    solids = place([m.shape for m in models] + layout.things, full, objects, velocity)
    offset, size = (
        np.array([m.centre for m in models]).reshape(-1, 3),
        np.array([m.size for m in models]).reshape(-1, 3),
    )
    cos, sin = np.cos(full[:count, 3]), np.sin(full[:count, 3])
    boxes = np.empty((count, 7))
    boxes[:, 0] = full[:count, 0] + cos * offset[:, 0] - sin * offset[:, 1]
    boxes[:, 1] = full[:count, 1] + sin * offset[:, 0] + cos * offset[:, 1]
    boxes[:, 2] = full[:count, 2] + offset[:, 2]
    boxes[:, 3:6], boxes[:, 6] = size, np.mod(full[:count, 3] + np.pi, 2 * np.pi) - np.pi
    ids = np.array([int(m.class_id) for m in models], np.int64)
    return Scene(solids, ground, boxes, ids, velocity[:count], street)


def scan(scene: Scene, rng: np.random.Generator, model: LidarModel | None = None, threads: int = 1) -> Sample:
    """One full-circle sweep of a scene from a random mounting. Ego motion is taken as compensated."""
    twin = model is None and rng.random() < TWIN_SHARE
    model = random_lidar(rng, "vlp32" if twin else None) if model is None else model
    height, lever = float(rng.uniform(1.5, 2.2)), float(rng.uniform(-0.5, 1.0))
    tilt = np.radians(np.clip(rng.normal(0, 0.5, 2), -1.5, 1.5))
    wrong = float(np.clip(rng.normal(0, 0.05), -0.15, 0.15))
    actual = mounted(tilt, lever, height + wrong)
    nominal = np.eye(4)
    nominal[:3, 3] = lever, 0.0, height
    solids = Solids.join([scene.solids, ego_body(rng, lever, height)])
    result = sweep(solids, scene.ground, model, actual, int(rng.integers(2**31)), threads=threads)
    if twin:
        result = _with_second(result, solids, scene.ground, model, actual, rng, threads)
    shift = nominal @ np.linalg.inv(actual)
    boxes = scene.boxes.copy()
    boxes[:, :3] = boxes[:, :3] @ shift[:3, :3].T + shift[:3, 3]
    inside = np.bincount(result.object[result.object >= 0], minlength=len(boxes)).astype(np.int64)
    points = result.points + nominal[:3, 3].astype(np.float32)
    return Sample(
        points,
        result.intensity,
        result.ring,
        result.time_offset_s,
        result.object,
        boxes,
        scene.class_ids,
        scene.velocity_mps,
        inside,
        nominal[:3, 3].copy(),
        model.beams * (2 if twin else 1),
        shift,
    )


def _with_second(
    first: Scan,
    solids: Solids,
    ground: Ground,
    model: LidarModel,
    local_SE3_sensor: F64,
    rng: np.random.Generator,
    threads: int,
) -> Scan:
    """The returns of a sensor and of a like one just below it, turned half round, in the frame of the first."""
    own = mounted(np.radians(rng.normal(0, 0.3, 2)), 0.0, -float(rng.uniform(0.08, 0.35)))
    own[:3, :2] = -own[:3, :2]
    second = sweep(solids, ground, model, local_SE3_sensor @ own, int(rng.integers(2**31)), threads=threads)
    moved = (second.points @ own[:3, :3].T + own[:3, 3]).astype(np.float32)
    ring = (second.ring + model.beams).astype(np.uint16)
    return Scan(
        np.concatenate([first.points, moved]),
        np.concatenate([first.intensity, second.intensity]),
        np.concatenate([first.ring, ring]),
        np.concatenate([first.time_offset_s, second.time_offset_s]),
        np.concatenate([first.object, second.object]),
    )


def photograph(scene: Scene, sample: Sample, cameras: Sequence[Camera], look: Look, seed: int) -> list[U8]:
    """What each camera sees of a scene at the time of its sweep: (h, w, 3) uint8 BGR images."""
    patch = scene.street.patch(scene.ground)
    lean = np.linalg.inv(sample.base_SE3_scene)
    return [
        render(scene.solids, patch, camera, lean @ camera.base_SE3_optical, look, 0.0, seed + number)[0]
        for number, camera in enumerate(cameras)
    ]
