"""Noise in images and sweeps, sweeps that come again through motion compensation, and stamps far behind the clock."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.config import SemanticConfig
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.core.sync_types import SyncSettings
from percept_ros.errors import StampError
from percept_ros.health.screen import SensorScreen
from percept_ros.types import AbsenceReason, CameraFrame, PointCloud, SensorSet

RNG = np.random.default_rng(11)
ANGLE = np.linspace(0, 2 * np.pi, 4096, endpoint=False)


def sweep(index: int, noise_m: float = 0.0, moved_m: float = 0.0, intensity: np.ndarray | None = None) -> PointCloud:
    """A wall all around, a little rough; points lie side by side as the sensor turns."""
    range_m = 20.0 + 3.0 * np.sin(3 * ANGLE) + RNG.normal(0, 0.02, len(ANGLE))
    points = np.stack([range_m * np.cos(ANGLE) + moved_m, range_m * np.sin(ANGLE), np.zeros(len(ANGLE))], 1)
    points = (points + RNG.normal(0, noise_m, points.shape) if noise_m else points).astype(np.float32)
    shine = RNG.uniform(0, 1, len(ANGLE)).astype(np.float32) if intensity is None else intensity
    return PointCloud("lidar", index * 10**8, "lidar", points, shine)


def picture(index: int, noise: bool = False) -> CameraFrame:
    rows = np.linspace(40, 200, 240)[:, None] + RNG.normal(0, 4, (240, 320))
    image = RNG.integers(0, 256, (240, 320, 3)) if noise else np.repeat(rows[:, :, None], 3, 2)
    return CameraFrame("front", index * 10**8, "optical", image.clip(0, 255).astype(np.uint8), None)


def screened(screen: SensorScreen, index: int, cloud: PointCloud, frame: CameraFrame) -> dict[str, AbsenceReason]:
    sensors = SensorSet(index * 10**8, cloud, {"front": frame}, {}, ("front",), {})
    return dict(screen.screen(sensors).absent)


def test_noise_is_taken_out_and_good_data_comes_back_at_once() -> None:
    screen = SensorScreen(SemanticConfig())
    for index in range(1, 31):
        assert screened(screen, index, sweep(index), picture(index)) == {}
    for index in range(31, 51):
        found = screened(screen, index, sweep(index, noise_m=3.0), picture(index, noise=True))
        assert found == {"lidar": AbsenceReason.NOISY, "front": AbsenceReason.NOISY}
    assert screened(screen, 51, sweep(51), picture(51)) == {}


def test_a_frozen_sweep_is_known_by_its_intensities_although_compensation_moves_its_points() -> None:
    screen = SensorScreen(SemanticConfig(frozen_frames=3))
    same = RNG.uniform(0, 1, len(ANGLE)).astype(np.float32)
    reasons = [screened(screen, i, sweep(i, moved_m=0.1 * i, intensity=same), picture(i)) for i in range(1, 8)]
    assert reasons[:3] == [{}, {}, {}]
    assert reasons[3:] == [{"lidar": AbsenceReason.FROZEN}] * 4


def test_a_stamp_far_behind_the_clock_is_refused_before_it_looks_like_a_time_jump() -> None:
    settings = SyncSettings({"front": CameraTiming()}, max_past_ns=2 * 10**9)
    sync: Synchroniser[PointCloud, CameraFrame] = Synchroniser(settings)
    sync.add_cloud(sweep(1000), 1000 * 10**8)
    with pytest.raises(StampError, match=r"3\.100 s behind the clock"):
        sync.add_cloud(sweep(970), 1001 * 10**8)
    assert sync.resets == 0
    assert sync.drops_by_sensor == {("lidar", "past_stamp"): 1}
    anything: Synchroniser[PointCloud, CameraFrame] = Synchroniser(SyncSettings({}))
    anything.add_cloud(sweep(1), 10**15)
    assert anything.drops == {}
