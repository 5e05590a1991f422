"""The rasteriser against a numpy reference, the ground plane against known roads."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core.bev import BevGrid, BevRasteriser, GroundPlane, fit_ground
from percept_ros.errors import CloudError
from percept_ros.types import F32

GRID = BevGrid(half_m=12.8, cell_m=0.4)


def reference_image(points: F32, grid: BevGrid, ground: GroundPlane) -> F32:
    """The same image, written plainly."""
    image = np.zeros((grid.channels, grid.size, grid.size), np.float32)
    height = points[:, 2] - ground.at(points[:, :2]).astype(np.float32)
    cell = np.floor((points[:, :2] + grid.half_m) / grid.cell_m)
    use = np.linalg.norm(points[:, :2], axis=1) < grid.half_m
    use &= (height >= grid.edges_m[0]) & (height < grid.edges_m[-1])
    slices = np.searchsorted(np.array(grid.edges_m, np.float32), height, side="right") - 1
    counts = np.zeros((grid.slices, grid.size, grid.size), int)
    for (ix, iy), k, h in zip(cell[use].astype(int), slices[use], height[use], strict=True):
        first = counts[:, iy, ix].sum() == 0
        counts[k, iy, ix] += 1
        scaled = np.clip(h / 4.0, -0.25, 1.0)
        image[-3, iy, ix] = scaled if first else max(image[-3, iy, ix], scaled)
        image[-2, iy, ix] = scaled if first else min(image[-2, iy, ix], scaled)
    image[: grid.slices] = 1.0 - 0.5**counts
    centre = -grid.half_m + (np.arange(grid.size) + 0.5) * grid.cell_m
    image[-1] = np.hypot(centre[None], centre[:, None]) / grid.half_m
    return image


def cloud(seed: int, count: int = 3000) -> F32:
    rng = np.random.default_rng(seed)
    return rng.uniform((-15, -15, -1.0, 0), (15, 15, 5.0, 1), (count, 4)).astype(np.float32)


def test_image_equals_the_plain_reference_and_is_reused() -> None:
    raster = BevRasteriser(GRID)
    for seed, plane in enumerate([GroundPlane(), GroundPlane(0.02, -0.01, 0.3), GroundPlane()]):
        points = cloud(seed)
        image = raster.rasterise(points[:, :3], None, plane)
        np.testing.assert_allclose(image[0], reference_image(points[:, :3], GRID, plane), atol=2e-6)


def test_strided_views_and_extrinsics_give_the_same_image() -> None:
    points = cloud(7)
    pose = np.eye(4)
    pose[:3, 3] = (1.0, -2.0, 0.5)
    packed = np.zeros(len(points), dtype=[("t", "u1"), ("xyz", "<f4", 3), ("i", "<f4")])
    packed["xyz"] = points[:, :3] - pose[:3, 3].astype(np.float32)
    one = BevRasteriser(GRID).rasterise(np.ascontiguousarray(packed["xyz"]) + pose[:3, 3].astype(np.float32))
    two = BevRasteriser(GRID).rasterise(packed["xyz"], pose)
    assert np.mean(np.abs(one - two) > 1e-4) < 1e-3


def test_points_that_are_not_numbers_and_empty_sweeps_are_harmless() -> None:
    raster = BevRasteriser(GRID)
    bad = np.full((10, 3), np.nan, np.float32)
    bad[5:] = np.inf
    assert not raster.rasterise(bad)[0, :-1].any()
    assert not raster.rasterise(np.zeros((0, 3), np.float32))[0, :-1].any()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(CloudError, match="expected"):
        BevRasteriser(GRID).rasterise(np.zeros((5, 2), np.float32))
    with pytest.raises(CloudError, match="not possible"):
        BevRasteriser(BevGrid(edges_m=(1.0, 0.0)))


def road(seed: int, slope: tuple[float, float], height_m: float, ghosts: int) -> F32:
    """Rings of road, a wall, a car-sized block and mirror ghosts far below."""
    rng = np.random.default_rng(seed)
    radius = np.repeat(np.geomspace(3.0, 45.0, 40), 200)
    angle = rng.uniform(-np.pi, np.pi, len(radius))
    xy = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    flat = np.column_stack([xy, xy @ slope + height_m + rng.normal(0, 0.02, len(xy))])
    wall = rng.uniform((8, -30, height_m), (8.4, 30, height_m + 4), (4000, 3))
    ghost = rng.uniform((-10, -10, height_m - 4), (10, 10, height_m - 0.6), (ghosts, 3))
    return np.concatenate([flat, wall, ghost]).astype(np.float32)


@pytest.mark.parametrize(("slope", "height_m"), [((0.0, 0.0), 0.0), ((0.04, -0.03), -1.7), ((-0.02, 0.05), 0.4)])
def test_ground_plane_is_found_in_spite_of_ghosts_and_walls(slope: tuple[float, float], height_m: float) -> None:
    plane = fit_ground(road(1, slope, height_m, 400))
    assert plane.height_m == pytest.approx(height_m, abs=0.04)
    assert (plane.slope_x, plane.slope_y) == pytest.approx(slope, abs=0.006)
    assert plane.support > 100


def test_no_ground_gives_the_level_plane_with_no_support() -> None:
    assert fit_ground(np.zeros((0, 3), np.float32)) == GroundPlane()
