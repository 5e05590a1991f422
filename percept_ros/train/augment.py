"""Random changes to a scan that a real sensor or mounting could make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from percept_ros.core.bev import GroundPlane
from percept_ros.core.geometry import points_in_box
from percept_ros.train.scans import Scan
from percept_ros.types import F32, F64, I64, Bool


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much is changed. Probabilities in [0, 1]; the rest are ranges, one sigma where it says so."""

    scale: float = 0.05
    height_sigma_m: float = 0.06
    height_far_m: float = 0.3
    height_far_probability: float = 0.1
    tilt_sigma: float = 0.004
    drop_probability: float = 0.4
    keep_least: float = 0.25
    beams_probability: float = 0.25
    jitter_sigma_m: float = 0.02
    jitter_probability: float = 0.25
    sector_probability: float = 0.3
    view_probability: float = 0.15
    canopy_probability: float = 0.5
    canopies_most: int = 12


@dataclass(frozen=True, slots=True)
class Augmented:
    """A changed scan.

    points: (P, 3) thinned, still to be multiplied by ``matrix`` (3, 3), which turns, mirrors and scales; boxes are already.
    plane: a slightly wrong road plane. inside: (N,) about how many returns each object kept.
    """

    points: F32
    boxes: F64
    plane: GroundPlane
    matrix: F64
    inside: I64


def augment(scan: Scan, how: Augmentation, rng: np.random.Generator) -> Augmented:
    """Boxes turned, mirrored and scaled, points thinned and jittered."""
    points, inside = _thin(scan, how, rng)
    if rng.random() < how.canopy_probability:
        points = np.concatenate([points, *_canopies(scan.boxes, how, rng)])
    turn, scale = rng.uniform(-np.pi, np.pi), 1.0 + how.scale * rng.uniform(-1, 1)
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    c, s = np.cos(turn) * scale, np.sin(turn) * scale
    matrix = np.array([[c, -s * mirror, 0], [s, c * mirror, 0], [0, 0, scale]])
    boxes = scan.boxes.copy()
    boxes[:, :3] = scan.boxes[:, :3] @ matrix.T
    boxes[:, 3:6] *= scale
    boxes[:, 6] = mirror * boxes[:, 6] + turn
    if rng.random() < how.jitter_probability:
        points = points + rng.standard_normal(points.shape, np.float32) * np.float32(how.jitter_sigma_m * rng.random())
    return Augmented(points, boxes, _wrong_plane(how, rng), matrix, inside)


def _canopies(boxes: F64, how: Augmentation, rng: np.random.Generator) -> Iterator[F32]:
    """Crowns of trees and bushes, half of them over or beside objects, as along real streets."""
    for _ in range(int(rng.integers(1, how.canopies_most + 1))):
        at = rng.uniform(-45, 45, 2)
        if len(boxes) and rng.random() < 0.5:
            at = boxes[rng.integers(len(boxes)), :2] + rng.normal(0, 1.8, 2)
        radius, bottom, top = rng.uniform(0.5, 2.5), rng.uniform(0.6, 2.6), rng.uniform(2.8, 5.0)
        count = int(rng.uniform(15, 250))
        angle, far = rng.uniform(-np.pi, np.pi, count), radius * np.sqrt(rng.random(count))
        crown = np.column_stack(
            [at[0] + far * np.cos(angle), at[1] + far * np.sin(angle), rng.uniform(bottom, top, count)]
        )
        yield crown.astype(np.float32)


def _wrong_plane(how: Augmentation, rng: np.random.Generator) -> GroundPlane:
    slope_x, slope_y = rng.normal(0, how.tilt_sigma, 2)
    height_m = rng.normal(0, how.height_sigma_m)
    if rng.random() < how.height_far_probability:
        height_m += rng.uniform(-how.height_far_m, how.height_far_m)
    return GroundPlane(float(slope_x), float(slope_y), float(height_m))


def _thin(scan: Scan, how: Augmentation, rng: np.random.Generator) -> tuple[F32, I64]:
    """The points that are kept, and about how many of them each object returned (N,)."""
    points, share = scan.points, np.ones(len(scan.boxes))
    keep = np.ones(len(points), bool)
    if rng.random() < how.drop_probability:
        kept = rng.uniform(how.keep_least, 1.0)
        keep &= rng.random(len(points), np.float32) < kept
        share *= kept
    if rng.random() < how.beams_probability:
        keep &= _half_the_beams(points, rng)
        share *= 0.5
    whole = np.ones(len(scan.boxes))
    if rng.random() < how.sector_probability:
        middle, half = rng.uniform(-np.pi, np.pi), rng.uniform(0.6, 2.0)
        keep &= _within(points[:, 0], points[:, 1], middle, half)
        whole *= _within(*_footprints(scan.boxes), middle, half).mean(axis=0)
    elif rng.random() < how.view_probability:
        view = rng.uniform(-np.pi, np.pi), rng.uniform(0.5, 1.2), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.5)
        keep &= _in_view(points[:, 0], points[:, 1], points[:, 2], *view)
        levels = (scan.boxes[:, 2] + part * scan.boxes[:, 5] for part in (-0.4, 0.0, 0.4))
        whole *= np.mean([_in_view(*_footprints(scan.boxes), z, *view) for z in levels], axis=(0, 1))
    kept_points = points[keep]
    inside = scan.inside * share * (whole > 0)
    for i in np.flatnonzero((whole > 0) & (whole < 1) & (inside > 0)):
        inside[i] = points_in_box(kept_points, scan.boxes[i], 0.05).sum()
    return kept_points, inside.astype(np.int64)


def _in_view(
    x: F32 | F64, y: F32 | F64, z: F32 | F64, middle: float, across: float, below: float, above: float
) -> Bool:
    """Which places a camera 1.65 m above the origin sees that looks in direction ``middle``; the rest are tangents.

    Many recordings keep only what lies in a camera's image, so that what is near is cut on all sides.
    """
    forward, left, up = x * np.cos(middle) + y * np.sin(middle), y * np.cos(middle) - x * np.sin(middle), z - 1.65
    seen: Bool = (np.abs(left) < across * forward) & (up < above * forward) & (up > -below * forward)
    return seen


def _within(x: F32 | F64, y: F32 | F64, middle: float, half: float) -> Bool:
    """Which positions lie within ``half`` rad of direction ``middle``, seen from the origin."""
    inside: Bool = np.cos(np.arctan2(y, x) - middle) > np.cos(half)
    return inside


def _footprints(boxes: F64) -> tuple[F64, F64]:
    """x and y, (25, N), of places spread over each box."""
    u, v = (g.reshape(-1, 1) for g in np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.5, 0.5, 5)))
    along, across = u * boxes[:, 3], v * boxes[:, 4]
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    return boxes[:, 0] + c * along - s * across, boxes[:, 1] + s * along + c * across


def _half_the_beams(points: F32, rng: np.random.Generator) -> np.ndarray:
    """Every other elevation band of the usual 0.2 to 0.5 degree spacing, seen from about 1.7 m."""
    elevation = np.arctan2(points[:, 2] - 1.7, np.hypot(points[:, 0], points[:, 1]))
    band: np.ndarray = np.floor(elevation / np.radians(rng.uniform(0.2, 0.5))).astype(np.int64) % 2 == 0
    return band
