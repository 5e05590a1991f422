"""bev_fusion: the bird's-eye network with image features lifted by projection and joined at stride 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from percept_ros.train.bird_eye_network import BirdEyeNetwork, NetworkSize, Residual, conv

if TYPE_CHECKING:
    from torch import Tensor

LEVELS_M = (0.3, 1.2)
"""Heights above the road at which every output cell looks into the cameras."""
_NEAREST_M = 0.5


@dataclass(frozen=True, slots=True)
class OutputCells:
    """Centres of output cells: x of the columns and y of the rows, metres, in the road frame."""

    x_m: Tensor
    y_m: Tensor


def regular_cells(corner_x_m: float, corner_y_m: float, cell_m: float, side: int) -> OutputCells:
    """A square of ``side`` cells with this corner."""
    steps = (torch.arange(side) + 0.5) * cell_m
    return OutputCells(corner_x_m + steps, corner_y_m + steps)


class ImageNetwork(nn.Module):
    """(N, 3, H, W) images in [0, 1] -> (N, 32, H/8, W/8) features that have seen H/16 context."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), conv(32, 48, 2), Residual(48))
        self.context = nn.Sequential(conv(48, 64, 2), Residual(64), Residual(64), conv(64, 48, kernel=1))
        self.out = conv(48, features)

    def forward(self, images: Tensor) -> Tensor:
        near = self.down(images)
        wide = functional.interpolate(self.context(near), scale_factor=2.0, mode="nearest")
        features: Tensor = self.out(near + wide)
        return features


def lift(features: Tensor, projections: Tensor, cells: OutputCells) -> Tensor:
    """(1, C * levels, rows, columns): image features under each cell and level, mean over the cameras that see it.

    features: (N, C, h, w). projections: (N, 3, 4) from the road frame to image coordinates in [-1, 1] times depth. Cells
    that no camera sees are 0.
    """
    rows, columns, levels = len(cells.y_m), len(cells.x_m), len(LEVELS_M)
    x = cells.x_m.view(1, 1, columns).expand(levels, rows, columns).reshape(-1)
    y = cells.y_m.view(1, rows, 1).expand(levels, rows, columns).reshape(-1)
    z = torch.tensor(LEVELS_M).view(levels, 1, 1).expand(levels, rows, columns).reshape(-1)
    places = torch.stack([x, y, z, torch.ones_like(x)])
    image = torch.matmul(projections, places)
    depth = image[:, 2:3]
    uv = image[:, :2] / depth.clamp(min=_NEAREST_M)
    seen = (depth > _NEAREST_M) & (uv.abs() < 1.0).all(dim=1, keepdim=True)
    uv = torch.where(seen, uv, torch.full_like(uv, -3.0))
    grid = uv.transpose(1, 2).reshape(-1, levels * rows, columns, 2)
    sampled = functional.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    visible = seen.to(features.dtype).reshape(-1, 1, levels * rows, columns)
    mean = (sampled * visible).sum(0) / visible.sum(0).clamp(min=1.0)
    return mean.reshape(1, -1, rows, columns)


class FusionNetwork(BirdEyeNetwork):
    """(1, 13, H, W) LiDAR image, (N, 3, h, w) camera images and their projections -> heat and box logits.

    Weights of the LiDAR part have the names of ``BirdEyeNetwork``'s, so that training may start from a LiDAR model.
    """

    def __init__(self, size: NetworkSize | None = None, image_features: int = 32) -> None:
        super().__init__(size)
        width = self.size.stages[0]
        self.image = ImageNetwork(image_features)
        self.lifted = conv(image_features * len(LEVELS_M), width, kernel=1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self._start_as_lidar_network(width)

    @torch.no_grad()
    def _start_as_lidar_network(self, width: int) -> None:
        nn.init.zeros_(self.join.weight)
        self.join.weight[:, :width, 0, 0] = torch.eye(width)
        nn.init.normal_(self.join.weight[:, width:], std=0.05)
        assert self.join.bias is not None
        nn.init.zeros_(self.join.bias)

    def fused(self, bev: Tensor, lifted: Tensor) -> tuple[Tensor, Tensor]:
        """Heads from the LiDAR image and the lifted image features (N, C * levels, H/4, W/4)."""
        x4 = self.stage4(self.stem(bev))
        x4 = functional.relu(self.join(torch.cat([x4, self.lifted(lifted)], dim=1)))
        features = self.top_down(x4)
        return self.heat(features), self.box(features)


class ExportedFusion(nn.Module):
    """Whole grid, sigmoid inside: inputs ``bev``, ``images``, ``projections``."""

    def __init__(self, network: FusionNetwork, cells: OutputCells) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("x_m", cells.x_m)
        self.register_buffer("y_m", cells.y_m)

    def forward(self, bev: Tensor, images: Tensor, projections: Tensor) -> tuple[Tensor, Tensor]:
        lifted = lift(self.network.image(images), projections, OutputCells(self.x_m, self.y_m))
        heat, box = self.network.fused(bev, lifted)
        return torch.sigmoid(heat), box
