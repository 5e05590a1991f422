"""The ray caster against closed forms, and its promises: determinism, threads, labels, materials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from percept_ros.errors import ConfigError
from percept_ros.simulate.beams import BEAM_TABLES, BY_BEAMS
from percept_ros.simulate.lidar import EGO, GHOST, GROUND, Ground, LidarModel, cast, lidar_model, sweep, sweep_columns
from percept_ros.simulate.solids import SCENERY, Material, Shape, Solids, Surface, place

EXACT = LidarModel(
    np.radians(np.linspace(2.0, -25.0, 48)),
    columns=360,
    azimuth_jitter_rad=0.0,
    elevation_jitter_rad=0.0,
    range_sigma_m=0.0,
    min_range_m=0.1,
    reach_m=0.0,
    drop_probability=0.0,
    ghost_probability=0.0,
)
NOTHING_STANDS = place([], np.zeros((0, 4)), [])


def at(x: float, y: float, z: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def boxes(rng: np.random.Generator, count: int, look: Surface | None = None) -> tuple[Solids, np.ndarray, np.ndarray]:
    """Random boxes that stand clear of the sensor, their poses (n, 4) and sizes (n, 3)."""
    shapes, sizes = [], rng.uniform(0.4, 4.0, (count, 3))
    for size in sizes:
        shape = Shape()
        shape.box((-size[0] / 2, size[0] / 2), (-size[1] / 2, size[1] / 2), (0.0, size[2]), look or Surface())
        shapes.append(shape)
    angle, away = rng.uniform(-np.pi, np.pi, count), rng.uniform(5, 40, count)
    poses = np.column_stack([away * np.cos(angle), away * np.sin(angle), rng.uniform(-2, 1, count), angle * 3])
    return place(shapes, poses, list(range(count))), poses, sizes


def slab_ranges(directions: np.ndarray, origin: np.ndarray, poses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(..., n) distance at which rays enter each box (Kay and Kajiya's slabs), infinity where they miss."""
    out = []
    for (x, y, z, yaw), size in zip(poses, sizes, strict=True):
        turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        d, o = directions @ turn.T, turn @ (origin - [x, y, z + size[2] / 2])
        first, second = (-size / 2 - o) / d, (size / 2 - o) / d
        enter, leave = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
        out.append(np.where((enter < leave) & (enter > 0), enter, np.inf))
    return np.stack(out, -1)


def directions_of(model: LidarModel) -> tuple[np.ndarray, np.ndarray]:
    azimuth, _ = sweep_columns(model)
    a, e = np.meshgrid(azimuth.astype(float), model.elevation_rad, indexing="ij")
    return azimuth, np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1)


def test_flat_ground_is_where_geometry_says() -> None:
    azimuth, directions = directions_of(EXACT)
    _, distance, _, owner = cast(NOTHING_STANDS, Ground.flat(), EXACT, azimuth, azimuth * 0, at(0, 0, 1.8), 1)
    with np.errstate(divide="ignore"):
        expected = np.where(directions[..., 2] < 0, -1.8 / directions[..., 2], np.inf)
    seen = expected < 0.98 * EXACT.max_range_m
    np.testing.assert_allclose(distance[seen], expected[seen], rtol=5e-3)
    assert (owner[seen] == GROUND).all()
    assert (distance[expected > 1.02 * EXACT.max_range_m] == 0).all()


