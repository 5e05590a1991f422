"""A simulated drive, frame by frame: one LiDAR sweep, the cameras, the ego motion and the truth.

    for frame in simulate_drive(SimulateConfig(seconds=20.0, cameras=6), seed=1):
        detect(frame.sensors); compare(frame.truth)

The LiDAR turns clockwise from the rear, so its reference time is when it looks ahead; each camera is triggered as the
sweep passes it, at most 45 ms from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from percept_ros.settings import setting
from percept_ros.simulate.camera import Camera, Look, camera_ring, render
from percept_ros.simulate.lidar import Scan, lidar_model, sweep, sweep_columns
from percept_ros.simulate.world import STEP_S, EgoState, Moment, World
from percept_ros.types import (
    F32,
    F64,
    I64,
    LIDAR_BIT,
    NUM_CLASSES,
    U8,
    CameraFrame,
    PointCloud,
    SensorSet,
    Tracks,
    TrackState,
    camera_bit,
)

START_NS = 1_750_000_000_000_000_000
PERIOD_NS = 100_000_000
FIXED, LIDAR = "odom", "lidar"
SEEN_PX = 40
"""A camera has seen an object that covers at least this many of its pixels."""


@dataclass(frozen=True, slots=True)
class SimulateConfig:
    """What to simulate."""

    seconds: float = setting(20.0, "length of the drive", low=0.1, high=36000.0)
    cameras: int = setting(6, "number of cameras; 0 = LiDAR only", low=0, high=8)
    beams: int = setting(64, "LiDAR beams: 16, 32, 40, 64 or 128", low=16, high=128)
    width_px: int = setting(800, "image width", low=16, high=4096)
    height_px: int = setting(450, "image height", low=16, high=4096)
    density: float = setting(0.5, "how much traffic, 0 = little, 1 = dense", low=0.0, high=1.0)
    speed_mps: float = setting(10.0, "speed that the ego vehicle wants", low=0.0, high=20.0)
    threads: int = setting(2, "threads; the result does not depend on it", low=1, high=64)


@dataclass(frozen=True, slots=True)
class Motion:
    """Ego motion at a stamp: pose in the fixed frame, forward speed and turning speed."""

    stamp_ns: int
    fixed_SE3_base: F64
    speed_mps: float
    yaw_rate_radps: float


@dataclass(frozen=True, slots=True)
class PixelTruth:
    """What each pixel of an image shows.

    owner: (h, w) int32, row of the truth or below 0 (see lidar.py). depth_m: (h, w) float32 along the axis, 0 = sky.
    """

    owner: npt.NDArray[np.int32]
    depth_m: F32


@dataclass(frozen=True, slots=True)
class _Picture:
    """One image, and when it was taken after the sweep's reference time."""

    image: U8
    truth: PixelTruth
    offset_ns: int


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """One tenth of a second.

    sensors: complete set with calibration, extrinsics and ego pose. motion: ego motion at 20 Hz since the last frame.
    truth: every object within ``world.REACH_M`` in the fixed frame; ``truth.sensors`` tells which sensors saw it.
    points_inside: (N,) LiDAR returns of each object. visible_px: (N,) pixels it covers in all images together.
    pixel_truth: one of each camera, in their order.
    """

    sensors: SensorSet
    motion: tuple[Motion, ...]
    truth: Tracks
    points_inside: I64
    visible_px: I64
    pixel_truth: tuple[PixelTruth, ...] = ()


def simulate_drive(config: SimulateConfig, seed: int) -> Iterator[SimulatedFrame]:
    """Frames of a drive at 10 Hz. The same config and seed give the same bytes."""
    return _Drive(config, seed).frames()


