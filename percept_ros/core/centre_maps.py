"""Decoding of CenterPoint's maps as Autoware exports them: heat map, offset, height, size, heading, velocity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.decode import nms_circle, nms_rotated
from percept_ros.errors import InputError
from percept_ros.settings import setting
from percept_ros.types import F64

Raw = npt.NDArray[np.floating[Any]]

MAPS = {"heatmap": 0, "reg": 2, "height": 1, "dim": 3, "rot": 2}
"""Output -> its channels (0 = one a class); ``vel`` (2) may be there too."""


@dataclass(frozen=True, slots=True)
class CentreMaps:
    """How the maps become boxes.

    heading: ``mmdet`` has sin and cos of an angle that runs clockwise from the y axis's opposite, ``ros`` of the yaw itself.
    """

    score_threshold: float = setting(0.35, "weaker boxes are dropped", low=0.0, high=1.0)
    circle_nms_m: float = setting(0.5, "boxes with centres this close are one; 0 = none", low=0.0, high=100.0)
    nms_iou: float = setting(1.0, "boxes that overlap more are one; 1 = none", low=0.0, high=1.0)
    heading_thresholds: tuple[float, ...] = setting((), "least length of (sin, cos) a class; empty = none", low=0.0)
    downsample: int = setting(1, "grid cells a map cell spans along each axis", low=1, high=16)
    heading: str = setting("mmdet", "meaning of the heading map", choices=("mmdet", "ros"))
    max_boxes: int = setting(500, "boxes kept before suppression", low=1, high=100000)


def decode_maps(
    maps: Mapping[str, Raw], rules: CentreMaps, origin_m: tuple[float, float], cell_m: tuple[float, float]
) -> tuple[F64, F64, F64]:
    """(N, 7) boxes, (N, C) class scores, (N, 2) velocities (NaN without ``vel``), best first, model frame.

    maps: by MAPS, each (channels, rows, columns) of one sweep. origin_m: x and y of the grid's corner. cell_m: size of a
    grid cell. Raises InputError when maps are missing or do not fit each other. Source: Yin et al., "Center-based 3D
    Object Detection and Tracking", CVPR 2021.
    """
    heat = _checked(maps)
    classes, _, width = heat.shape
    flat = heat.reshape(classes, -1)
    own = flat.argmax(axis=0)
    best = flat.max(axis=0).astype(np.float64)
    rot = maps["rot"].reshape(2, -1)
    threshold = np.log(max(rules.score_threshold, 1e-6) / max(1.0 - rules.score_threshold, 1e-6))
    strong = best > threshold
    if rules.heading_thresholds:
        least = np.array([*rules.heading_thresholds, *[0.0] * classes])[:classes]
        strong &= np.hypot(rot[0], rot[1]) >= least[own]
    cells = np.flatnonzero(strong)
    cells = cells[np.argsort(-best[cells], kind="stable")][: rules.max_boxes]
    picked = {name: m.reshape(m.shape[0], -1)[:, cells].astype(np.float64) for name, m in maps.items()}
    boxes = _boxes(picked, cells, width, rules, origin_m, cell_m)
    scores = 1.0 / (1.0 + np.exp(-np.clip(picked["heatmap"].T, -60.0, 60.0)))
    velocity = picked["vel"].T if "vel" in picked else np.full((len(cells), 2), np.nan)
    kept = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if rules.circle_nms_m > 0.0:
        kept = kept[nms_circle(boxes[kept], scores[kept].max(axis=1, initial=0.0), rules.circle_nms_m)]
    if rules.nms_iou < 1.0:
        kept = kept[nms_rotated(boxes[kept], scores[kept].max(axis=1, initial=0.0), rules.nms_iou)]
    return boxes[kept], scores[kept], velocity[kept]


def _checked(maps: Mapping[str, Raw]) -> Raw:
    shapes = {name: list(m.shape) for name, m in maps.items()}
    heat = maps.get("heatmap")
    fits = heat is not None and all(
        name in maps
        and maps[name].ndim == 3
        and maps[name].shape[1:] == heat.shape[1:]
        and channels in (0, maps[name].shape[0])
        for name, channels in MAPS.items()
    )
    if heat is None or not fits:
        raise InputError(
            f"centre maps {shapes}: expected heatmap (classes), reg 2, height 1, dim 3, rot 2 of one size", "shape"
        )
    return heat


def _boxes(
    maps: Mapping[str, F64],
    cells: npt.NDArray[np.int64],
    width: int,
    rules: CentreMaps,
    origin_m: tuple[float, float],
    cell_m: tuple[float, float],
) -> F64:
    row, column = np.divmod(cells, width)
    x = cell_m[0] * rules.downsample * (column + maps["reg"][0]) + origin_m[0]
    y = cell_m[1] * rules.downsample * (row + maps["reg"][1]) + origin_m[1]
    width_m, length_m, height_m = np.exp(np.clip(maps["dim"], -10.0, 10.0))
    yaw = np.arctan2(maps["rot"][0], maps["rot"][1])
    if rules.heading == "mmdet":
        yaw = -yaw - np.pi / 2
    yaw = np.mod(yaw + np.pi, 2 * np.pi) - np.pi
    return np.column_stack([x, y, maps["height"][0], length_m, width_m, height_m, yaw])