def test_sloping_ground_is_where_geometry_says() -> None:
    axis = np.arange(-120.0, 121.0, 2.0)
    height = np.broadcast_to(0.03 * axis[:, None], (121, 121)).astype(np.float32)
    azimuth, directions = directions_of(EXACT)
    ground = Ground(-120.0, -120.0, 2.0, np.ascontiguousarray(height))
    _, distance, _, _ = cast(NOTHING_STANDS, ground, EXACT, azimuth, azimuth * 0, at(0, 0, 1.8), 1)
    fall = directions[..., 2] - 0.03 * directions[..., 0]
    with np.errstate(divide="ignore"):
        expected = np.where(fall < 0, -1.8 / fall, np.inf)
    seen = expected < 80.0
    np.testing.assert_allclose(distance[seen], expected[seen], rtol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_where_the_slab_method_says(seed: int) -> None:
    solids, poses, sizes = boxes(np.random.default_rng(seed), 60)
    azimuth, directions = directions_of(EXACT)
    origin = np.array([0.3, -0.2, 1.5])
    _, distance, _, owner = cast(solids, None, EXACT, azimuth, azimuth * 0, at(*origin), 1)
    every = slab_ranges(directions, origin, poses, sizes)
    nearest, which = every.min(-1), every.argmin(-1)
    found = distance > 0
    assert np.mean(found != np.isfinite(nearest)) < 1e-3  # single precision at silhouettes
    both = found & np.isfinite(nearest)
    off = np.abs(distance[both] - nearest[both])
    assert np.mean(off > 1e-2) < 1e-3
    assert np.mean(owner[both] != which[both]) < 2e-3


def test_moving_solids_and_a_moving_sensor_are_met_where_they_are_then() -> None:
    shape = Shape()
    shape.box((0.0, 1.0), (-50.0, 50.0), (-5.0, 5.0), Surface())
    wall = place([shape], np.array([[10.0, 0.0, 0.0, 0.0]]), [0], np.array([[4.0, 0.0]]))
    times = np.linspace(-0.05, 0.05, 101).astype(np.float32)
    ahead = replace(EXACT, elevation_rad=np.zeros(1))
    poses = np.stack([at(2.0 * t, 0.0, 0.0) for t in times])
    _, distance, _, _ = cast(wall, None, ahead, times * 0, times, poses, 1)
    np.testing.assert_allclose(distance[:, 0], 10.0 + 4.0 * times - 2.0 * times, atol=1e-4)


def test_points_are_in_the_sensor_frame() -> None:
    solids, _, _ = boxes(np.random.default_rng(7), 40)
    azimuth, directions = directions_of(EXACT)
    pose = at(1.0, 2.0, 1.5)
    cos, sin = np.cos(0.7), np.sin(0.7)
    pose[:3, :3] = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]
    points, distance, _, _ = cast(solids, None, EXACT, azimuth, azimuth * 0, pose, 1)
    found = distance > 0
    np.testing.assert_allclose(points[found], (directions * distance[..., None])[found], atol=1e-4)


def test_threads_and_repetition_change_nothing_and_the_seed_does() -> None:
    solids, _, _ = boxes(np.random.default_rng(3), 80)
    model = lidar_model(64)
    runs = [sweep(solids, Ground.flat(), model, at(0, 0, 1.8), 5, threads=n) for n in (1, 1, 3)]
    for other in runs[1:]:
        for name in ("points", "intensity", "ring", "time_offset_s", "object"):
            np.testing.assert_array_equal(getattr(runs[0], name), getattr(other, name))
    other = sweep(solids, Ground.flat(), model, at(0, 0, 1.8), 6)
    assert len(other.points) != len(runs[0].points) or not np.array_equal(other.points, runs[0].points)


@pytest.mark.parametrize("beams", sorted(BY_BEAMS))
def test_beam_tables(beams: int) -> None:
    model = lidar_model(beams)
    assert model.beams == beams
    assert (np.diff(model.elevation_rad) < 0).all()
    scan = sweep(NOTHING_STANDS, Ground.flat(), replace(model, reach_m=0.0), at(0, 0, 1.8), 1)
    down = int((np.tan(model.elevation_rad) < -1.8 / 100).sum())
    assert set(range(beams - down, beams)) <= set(scan.ring.tolist())


def test_every_table_is_known_by_name() -> None:
    assert {len(table) for table in BEAM_TABLES.values()} == {16, 32, 40, 64, 128}


def test_unknown_beam_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="48 beams"):
        lidar_model(48)


def test_sweep_times_and_directions_agree() -> None:
    azimuth, time_s = sweep_columns(lidar_model(16))
    assert azimuth[np.argmin(np.abs(time_s))] == pytest.approx(0.0, abs=0.004)  # looks ahead at the reference time
    assert time_s.min() >= -0.05
    assert time_s.max() <= 0.05


