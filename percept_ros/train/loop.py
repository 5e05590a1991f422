"""The training loop of all detectors: AdamW, a running average of the weights, checkpoints, resume, curves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from percept_ros.settings import setting

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, beside the scans."""

    seed: int = setting(0, "seed of weights, order and augmentation", low=0)
    steps: int = setting(20000, "optimiser steps", low=1, high=10_000_000)
    batch: int = setting(8, "windows a step", low=1, high=256)
    windows_per_scan: int = setting(2, "windows cut from one augmented scan", low=1, high=16)
    window_cells: int = setting(256, "side of a training window, input cells", low=64, high=512)
    learning_rate: float = setting(2e-3, "peak learning rate", low=1e-6, high=1.0)
    warm_up_steps: int = setting(300, "steps of rising learning rate", low=0)
    decay_share: float = setting(
        0.3, "last part of the steps over which the learning rate falls to zero", low=0.0, high=1.0
    )
    weight_decay: float = setting(0.01, "AdamW weight decay", low=0.0, high=1.0)
    average: float = setting(0.999, "decay of the running average of the weights", low=0.0, high=1.0)
    box_weight: float = setting(2.0, "weight of the box loss beside the heat loss", low=0.0, high=100.0)


Losses = Callable[[Any, Any], "tuple[Tensor, Tensor]"]
"""(network in training mode, batch) -> heat loss and box loss."""


def learning_rate(step: int, recipe: Recipe) -> float:
    """Rises, stays, falls linearly to zero over the last ``decay_share`` of the steps."""
    rise = min(1.0, (step + 1) / max(1, recipe.warm_up_steps))
    fall = min(1.0, (recipe.steps - step) / max(1.0, recipe.decay_share * recipe.steps))
    return recipe.learning_rate * rise * fall


class Trainer:
    """Network, running average and optimiser, with checkpoints."""

    def __init__(self, recipe: Recipe, make: Callable[[], nn.Module], losses: Losses) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step, self._losses = recipe, 0, losses
        self.network = make().to(memory_format=torch.channels_last)
        self.averaged = make().to(memory_format=torch.channels_last).eval()
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )

    def learn(self, batch: Any) -> tuple[float, float]:
        """One step; returns heat and box loss."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe)
        on_heat, on_box = self._losses(self.network, batch)
        self.optimiser.zero_grad(set_to_none=True)
        (on_heat + self.recipe.box_weight * on_box).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(on_heat.detach()), float(on_box.detach())

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        now = self.network.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.dtype.is_floating_point:
                kept.lerp_(now[name], 1 - decay)
            else:
                kept.copy_(now[name])

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another model where names and shapes agree; the rest stays new."""
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["averaged"]
        own = self.network.state_dict()
        fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        for network in (self.network, self.averaged):
            network.load_state_dict(fitting, strict=False)

    def save(self, file: Path) -> None:
        """Write a checkpoint that ``resume`` continues exactly."""
        unfinished = file.with_suffix(".part")
        state: dict[str, Any] = {"recipe": asdict(self.recipe), "step": self.step}
        state |= {k: getattr(self, k).state_dict() for k in ("network", "averaged", "optimiser")}
        torch.save(state, unfinished)
        unfinished.replace(file)

    def resume(self, file: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(file, map_location="cpu", weights_only=True)
        self.step = int(state["step"])
        for name in ("network", "averaged", "optimiser"):
            getattr(self, name).load_state_dict(state[name])


def seconds_per_step(trainer: Trainer, source: Iterator[Any], steps: int = 6) -> float:
    """Time of one step here and now, the first one not counted. The trainer is spent afterwards."""
    trainer.learn(next(source))
    started = time.monotonic()
    for _ in range(steps - 1):
        trainer.learn(next(source))
    return (time.monotonic() - started) / (steps - 1)


def run(trainer: Trainer, source: Iterator[Any], out: Path, report: Callable[[str], None]) -> dict[str, float]:
    """Train from where the trainer stands to ``out/checkpoint.pt``, curve in ``out/curve.jsonl``.

    Returns the last means of the losses.
    """
    (out / "recipe.json").write_text(json.dumps(asdict(trainer.recipe), indent=1))
    means, started = np.zeros(2), time.monotonic()
    metrics: dict[str, float] = {}
    with (out / "curve.jsonl").open("a") as curve:
        while trainer.step < trainer.recipe.steps:
            losses = np.array(trainer.learn(next(source)))
            means = losses if not means.any() else 0.98 * means + 0.02 * losses
            if trainer.step % 100 == 0 or trainer.step == trainer.recipe.steps:
                metrics = {"step": trainer.step, "heat_loss": float(means[0]), "box_loss": float(means[1])}
                curve.write(json.dumps(metrics) + "\n")
                curve.flush()
                of = f"{trainer.step}/{trainer.recipe.steps}"
                report(f"step {of} heat {means[0]:.3f} box {means[1]:.3f} {time.monotonic() - started:.0f} s")
            if trainer.step % 250 == 0:
                trainer.save(out / "checkpoint.pt")
    trainer.save(out / "checkpoint.pt")
    return metrics