class _Drive:
    def __init__(self, config: SimulateConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._world = World(config.seconds, seed, config.density, config.speed_mps)
        rng = np.random.default_rng([seed, 3])
        self._cameras = camera_ring(config.cameras, config.width_px, config.height_px, rng) if config.cameras else ()
        self._look = Look.random(rng)
        self._lidar = lidar_model(config.beams)
        self._base_SE3_lidar = np.eye(4)
        self._base_SE3_lidar[:3, 3] = 0.0, 0.0, 1.85
        self._born: dict[int, int] = {}

    def frames(self) -> Iterator[SimulatedFrame]:
        steps = round(PERIOD_NS / 1e9 / STEP_S)
        with ThreadPoolExecutor(self._config.threads) as pool:
            for index in range(max(1, round(self._config.seconds * 10))):
                stamp_ns = START_NS + index * PERIOD_NS
                motion = []
                for step in range(steps if index else 0):
                    self._world.step()
                    motion.append(_motion(stamp_ns - (steps - 1 - step) * round(STEP_S * 1e9), self._world.ego()))
                motion = motion or [_motion(stamp_ns, self._world.ego())]
                yield self._frame(index, stamp_ns, tuple(motion), pool)

    def _frame(self, index: int, stamp_ns: int, motion: tuple[Motion, ...], pool: ThreadPoolExecutor) -> SimulatedFrame:
        moment = self._world.look()
        scan_job = pool.submit(self._scan, moment, index)
        jobs = [
            pool.submit(self._picture, moment, camera, number, index) for number, camera in enumerate(self._cameras)
        ]
        pictures = [job.result() for job in jobs]
        scan = scan_job.result()
        count = len(moment.boxes)
        inside = np.bincount(scan.object[scan.object >= 0], minlength=count).astype(np.int64)
        pixels = np.zeros((len(pictures), count), np.int64)
        frames = {}
        for number, (camera, picture) in enumerate(zip(self._cameras, pictures, strict=True)):
            owner = picture.truth.owner
            pixels[number] = np.bincount(owner[owner >= 0], minlength=count)
            at = stamp_ns + picture.offset_ns
            frames[camera.name] = CameraFrame(camera.name, at, camera.frame_id, picture.image, camera.calibration)
        sensors = SensorSet(
            stamp_ns,
            PointCloud(LIDAR, stamp_ns, LIDAR, scan.points, scan.intensity, scan.ring, scan.time_offset_s),
            frames,
            {},
            tuple(camera.name for camera in self._cameras),
            {LIDAR: self._base_SE3_lidar, **{c.name: c.base_SE3_optical for c in self._cameras}},
            moment.ego.fixed_SE3_base,
        )
        truth = self._truth(moment, stamp_ns, inside, pixels)
        seen = tuple(picture.truth for picture in pictures)
        return SimulatedFrame(sensors, motion, truth, inside, pixels.sum(axis=0), seen)

    def _scan(self, moment: Moment, index: int) -> Scan:
        _, time_s = sweep_columns(self._lidar)
        poses = moment.ego.poses(time_s.astype(np.float64)) @ self._base_SE3_lidar
        poses[:, :3, 3] -= moment.origin
        return sweep(moment.solids, moment.patch.ground, self._lidar, poses, _salt(self._seed, index, 0))

    def _picture(self, moment: Moment, camera: Camera, number: int, index: int) -> _Picture:
        offset_ns = round(-camera.yaw_rad / (2 * np.pi) * 0.9 * PERIOD_NS)
        time_s = offset_ns / 1e9
        pose = moment.ego.poses(np.array([time_s]))[0] @ camera.base_SE3_optical
        pose[:3, 3] -= moment.origin
        wobble = 1.0 + 0.03 * np.sin(0.11 * index + number)
        look = replace(self._look, gain=self._look.gain * wobble)
        seed = _salt(self._seed, index, number + 1)
        image, owner, depth_m = render(moment.solids, moment.patch, camera, pose, look, time_s, seed)
        return _Picture(image, PixelTruth(owner, depth_m), offset_ns)

    def _truth(self, moment: Moment, stamp_ns: int, inside: I64, pixels: I64) -> Tracks:
        count = len(moment.boxes)
        for key in moment.keys:
            self._born.setdefault(key, stamp_ns)
        seen = np.where(inside > 0, LIDAR_BIT, 0).astype(np.uint32)
        for number, row in enumerate(pixels):
            seen |= np.where(row >= SEEN_PX, camera_bit(number), 0).astype(np.uint32)
        exact = np.tile(np.eye(6) * 1e-6, (count, 1, 1))
        return Tracks(
            stamp_ns=stamp_ns,
            frame_id=FIXED,
            id=np.array([object_id(self._seed, key) for key in moment.keys], np.uint8).reshape(-1, 16),
            state=np.full(count, TrackState.CONFIRMED, np.uint8),
            class_probabilities=np.eye(NUM_CLASSES)[moment.class_ids],
            existence=np.ones(count),
            boxes=moment.boxes,
            velocity_mps=moment.velocity_mps,
            acceleration_mps2=moment.acceleration_mps2,
            yaw_rate_radps=moment.yaw_rate_radps,
            pose_covariance=exact,
            twist_covariance=exact,
            age_ns=np.array([stamp_ns - self._born[key] for key in moment.keys], np.int64).reshape(-1),
            since_measurement_ns=np.zeros(count, np.int64),
            sensors=seen,
            stationary=np.hypot(*moment.velocity_mps.T) < 0.1,
        )


def _motion(stamp_ns: int, ego: EgoState) -> Motion:
    return Motion(stamp_ns, ego.fixed_SE3_base, ego.speed_mps, ego.yaw_rate_radps)


def _salt(seed: int, index: int, sensor: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{index}/{sensor}".encode(), digest_size=4).digest(), "little")


def object_id(seed: int, key: int) -> list[int]:
    """UUID bytes of an object of a drive."""
    return list(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=16).digest())
