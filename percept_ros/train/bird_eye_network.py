"""The bird's-eye network: a small residual encoder to stride 16, a top-down path to stride 4, and centre heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

BOX_CHANNELS = 10
HEAT_PRIOR = 0.01


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """Channels of each stage (strides 2, 4, 8, 16), residual blocks of stages 4 to 16, and width of the head."""

    inputs: int = 13
    stem: int = 24
    stages: tuple[int, int, int] = (48, 96, 128)
    blocks: tuple[int, int, int] = (1, 2, 2)
    head: int = 64
    classes: int = 4


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)), inplace=True)


class BirdEyeNetwork(nn.Module):
    """(N, inputs, H, W) -> logits of heat (N, classes, H/4, W/4) and boxes (N, 10, H/4, W/4); H, W multiples of 16."""

    def __init__(self, size: NetworkSize | None = None) -> None:
        super().__init__()
        self.size = size = size or NetworkSize()
        a, b, c = size.stages
        self.stem = conv(size.inputs, size.stem, 2)
        self.stage4 = nn.Sequential(conv(size.stem, a, 2), *(Residual(a) for _ in range(size.blocks[0])))
        self.stage8 = nn.Sequential(conv(a, b, 2), *(Residual(b) for _ in range(size.blocks[1])))
        self.stage16 = nn.Sequential(conv(b, c, 2), *(Residual(c) for _ in range(size.blocks[2])))
        self.lateral8, self.lateral4 = conv(b, size.head, kernel=1), conv(a, size.head, kernel=1)
        self.top16 = conv(c, size.head, kernel=1)
        self.merge8, self.merge4 = conv(size.head, size.head), conv(size.head, size.head)
        self.heat = nn.Sequential(conv(size.head, size.head), nn.Conv2d(size.head, size.classes, 1))
        self.box = nn.Sequential(conv(size.head, size.head), nn.Conv2d(size.head, BOX_CHANNELS, 1))
        last = self.heat[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -torch.log(torch.tensor((1 - HEAT_PRIOR) / HEAT_PRIOR)).item())

    def features(self, bev: Tensor) -> Tensor:
        """(N, head, H/4, W/4) features before the heads."""
        return self.top_down(self.stage4(self.stem(bev)))

    def top_down(self, x4: Tensor) -> Tensor:
        """(N, head, H/4, W/4) features before the heads, from the features of stride 4."""
        x8 = self.stage8(x4)
        top = self.top16(self.stage16(x8))
        x8 = self.merge8(self.lateral8(x8) + functional.interpolate(top, scale_factor=2.0, mode="nearest"))
        features: Tensor = self.merge4(self.lateral4(x4) + functional.interpolate(x8, scale_factor=2.0, mode="nearest"))
        return features

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(bev)
        return self.heat(features), self.box(features)


class ExportedNetwork(nn.Module):
    """The same with the sigmoid inside: what the ONNX file holds."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        heat, box = self.network(bev)
        return torch.sigmoid(heat), box