@pytest.mark.parametrize(
    ("material", "parameter", "low", "high"),
    [(Material.SOLID, 0.0, 1.0, 1.0), (Material.GLASS, 0.3, 0.27, 0.33), (Material.FENCE, 0.6, 0.57, 0.63)],
)
def test_share_of_rays_that_a_material_returns(material: Material, parameter: float, low: float, high: float) -> None:
    shape = Shape()
    shape.box((10.0, 10.2), (-100.0, 100.0), (-100.0, 100.0), Surface(material, 0.5, parameter))
    azimuth = np.linspace(-1, 1, 300).astype(np.float32)
    _, distance, _, _ = cast(place([shape], np.zeros((1, 4)), [0]), None, EXACT, azimuth, azimuth * 0, np.eye(4), 2)
    assert low <= (distance > 0).mean() <= high


def test_foliage_lets_rays_go_their_free_path() -> None:
    shape = Shape()
    shape.box((10.0, 60.0), (-100.0, 100.0), (-100.0, 100.0), Surface(Material.FOLIAGE, 0.5, 1.5))
    azimuth = np.linspace(-0.1, 0.1, 400).astype(np.float32)
    flat = replace(EXACT, elevation_rad=np.radians(np.linspace(2, -2, 40)))
    points, _, _, _ = cast(place([shape], np.zeros((1, 4)), [0]), None, flat, azimuth, azimuth * 0, np.eye(4), 2)
    assert np.mean(points[..., 0] - 10.0) == pytest.approx(1.5, rel=0.05)


def test_ghosts_lie_behind_and_below_and_belong_to_no_object() -> None:
    model = replace(EXACT, ghost_probability=0.05, ghost_mean_m=4.0)
    scan = sweep(NOTHING_STANDS, Ground.flat(), model, at(0, 0, 1.8), 1)
    ghosts = scan.object == GHOST
    assert 0.03 < ghosts.mean() < 0.07
    assert (scan.points[ghosts, 2] < -1.8).all()


def test_the_own_vehicle_hides_and_is_not_seen() -> None:
    shape = Shape()
    shape.box((-2.0, 1.0), (-0.9, 0.9), (0.3, 1.5), Surface())
    own = place([shape], np.zeros((1, 4)), [EGO])
    scan = sweep(own, Ground.flat(), EXACT, at(0, 0, 1.9), 1)
    bare = sweep(NOTHING_STANDS, Ground.flat(), EXACT, at(0, 0, 1.9), 1)
    assert 0.2 < len(scan.points) / len(bare.points) < 0.95
    assert (scan.points[:, 2] < -1.88).all()


def test_dark_and_far_surfaces_fade() -> None:
    def share(reflectivity: float, away: float) -> float:
        shape = Shape()
        shape.box((away, away + 1), (-300.0, 300.0), (-300.0, 300.0), Surface(Material.SOLID, reflectivity))
        azimuth = np.linspace(-0.2, 0.2, 200).astype(np.float32)
        model = replace(EXACT, reach_m=150.0)
        solids = place([shape], np.zeros((1, 4)), [SCENERY])
        return float((cast(solids, None, model, azimuth, azimuth * 0, np.eye(4), 1)[1] > 0).mean())

    assert share(0.8, 30.0) == 1.0
    assert share(0.03, 60.0) < 0.05
    assert share(0.3, 60.0) > share(0.1, 60.0) > share(0.03, 60.0)


def test_bad_arguments_are_refused() -> None:
    solids, _, _ = boxes(np.random.default_rng(0), 2)
    broken = replace(solids, vertex_count=np.array([99, 8], np.uint8))
    azimuth = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="refused"):
        cast(broken, None, EXACT, azimuth, azimuth, np.eye(4), 1)
    with pytest.raises(ValueError, match="refused"):
        cast(solids, None, EXACT, azimuth[:0], azimuth[:0], np.eye(4), 1)
