"""What the centre heads should answer for a set of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.types import F32, F64, I64

BOX_CHANNELS = 10
_LEAST_SIGMA_M = 0.27
_NEAR = 0.3
"""Cells whose heat is at least this learn the box, so that a peak one cell aside still gives the right box."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of one window on the output grid (H, W).

    heat: (C, H, W) in [0, 1], 1 at centres. mask: (C, H, W), 0 where an object with too few points makes any answer right.
    box: (10, H, W), channels as in core/decode.py. weight: (H, W), how much each cell learns its box (0 = not).
    """

    heat: F32
    mask: F32
    box: F32
    weight: F32


@dataclass(frozen=True, slots=True)
class OutputGrid:
    """Output cells: corner x, y in metres, side of a cell, cells along x and y."""

    x_m: float
    y_m: float
    cell_m: float
    columns: int
    rows: int


def _sigmas(length_m: float, width_m: float, cell_m: float) -> tuple[float, float]:
    least = max(0.55 * cell_m, _LEAST_SIGMA_M)
    return min(max(length_m / 7.0, least), 1.6), max(width_m / 7.0, least)


def draw_targets(
    boxes: F64, classes: I64, inside: I64, grid: OutputGrid, class_count: int, least_points: tuple[int, ...]
) -> Targets:
    """Gaussians along each box at its centre cell; objects with fewer than ``least_points[class]`` points only mask."""
    shape = (grid.rows, grid.columns)
    heat, mask = np.zeros((class_count, *shape), np.float32), np.ones((class_count, *shape), np.float32)
    box, weight = np.zeros((BOX_CHANNELS, *shape), np.float32), np.zeros(shape, np.float32)
    targets = Targets(heat, mask, box, weight)
    for row, class_id, points in zip(boxes, classes, inside, strict=True):
        window = _window(row, grid)
        if window is None:
            continue
        ys, xs, gauss = window
        if class_id < 0:
            mask[:, ys, xs][:, gauss > 0.1] = 0.0
        elif points < least_points[class_id]:
            mask[class_id, ys, xs][gauss > 0.1] = 0.0
        else:
            heat[class_id, ys, xs] = np.maximum(heat[class_id, ys, xs], gauss)
            _write_box(targets, row, grid, ys, xs, gauss)
    mask[heat > 0.99] = 1.0
    return targets


def _window(row: F64, grid: OutputGrid) -> tuple[slice, slice, F32] | None:
    """Rows, columns and Gaussian around the centre cell; None when the centre is outside."""
    column = int(np.floor((row[0] - grid.x_m) / grid.cell_m))
    line = int(np.floor((row[1] - grid.y_m) / grid.cell_m))
    if not (0 <= column < grid.columns and 0 <= line < grid.rows):
        return None
    along, across = _sigmas(row[3], row[4], grid.cell_m)
    reach = int(np.ceil(2.5 * along / grid.cell_m))
    ys = slice(max(0, line - reach), min(grid.rows, line + reach + 1))
    xs = slice(max(0, column - reach), min(grid.columns, column + reach + 1))
    dx = (np.arange(xs.start, xs.stop) - column)[None] * grid.cell_m
    dy = (np.arange(ys.start, ys.stop) - line)[:, None] * grid.cell_m
    c, s = np.cos(row[6]), np.sin(row[6])
    gauss = np.exp(-0.5 * (((dx * c + dy * s) / along) ** 2 + ((dy * c - dx * s) / across) ** 2))
    return ys, xs, gauss.astype(np.float32)


def _write_box(targets: Targets, row: F64, grid: OutputGrid, ys: slice, xs: slice, gauss: F32) -> None:
    better = (gauss >= _NEAR) & (gauss > targets.weight[ys, xs])
    y, x = np.nonzero(better)
    targets.weight[ys, xs][y, x] = gauss[y, x]
    values = np.empty((BOX_CHANNELS, len(y)), np.float32)
    values[0] = (row[0] - grid.x_m) / grid.cell_m - (xs.start + x + 0.5)
    values[1] = (row[1] - grid.y_m) / grid.cell_m - (ys.start + y + 0.5)
    angles = (np.cos(row[6]), np.sin(row[6]), np.cos(2 * row[6]), np.sin(2 * row[6]))
    values[2:] = np.array([row[2], *np.log(row[3:6]), *angles])[:, None]
    targets.box[:, ys.start + y, xs.start + x] = values
