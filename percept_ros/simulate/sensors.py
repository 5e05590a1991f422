"""Random LiDARs and their mounting, for domain randomisation."""

from __future__ import annotations

import numpy as np

from percept_ros.simulate.beams import BEAM_TABLES
from percept_ros.simulate.lidar import EGO, LidarModel
from percept_ros.simulate.solids import Shape, Solids, Surface, place
from percept_ros.types import F64


def random_lidar(rng: np.random.Generator, beams: str | None = None) -> LidarModel:
    """A sensor with random beam table, noise, drop-out and intensity law."""
    if beams is None:
        names = ("hdl64", "vls128", "uniform64", "pandar40", "hdl32", "vlp32", "vlp16")
        beams = str(rng.choice(names, p=[0.45, 0.08, 0.07, 0.1, 0.12, 0.12, 0.06]))
    table = BEAM_TABLES[beams]
    count = len(table)
    table = np.sort(table + np.radians(rng.normal(0, 0.25)) + np.radians(rng.normal(0, 0.03, count)))[::-1]
    return LidarModel(
        table,
        columns=int(rng.choice([2000, 2000, 2083, 1800, 1500, 1100])) if count < 100 else 1800,
        clockwise=bool(rng.random() < 0.7),
        azimuth_offset_rad=np.radians(rng.normal(0, 0.3, count)),
        range_bias_m=rng.normal(0, rng.uniform(0, 0.03), count),
        range_sigma_m=float(rng.uniform(0.005, 0.03)),
        reach_m=float(rng.uniform(120, 280)),
        drop_probability=float(rng.choice([0.0, rng.uniform(0.0, 0.15)])),
        ghost_probability=float(rng.choice([0.0, rng.uniform(0.0, 0.004), rng.exponential(0.002)])),
        ghost_mean_m=float(rng.uniform(1.5, 6.0)),
        intensity_gain=float(rng.uniform(0.5, 1.6)),
        intensity_gamma=float(rng.uniform(0.6, 1.5)),
        intensity_falloff=float(rng.choice([0.0, 0.0, rng.uniform(0, 1.0)])),
    )


def ego_body(rng: np.random.Generator, lever_m: float, height_m: float) -> Solids:
    """The roof under the LiDAR, which hides the lowest beams; its own returns are dropped."""
    shape = Shape()
    roof, half = height_m - float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.4, 0.75))
    shape.box(
        (lever_m - float(rng.uniform(0.3, 1.8)), lever_m + float(rng.uniform(0.1, 0.7))),
        (-half, half),
        (0.5, roof),
        Surface(),
    )
    return place([shape], np.zeros((1, 4)), [EGO])


def mounted(tilt: F64, lever: float, height: float) -> F64:
    """(4, 4) base_SE3_lidar. tilt: roll and pitch, rad."""
    (cr, cp), (sr, sp) = np.cos(tilt), np.sin(tilt)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[cp, sp * sr, sp * cr], [0.0, cr, -sr], [-sp, cp * sr, cp * cr]])
    pose[:3, 3] = lever, 0.0, height
    return pose
