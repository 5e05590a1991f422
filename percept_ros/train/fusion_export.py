"""How bev_fusion is written to a model folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from percept_ros.core.bev import BevRasteriser
from percept_ros.core.decode import CentreHeads
from percept_ros.detectors.learned import WITH_CAMERAS, FusionInput
from percept_ros.inference.manifest import Step
from percept_ros.settings import to_dict
from percept_ros.train.export import Feed, Order, load_averaged
from percept_ros.train.fusion_network import (
    FUSION_STRIDE,
    LIFT_STRIDE,
    ExportedFusion,
    FusionNetwork,
    regular_cells,
)
from percept_ros.train.fusion_scans import IMAGES, load_moment
from percept_ros.train.windows import GRID

USUAL_CAMERAS = 6
DEPTHS = ("/image/depth/Conv", "/image/Concat", "/Concat")
"""Where logarithms of depth lie beside features: one scale for both would leave too few steps for the depth."""
GEOMETRY = (
    "MatMul",
    "Div",
    "Clip",
    "Log",
    "Abs",
    "Less",
    "Greater",
    "And",
    "Where",
    "Mul",
    "Sub",
    "ReduceSum",
    "GridSample",
)
"""Operators between projections and sampled features: places and depths need more digits than fp16 has."""


def fusion_order(checkpoint: Path, moments: Sequence[Path]) -> Order:
    """The even ``moments`` calibrate INT8, the odd ones judge it; every third has no camera, every third no sweep."""
    network = load_averaged(FusionNetwork(), checkpoint)
    assert isinstance(network, FusionNetwork)
    cell_m = GRID.cell_m * LIFT_STRIDE
    cells = regular_cells(-GRID.half_m, -GRID.half_m, cell_m, GRID.size // LIFT_STRIDE)
    example = {
        "bev": torch.zeros(1, GRID.channels, GRID.size, GRID.size),
        "images": torch.rand(USUAL_CAMERAS, 3, IMAGES.height_px, IMAGES.width_px),
        "projections": torch.randn(USUAL_CAMERAS, 3, 4),
    }
    return Order(
        "bev_fusion",
        ExportedFusion(network, cells),
        example,
        Step(WITH_CAMERAS, to_dict(FusionInput(GRID, IMAGES))),
        _drawn(moments[::2]),
        _drawn(moments[1::2]),
        dynamic={"images": "cameras", "projections": "cameras"},
        heads=CentreHeads(cell_m=GRID.cell_m * FUSION_STRIDE),
        half=GEOMETRY,
        exclude=DEPTHS,
    )


def _drawn(moments: Sequence[Path]) -> Iterator[Feed]:
    raster = BevRasteriser(GRID)
    for index, file in enumerate(moments):
        moment = load_moment(file)
        points = moment.scan.points[:0] if index % 3 == 2 else moment.scan.points
        images = moment.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255.0)
        projections = moment.projections
        if index % 3 == 1:
            images, projections = np.zeros_like(images[:1]), np.zeros_like(projections[:1])
        yield {"bev": raster.rasterise(points).copy(), "images": images, "projections": projections}
