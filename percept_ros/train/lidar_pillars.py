"""Training recipe of lidar_pillars: random windows of augmented simulated scans, nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from percept_ros.core.bev import BevGrid, BevRasteriser
from percept_ros.errors import ConfigError
from percept_ros.settings import setting
from percept_ros.train.augment import Augmentation, augment
from percept_ros.train.bird_eye_network import OUTPUT_STRIDE, BirdEyeNetwork
from percept_ros.train.losses import box_loss, heat_loss
from percept_ros.train.scans import CLASSES, Scan, load_scan
from percept_ros.train.targets import OutputGrid, Targets, draw_targets
from percept_ros.types import F32

if TYPE_CHECKING:
    from torch import Tensor

GRID = BevGrid()
LEAST_POINTS = (6, 10, 5, 5)


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


@dataclass(frozen=True, slots=True)
class Sample:
    """One window: (13, W, W) float32 image and its targets."""

    image: F32
    targets: Targets


class WindowMaker:
    """Cuts training windows from scans."""

    def __init__(self, recipe: Recipe, augmentation: Augmentation | None = None) -> None:
        self._recipe, self._augmentation = recipe, augmentation or Augmentation()
        self._raster = BevRasteriser(GRID)

    def windows(self, scan: Scan, rng: np.random.Generator) -> Iterator[Sample]:
        """``windows_per_scan`` windows of one augmentation of ``scan``; each is the fuller of two random places."""
        points, boxes, plane = augment(scan, self._augmentation, rng)
        image = self._raster.rasterise(points, None, plane)[0]
        boxes[:, 2] -= plane.at(boxes[:, :2])
        for _ in range(self._recipe.windows_per_scan):
            column, row = self._place(boxes, rng)
            yield self._cut(image, boxes, scan, column, row)

    def _place(self, boxes: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        size, most = self._recipe.window_cells, (GRID.size - self._recipe.window_cells) // 16
        corners = rng.integers(0, most + 1, (2, 2)) * 16
        cells = (boxes[:, :2] + GRID.half_m) / GRID.cell_m
        counts = [int(np.all((cells >= c) & (cells < c + size), axis=1).sum()) for c in corners]
        column, row = corners[int(counts[1] > counts[0])]
        return int(column), int(row)

    def _cut(self, image: F32, boxes: np.ndarray, scan: Scan, column: int, row: int) -> Sample:
        size, cell_m = self._recipe.window_cells, GRID.cell_m
        corner = (column * cell_m - GRID.half_m, row * cell_m - GRID.half_m)
        side = size // OUTPUT_STRIDE
        grid = OutputGrid(*corner, cell_m * OUTPUT_STRIDE, side, side)
        use = np.hypot(boxes[:, 0], boxes[:, 1]) < GRID.half_m
        targets = draw_targets(boxes[use], scan.classes[use], scan.inside[use], grid, len(CLASSES), LEAST_POINTS)
        return Sample(image[:, row : row + size, column : column + size].copy(), targets)


def batches(folder: Path, recipe: Recipe, start_step: int) -> Iterator[list[Sample]]:
    """Endless batches of the scans in ``folder``; step k is the same whenever the folder holds the same scans."""
    maker = WindowMaker(recipe)
    scans_a_step = max(1, recipe.batch // recipe.windows_per_scan)
    step = start_step
    while True:
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise ConfigError(f"no scans (*.npz) in '{folder}': simulate some first")
        rng = np.random.default_rng((recipe.seed, step))
        samples: list[Sample] = []
        for index in rng.integers(0, len(files), scans_a_step):
            samples += maker.windows(load_scan(files[index]), rng)
        yield samples
        step += 1


def learning_rate(step: int, recipe: Recipe) -> float:
    """Rises, stays, falls linearly to zero over the last ``decay_share`` of the steps."""
    rise = min(1.0, (step + 1) / max(1, recipe.warm_up_steps))
    fall = min(1.0, (recipe.steps - step) / max(1.0, recipe.decay_share * recipe.steps))
    return recipe.learning_rate * rise * fall


def _stack(samples: list[Sample]) -> tuple[Tensor, ...]:
    parts = [[s.image for s in samples]]
    parts += [[getattr(s.targets, name) for s in samples] for name in ("heat", "mask", "box", "weight")]
    return tuple(torch.from_numpy(np.stack(part)) for part in parts)


class Trainer:
    """Network, running average and optimiser, with checkpoints."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step = recipe, 0
        self.network = BirdEyeNetwork().to(memory_format=torch.channels_last)
        self.averaged = BirdEyeNetwork().to(memory_format=torch.channels_last).eval()
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )

    def learn(self, samples: list[Sample]) -> tuple[float, float]:
        """One step; returns heat and box loss."""
        image, heat, mask, box, weight = _stack(samples)
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe)
        with torch.autocast("cpu", torch.bfloat16):
            heat_logits, box_out = self.network(image.to(memory_format=torch.channels_last))
        on_heat, on_box = heat_loss(heat_logits, heat, mask), box_loss(box_out, box, weight)
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


def seconds_per_step(scans: Path, recipe: Recipe, steps: int = 6) -> float:
    """Time of one step here and now, the first one not counted."""
    trainer, source = Trainer(recipe), batches(scans, recipe, 0)
    trainer.learn(next(source))
    started = time.monotonic()
    for _ in range(steps - 1):
        trainer.learn(next(source))
    return (time.monotonic() - started) / (steps - 1)


def train(
    scans: Path, out: Path, recipe: Recipe, report: Callable[[str], None], resume: bool = False
) -> dict[str, float]:
    """Train to ``out/checkpoint.pt`` with a curve in ``out/curve.jsonl``; returns the last means of the losses."""
    out.mkdir(parents=True, exist_ok=True)
    trainer, checkpoint = Trainer(recipe), out / "checkpoint.pt"
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    source = batches(scans, recipe, trainer.step)
    means, started = np.zeros(2), time.monotonic()
    metrics: dict[str, float] = {}
    with (out / "curve.jsonl").open("a") as curve:
        while trainer.step < recipe.steps:
            losses = np.array(trainer.learn(next(source)))
            means = losses if not means.any() else 0.98 * means + 0.02 * losses
            if trainer.step % 100 == 0 or trainer.step == recipe.steps:
                metrics = {"step": trainer.step, "heat_loss": float(means[0]), "box_loss": float(means[1])}
                curve.write(json.dumps(metrics) + "\n")
                curve.flush()
                report(
                    f"step {trainer.step}/{recipe.steps} heat {means[0]:.3f} box {means[1]:.3f} {time.monotonic() - started:.0f} s"
                )
            if trainer.step % 250 == 0:
                trainer.save(checkpoint)
    trainer.save(checkpoint)
    return metrics
