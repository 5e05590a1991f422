"""Noise in images and sweeps, sweeps that come again through motion compensation, and stamps far behind the clock."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.config import SemanticConfig
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.core.sync_types import SyncSettings
from percept_ros.errors import StampError
from percept_ros.health.baseline import Window
from percept_ros.health.look import look_at_image, look_at_sweep
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
    for index in range(1, 13):
        shine = RNG.uniform(0, 1, len(ANGLE)).astype(np.float32)
        screened(screen, index, sweep(index, moved_m=0.1 * index, intensity=shine), picture(index))
    same = RNG.uniform(0, 1, len(ANGLE)).astype(np.float32)
    reasons = [screened(screen, i, sweep(i, moved_m=0.1 * i, intensity=same), picture(i)) for i in range(13, 20)]
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
    with pytest.raises(StampError, match=r"a recording, played without its clock; .*--clock.*use_sim_time.*max_past_s"):
        sync.add_cloud(sweep(10), 1001 * 10**8)
    assert sync.drops_by_sensor == {("lidar", "past_stamp"): 1, ("lidar", "recorded_stamp"): 1}
    anything: Synchroniser[PointCloud, CameraFrame] = Synchroniser(SyncSettings({}))
    anything.add_cloud(sweep(1), 10**15)
    assert anything.drops == {}


@pytest.mark.parametrize("shape", [(240, 320), (1, 1), (33, 65), (32, 96)])
def test_look_at_an_image_samples_and_measures_as_numpy_does(shape: tuple[int, int]) -> None:
    whole = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for image in (whole, whole[::-1], np.asfortranarray(whole)):
        sample, same, alike, roughness, level, spread = look_at_image(image)
        assert (same, alike) == (False, 0.0)
        expected = image[::32, ::32]
        left, right = image[::32, :-1:32].astype(np.int16), image[::32, 1::32]
        width = min(left.shape[1], right.shape[1])
        assert np.array_equal(sample, expected)
        assert np.allclose([level, spread], [expected.mean(), expected.std()])
        assert np.isclose(roughness, np.abs(left[:, :width] - right[:, :width]).mean() if width else 0.0)


def test_a_second_look_at_an_image_says_how_much_is_the_same_of_what_could_change() -> None:
    image = RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    first = look_at_image(image)
    again = look_at_image(image, first.sample)
    assert (again.same, again.alike) == (True, 1.0)
    image[::64, ::32] += 1
    changed = look_at_image(image, first.sample)
    able = (changed.sample > 8) & (changed.sample < 247)
    assert not changed.same
    assert changed.alike == pytest.approx((changed.sample == first.sample)[able].mean())
    assert not look_at_image(image[:100].copy(), first.sample).same


@pytest.mark.parametrize("count", [2, 64, 65, 4096])
def test_look_at_a_sweep_samples_and_measures_as_numpy_does(count: int) -> None:
    table = RNG.normal(size=(count, 5)).astype(np.float32)
    for cloud in (
        PointCloud("lidar", 1, "lidar", table[:, :3], table[:, 3]),
        PointCloud("lidar", 1, "lidar", np.asfortranarray(table[:, :3]), np.full(count, 0.5, np.float32)),
        PointCloud("lidar", 1, "lidar", table[:, :3].astype(np.float64), None),
    ):
        first = look_at_sweep(cloud)
        told = cloud.intensity is not None and count > 64 and np.ptp(cloud.intensity) > 0
        expected = cloud.intensity[::64] if told and cloud.intensity is not None else table[::64, :3].ravel()
        ranges = np.linalg.norm(table[:, :3].astype(np.float64), axis=1)
        rows = np.arange(0, count - 1, 64)
        assert np.array_equal(first.sample, expected)
        assert first.roughness == pytest.approx(np.median(np.abs(ranges[rows + 1] - ranges[rows])))
        assert look_at_sweep(cloud, first.sample).same
        moved = PointCloud(
            "lidar", 2, "lidar", cloud.points + np.float32(1.0), RNG.normal(size=count).astype(np.float32)
        )
        assert look_at_sweep(moved, first.sample).alike == 0.0


def test_frame_that_is_asked_about_again_keeps_its_verdict() -> None:
    screen = SensorScreen(SemanticConfig())
    frame, cloud = picture(1), sweep(1)
    for index in range(1, 30):
        frame, cloud = picture(index), sweep(index)
        assert screen.image(frame) is None
        assert screen.cloud(cloud) is None
    assert [screen.image(frame) for _ in range(5)] == [None] * 5
    assert [screen.cloud(cloud) for _ in range(5)] == [None] * 5
    assert screen.image(picture(31, noise=True)) is AbsenceReason.NOISY


@pytest.mark.parametrize("count", [1, 2, 9, 50, 300])
def test_median_of_a_window_is_that_of_numpy(count: int) -> None:
    window = Window(100)
    for value in RNG.normal(size=count):
        window.add(float(value))
    assert window.median() == pytest.approx(np.median(window.values))
    window.add(float("nan"))
    assert np.isnan(window.median())
