"""Losses of the centre heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

CHANNEL_WEIGHTS = (1.0, 1.0, 0.5, 0.6, 0.6, 0.4, 1.0, 1.0, 0.7, 0.7)
"""Offsets, height, sizes, heading, axis. The single-angle heading decides front from back, so it weighs as much as place."""


def heat_loss(logits: Tensor, heat: Tensor, mask: Tensor) -> Tensor:
    """Focal loss over centres (Law and Deng, "CornerNet", ECCV 2018, equation 1: alpha 2, beta 4), per object."""
    logits = logits.float()
    probability = torch.sigmoid(logits)
    centre = (heat > 0.999).float()
    found = -functional.logsigmoid(logits) * (1 - probability) ** 2 * centre
    empty = -functional.logsigmoid(-logits) * probability**2 * (1 - heat) ** 4 * (1 - centre)
    loss: Tensor = ((found + empty) * mask).sum() / centre.sum().clamp(min=1.0)
    return loss


def box_loss(box: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted absolute error over the cells near centres."""
    channels = torch.tensor(CHANNEL_WEIGHTS).view(1, -1, 1, 1)
    error = functional.smooth_l1_loss(box.float(), target, reduction="none", beta=0.1) * channels
    loss: Tensor = (error * weight[:, None]).sum() / weight.sum().clamp(min=1.0)
    return loss
