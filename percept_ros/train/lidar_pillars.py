"""Training recipe of lidar_pillars: random windows of augmented simulated scans, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from percept_ros.errors import ConfigError
from percept_ros.train import loop
from percept_ros.train.bird_eye_network import BirdEyeNetwork
from percept_ros.train.loop import Recipe, Trainer
from percept_ros.train.losses import box_loss, heat_loss
from percept_ros.train.scans import load_scan
from percept_ros.train.windows import Sample, WindowMaker

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("heat", "mask", "box", "weight")


_LIST_STEPS = 250
"""The folder is listed again after so many steps, for it may be filled meanwhile."""


def _listed(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ConfigError(f"no scans (*.npz) in '{folder}': simulate some first")
    return files


def batches(folder: Path, recipe: Recipe, start_step: int) -> Iterator[list[Sample]]:
    """Endless batches of the scans in ``folder``; step k is the same whenever the folder holds the same scans.

    Half of the windows lie anywhere, so that the network sees much that is no object.
    """
    makers = [WindowMaker(recipe.window_cells, recipe.windows_per_scan, places=places) for places in (2, 1)]
    scans_a_step = max(1, recipe.batch // recipe.windows_per_scan)
    files, step = _listed(folder), start_step
    while True:
        if step % _LIST_STEPS == 0:
            files = _listed(folder)
        rng = np.random.default_rng((recipe.seed, step))
        samples: list[Sample] = []
        for turn, index in enumerate(rng.integers(0, len(files), scans_a_step)):
            samples += makers[turn % 2].windows(load_scan(files[index]), rng)
        yield samples
        step += 1


def stack_images(samples: list[Sample]) -> Tensor:
    """(N, 13, W, W) bfloat16, channels last in memory."""
    shape = (len(samples), *samples[0].image.shape)
    stacked = torch.empty(shape, dtype=torch.bfloat16, memory_format=torch.channels_last)
    for place, sample in zip(stacked, samples, strict=True):
        place.copy_(torch.from_numpy(sample.image))
    return stacked


def stack_targets(samples: list[Sample]) -> tuple[Tensor, ...]:
    """Heat, mask, box and weight, each with a leading N."""
    return tuple(torch.from_numpy(np.stack([getattr(s.targets, name) for s in samples])) for name in TARGETS)


def losses(network: BirdEyeNetwork, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Heat and box loss of one batch."""
    heat, mask, box, weight = stack_targets(samples)
    with torch.autocast("cpu", torch.bfloat16):
        heat_logits, box_out = network(stack_images(samples))
    return heat_loss(heat_logits, heat, mask), box_loss(box_out, box, weight)


def make_trainer(recipe: Recipe) -> Trainer:
    """A new network in its trainer."""
    return Trainer(recipe, BirdEyeNetwork, losses)


def train(
    scans: Path, out: Path, recipe: Recipe, report: Callable[[str], None], resume: bool = False
) -> dict[str, float]:
    """Train to ``out/checkpoint.pt``; returns the last means of the losses."""
    out.mkdir(parents=True, exist_ok=True)
    trainer, checkpoint = make_trainer(recipe), out / "checkpoint.pt"
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
    return loop.run(trainer, batches(scans, recipe, trainer.step), out, report)
