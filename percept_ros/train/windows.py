"""Training windows: square pieces of a drawn scan with their targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from percept_ros.core.bev import BevGrid, BevRasteriser
from percept_ros.train.augment import Augmentation, Augmented, augment
from percept_ros.train.scans import CLASSES, Scan
from percept_ros.train.targets import OutputGrid, Targets, draw_targets
from percept_ros.types import F32, F64, I64

GRID = BevGrid()
OUTPUT_STRIDE = 4
LEAST_POINTS = (6, 10, 5, 5)
"""Fewest returns of an object that must be found, a class each; objects with fewer may be found."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One window: (13, W, W) float32 image, its targets, and where its output cells are."""

    image: F32
    targets: Targets
    grid: OutputGrid


class WindowMaker:
    """Cuts windows of ``window_cells`` input cells from scans, ``windows_per_scan`` from each.

    stride: input cells along an output cell. worth: how much an object of each class counts when a place is chosen.
    places: random places of which a window takes the fullest.
    """

    def __init__(
        self,
        window_cells: int,
        windows_per_scan: int,
        augmentation: Augmentation | None = None,
        stride: int = OUTPUT_STRIDE,
        worth: tuple[float, ...] = (1.0,) * len(CLASSES),
        places: int = 2,
    ) -> None:
        self._size, self._count, self._stride = window_cells, windows_per_scan, stride
        self._worth, self._places = np.array([*worth, 1.0]), places
        self.augmentation = augmentation or Augmentation()
        self.raster = BevRasteriser(GRID)

    def windows(self, scan: Scan, rng: np.random.Generator) -> Iterator[Sample]:
        """Windows of one augmentation of ``scan``."""
        changed = augment(scan, self.augmentation, rng)
        image = self.draw(changed.points, changed)
        yield from self.cut(image, changed, scan.classes, changed.inside, rng)

    def draw(self, points: F32, changed: Augmented) -> F32:
        """(13, size, size) image of points that ``changed.matrix`` still has to move; valid until the next."""
        pose = np.eye(4)
        pose[:3, :3] = changed.matrix
        image: F32 = self.raster.rasterise(points, pose, changed.plane)[0]
        return image

    def cut(
        self, image: F32, changed: Augmented, classes: I64, inside: I64, rng: np.random.Generator
    ) -> Iterator[Sample]:
        """Windows of a drawn image, each the fullest of some random places."""
        boxes = changed.boxes.copy()
        boxes[:, 2] -= changed.plane.at(boxes[:, :2])
        use = np.hypot(boxes[:, 0], boxes[:, 1]) < GRID.half_m
        for _ in range(self._count):
            column, row = self._place(boxes, self._worth[classes], rng)
            corner = (column * GRID.cell_m - GRID.half_m, row * GRID.cell_m - GRID.half_m)
            side = self._size // self._stride
            grid = OutputGrid(*corner, GRID.cell_m * self._stride, side, side)
            targets = draw_targets(boxes[use], classes[use], inside[use], grid, len(CLASSES), LEAST_POINTS)
            yield Sample(
                image[:, row : row + self._size, column : column + self._size].astype(np.float16), targets, grid
            )

    def _place(self, boxes: F64, worth: F64, rng: np.random.Generator) -> tuple[int, int]:
        most = (GRID.size - self._size) // 16
        corners = rng.integers(0, most + 1, (self._places, 2)) * 16
        cells = (boxes[:, :2] + GRID.half_m) / GRID.cell_m
        full = [float(worth[np.all((cells >= c) & (cells < c + self._size), axis=1)].sum()) for c in corners]
        column, row = corners[int(np.argmax(full))]
        return int(column), int(row)
