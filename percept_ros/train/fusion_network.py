"""bev_fusion: the bird's-eye network with image features lifted by projection, joined at stride 4, answers at stride 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from percept_ros.train.bird_eye_network import BOX_CHANNELS, HEAT_PRIOR, BirdEyeNetwork, NetworkSize, Residual, conv

if TYPE_CHECKING:
    from torch import Tensor

LEVELS_M = (0.3, 1.2)
"""Heights above the road at which every lifted cell looks into the cameras."""
LIFT_STRIDE, FUSION_STRIDE = 4, 2
"""Input cells along a lifted cell, and along an output cell."""
IMAGE_FEATURES, FINE_WIDTH = 32, 32
DEPTH_UNIT_M = 10.0
_NEAREST_M, _FARTHEST_LOG = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class OutputCells:
    """Centres of cells: x of the columns and y of the rows, metres, in the road frame."""

    x_m: Tensor
    y_m: Tensor


def regular_cells(corner_x_m: float, corner_y_m: float, cell_m: float, side: int) -> OutputCells:
    """A square of ``side`` cells with this corner."""
    steps = (torch.arange(side) + 0.5) * cell_m
    return OutputCells(corner_x_m + steps, corner_y_m + steps)


class ImageNetwork(nn.Module):
    """(N, 3, H, W) images in [0, 1] -> (N, 33, H/4, W/4): 32 features, and the logarithm of depth / 10 m."""

    def __init__(self, features: int = IMAGE_FEATURES, classes: int = 4) -> None:
        super().__init__()
        self.down4 = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2))
        self.down8 = nn.Sequential(conv(32, 64, 2), Residual(64))
        self.down16 = nn.Sequential(conv(64, 96, 2), Residual(96), Residual(96))
        self.top16, self.lateral8, self.merge8 = nn.Conv2d(96, 48, 1), nn.Conv2d(64, 48, 1), conv(48, 48)
        self.top8, self.lateral4, self.merge4 = nn.Conv2d(48, 32, 1), nn.Conv2d(32, 32, 1), conv(32, features)
        self.depth = nn.Conv2d(features, 1, 1)
        self.segment = nn.Conv2d(features, 1 + classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x4 = self.down4(images)
        x8 = self.down8(x4)
        up = functional.interpolate(self.top16(self.down16(x8)), scale_factor=2.0, mode="nearest")
        x8 = self.top8(self.merge8(self.lateral8(x8) + up))
        up = functional.interpolate(x8, scale_factor=2.0, mode="nearest")
        features = self.merge4(self.lateral4(x4) + up)
        return torch.cat([features, self.depth(features)], dim=1)

    def classes(self, features: Tensor) -> Tensor:
        """(N, 5, H/4, W/4) logits of what each place shows; training only."""
        logits: Tensor = self.segment(features[:, :-1])
        return logits


def lift(features: Tensor, projections: Tensor, cells: OutputCells) -> Tensor:
    """(1, C * levels, rows, columns): image features under each cell and level, mean over the cameras that see it.

    features: (N, C, h, w), the last one log depth, of which the cell's own log depth is taken off (kept in [-1, 1]).
    projections: (N, 3, 4) from the road frame to image coordinates in [-1, 1] times depth. Cells that no camera sees are
    0, for they are looked up outside the image.
    """
    rows, columns, levels = len(cells.y_m), len(cells.x_m), len(LEVELS_M)
    x = cells.x_m.view(1, 1, columns).expand(levels, rows, columns).reshape(-1)
    y = cells.y_m.view(1, rows, 1).expand(levels, rows, columns).reshape(-1)
    z = torch.tensor(LEVELS_M).view(levels, 1, 1).expand(levels, rows, columns).reshape(-1)
    # no MatMul: TensorRT-RTX has none in fp32 for older GPUs
    image = projections[..., :1] * x + projections[..., 1:2] * y + projections[..., 2:3] * z + projections[..., 3:]
    depth = image[:, 2:3].clamp(min=_NEAREST_M)
    uv = image[:, :2] / depth
    seen = (image[:, 2:3] > _NEAREST_M) & (uv.abs() < 1.0).all(dim=1, keepdim=True)
    uv = torch.where(seen, uv, torch.full_like(uv, -3.0))
    grid = uv.transpose(1, 2).reshape(-1, levels * rows, columns, 2)
    sampled = functional.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    visible = seen.to(features.dtype)
    cameras = visible.sum(0).clamp(min=1.0).reshape(1, levels * rows, columns)
    own = (torch.log(depth / DEPTH_UNIT_M) * visible).sum(0).reshape(1, levels * rows, columns)
    total = sampled.sum(0)
    nearer = ((total[-1:] - own) / cameras).clamp(-_FARTHEST_LOG, _FARTHEST_LOG)
    return torch.cat([total[:-1] / cameras, nearer]).reshape(1, -1, rows, columns)


class FusionNetwork(BirdEyeNetwork):
    """(1, 13, H, W) LiDAR image, (N, 3, h, w) camera images and their projections -> heat and box logits at H/2, W/2.

    Weights of the LiDAR part have the names of ``BirdEyeNetwork``'s, so that training may start from a LiDAR model.
    """

    def __init__(self, size: NetworkSize | None = None) -> None:
        super().__init__(size)
        width, fine = self.size.stages[0], FINE_WIDTH
        self.image = ImageNetwork(classes=self.size.classes)
        self.lifted = nn.Sequential(conv((IMAGE_FEATURES + 1) * len(LEVELS_M), width, kernel=1), conv(width, width))
        self.join = nn.Conv2d(2 * width, width, 1)
        self.lateral2, self.top4 = nn.Conv2d(self.size.stem, fine, 1), nn.Conv2d(self.size.head, fine, 1)
        self.merge2 = nn.Sequential(conv(fine, fine), conv(fine, fine))
        self.heat, self.box = nn.Conv2d(fine, self.size.classes, 1), nn.Conv2d(fine, BOX_CHANNELS, 1)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -torch.log(torch.tensor((1 - HEAT_PRIOR) / HEAT_PRIOR)).item())
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
        x2 = self.stem(bev)
        x4 = functional.relu(self.join(torch.cat([self.stage4(x2), self.lifted(lifted)], dim=1)))
        up = functional.interpolate(self.top4(self.top_down(x4)), scale_factor=2.0, mode="nearest")
        features = self.merge2(self.lateral2(x2) + up)
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
