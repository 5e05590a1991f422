"""Ground of the drive: gentle hidden slopes, and what is painted on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
import numpy.typing as npt

from percept_ros.simulate.lidar import Ground
from percept_ros.simulate.paths import Path, Road
from percept_ros.types import F32, F64, U8

LABEL_CELL_M = 0.125
LABEL_CELLS = 1024
HEIGHT_CELL_M = 2.0
HEIGHT_REACH_M = 110.0
_SHIFT = 4


class GroundLabel(IntEnum):
    """What the ground is made of."""

    VERGE = 0
    TAR = 1
    PAINT = 2
    PAVEMENT = 3


@dataclass(frozen=True, slots=True)
class Terrain:
    """Height as a sum of long waves. waves: (k, 4) wave numbers x and y (rad/m), phase, amplitude (m)."""

    waves: F64

    @staticmethod
    def random(rng: np.random.Generator, slope: float = 0.03) -> Terrain:
        """Waves of 90 to 400 m whose slopes add up to at most ``slope``."""
        count = 5
        length, turn = rng.uniform(90, 400, count), rng.uniform(0, 2 * np.pi, count)
        k = 2 * np.pi / length
        share = rng.dirichlet(np.ones(count)) * slope * rng.uniform(0.3, 1.0)
        return Terrain(
            np.column_stack([k * np.cos(turn), k * np.sin(turn), rng.uniform(0, 2 * np.pi, count), share / k])
        )

    def height(self, x: npt.ArrayLike, y: npt.ArrayLike) -> F64:
        """Height at positions (broadcast together), m."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
        for kx, ky, phase, amplitude in self.waves:
            total = total + amplitude * np.sin(kx * x + ky * y + phase)
        return total

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        """Slope along x and y."""
        lean = np.cos(self.waves[:, 0] * x + self.waves[:, 1] * y + self.waves[:, 2]) * self.waves[:, 3]
        return float(lean @ self.waves[:, 0]), float(lean @ self.waves[:, 1])


@dataclass(frozen=True, slots=True)
class Patch:
    """Ground about the ego vehicle, positions relative to ``origin`` (2,) in the fixed frame.

    ground: for the ray caster. labels: (n, n) ``GroundLabel``, first cell's corner at (label_x_m, label_y_m).
    """

    origin: F64
    ground: Ground
    labels: U8
    label_x_m: float
    label_y_m: float
    label_cell_m: float = LABEL_CELL_M


def ground_patch(terrain: Terrain, road: Road, origin: F64, reflectivity: F32) -> Patch:
    """Height field and labels about ``origin``, on lattices that stay put in the fixed frame."""
    corner = np.floor((origin - HEIGHT_REACH_M) / HEIGHT_CELL_M) * HEIGHT_CELL_M
    axis = np.arange(int(2 * HEIGHT_REACH_M / HEIGHT_CELL_M) + 1) * HEIGHT_CELL_M
    height = terrain.height(corner[0] + axis[:, None], corner[1] + axis[None, :]).astype(np.float32)
    first = np.floor(origin / LABEL_CELL_M) - LABEL_CELLS // 2
    labels = draw_labels(road, first * LABEL_CELL_M)
    at = first * LABEL_CELL_M - origin
    low = corner - origin
    paint = np.ascontiguousarray(reflectivity[labels[::2, ::2]])
    ground = Ground(
        float(low[0]), float(low[1]), HEIGHT_CELL_M, height, float(at[0]), float(at[1]), 2 * LABEL_CELL_M, paint
    )
    return Patch(origin, ground, labels, float(at[0]), float(at[1]))


def draw_labels(road: Road, corner: F64) -> U8:
    """(n, n) labels of the square whose first cell's corner is ``corner`` (x, y in the fixed frame)."""
    labels = np.zeros((LABEL_CELLS, LABEL_CELLS), np.uint8)
    middle = corner + LABEL_CELLS * LABEL_CELL_M / 2
    at = road.centre.nearest(middle)
    main = road.centre.part(at - 110.0, at + 110.0)
    sides = [(c, s) for c, s in zip(road.crossings_m, road.sides, strict=True) if abs(c - at) < 160.0]
    for wide, label in ((road.pavement_m, GroundLabel.PAVEMENT), (0.0, GroundLabel.TAR)):
        _band(labels, corner, main, road.edge_m + wide, label)
        for _, side in sides:
            _band(labels, corner, side, road.side_edge_m + wide, label)
    _markings(labels, corner, road, main)
    for crossing, side in sides:
        x, y, _ = road.centre.pose(crossing)
        near = side.nearest(np.array([x, y]))
        _band(
            labels, corner, side.part(near - road.edge_m, near + road.edge_m), road.side_edge_m + 1.0, GroundLabel.TAR
        )
        _zebra(labels, corner, road, crossing)
    return labels


def _pixels(xy: F64, corner: F64) -> npt.NDArray[np.int32]:
    cells = (xy - corner) / LABEL_CELL_M - 0.5
    return np.round(cells[:, ::-1] * (1 << _SHIFT)).astype(np.int32)


def _band(labels: U8, corner: F64, line: Path, half_m: float, label: int) -> None:
    normal = np.column_stack([-np.sin(line.yaw), np.cos(line.yaw)])
    left, right = line.xy + half_m * normal, line.xy - half_m * normal
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    inside = np.all(np.abs(line.xy[:-1] - corner - LABEL_CELLS * LABEL_CELL_M / 2) < 100.0, axis=1)
    for quad in quads[inside]:
        cv2.fillConvexPoly(labels, _pixels(quad, corner), int(label), cv2.LINE_8, _SHIFT)


def _stroke(labels: U8, corner: F64, xy: F64, width_m: float) -> None:
    thick = max(1, round(width_m / LABEL_CELL_M))
    cv2.polylines(labels, [_pixels(xy, corner)], False, int(GroundLabel.PAINT), thick, cv2.LINE_8, _SHIFT)


def _markings(labels: U8, corner: F64, road: Road, main: Path) -> None:
    normal = np.column_stack([-np.sin(main.yaw), np.cos(main.yaw)])
    start = road.centre.nearest(main.xy[0])
    for index in range(-road.lanes, road.lanes + 1):
        line = main.xy + index * road.lane_m * normal
        if index in (0, -road.lanes, road.lanes) and not (index == 0 and road.lanes == 1):
            _stroke(labels, corner, line, 0.15)
            continue
        phase = int(-start) % 9
        for first in range(phase, len(line) - 4, 9):
            _stroke(labels, corner, line[first : first + 4], 0.15)


def _zebra(labels: U8, corner: F64, road: Road, crossing_m: float) -> None:
    x, y, yaw = road.centre.pose(crossing_m + road.side_edge_m + 3.0)
    ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    for offset in np.arange(-road.edge_m + 0.4, road.edge_m - 0.4, 1.0):
        middle = np.array([x, y]) + offset * left
        bar = np.array(
            [
                middle - 1.6 * ahead,
                middle - 1.6 * ahead + 0.5 * left,
                middle + 1.6 * ahead + 0.5 * left,
                middle + 1.6 * ahead,
            ]
        )
        cv2.fillConvexPoly(labels, _pixels(bar, corner), int(GroundLabel.PAINT), cv2.LINE_8, _SHIFT)
