"""Training recipe of bev_fusion: simulated moments with sensors dropped out, from a LiDAR model's weights or from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from percept_ros.core.lift import base_SE3_road
from percept_ros.errors import ConfigError
from percept_ros.train import loop
from percept_ros.train.augment import Augmentation, Augmented, augment
from percept_ros.train.fusion_network import FusionNetwork, lift, regular_cells
from percept_ros.train.fusion_scans import FusionScan, load_moment
from percept_ros.train.lidar_pillars import stack_images, stack_targets
from percept_ros.train.loop import Recipe, Trainer
from percept_ros.train.losses import box_loss, heat_loss
from percept_ros.train.windows import Sample, WindowMaker
from percept_ros.types import F32, F64, I64, U8, Bool

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("all", "some_cameras", "lidar_only", "camera_only")
MODE_SHARES = (0.45, 0.15, 0.15, 0.25)
VISIBLE_PX = 150
"""An object with fewer pixels in all simulated images together need not be found by cameras alone."""


@dataclass(frozen=True, slots=True)
class FusionSample:
    """Windows of one moment that share its cameras.

    images: (N, 3, height, width) float32 in [0, 1]. projections: (N, 3, 4) from the changed road frame.
    """

    windows: list[Sample]
    images: F32
    projections: F32


class MomentMaker:
    """Turns moments into training samples, dropping sensors at random."""

    def __init__(self, recipe: Recipe, augmentation: Augmentation | None = None) -> None:
        self._maker = WindowMaker(recipe.window_cells, recipe.windows_per_scan, augmentation)

    def sample(self, moment: FusionScan, rng: np.random.Generator, mode: str = "") -> FusionSample:
        """One augmented sample; ``mode`` is one of MODES, "" draws it."""
        mode = mode or str(rng.choice(MODES, p=MODE_SHARES))
        changed = augment(moment.scan, self._maker.augmentation, rng)
        points = changed.points[:0] if mode == "camera_only" else changed.points
        image = self._maker.draw(points, changed)
        cameras = _kept_cameras(len(moment.images), mode, rng)
        returns = _evidence(moment, cameras, lidar=mode != "camera_only")
        windows = list(self._maker.cut(image, changed, moment.scan.classes, returns, rng))
        if not cameras.any():
            return FusionSample(windows, *_no_camera(moment.images))
        projections = moment.projections[cameras] @ changed_SE3_inverse(changed)
        return FusionSample(windows, _jitter(moment.images[cameras], rng), projections.astype(np.float32))


def changed_SE3_inverse(changed: Augmented) -> F64:
    """(4, 4) from the changed road frame back to the moment's."""
    forward = np.eye(4)
    forward[:3, :3] = changed.matrix
    inverse: F64 = np.linalg.inv(forward) @ base_SE3_road(changed.plane)
    return inverse


def _kept_cameras(count: int, mode: str, rng: np.random.Generator) -> Bool:
    if mode == "lidar_only" or count == 0:
        return np.zeros(count, bool)
    if mode != "some_cameras":
        return np.ones(count, bool)
    keep: Bool = rng.random(count) < rng.uniform(0.2, 0.9)
    return keep


def _evidence(moment: FusionScan, cameras: Bool, *, lidar: bool) -> I64:
    """(objects,) what the kept sensors know of each: returns, or 50 where cameras see enough of it."""
    returns = moment.scan.inside if lidar else np.zeros_like(moment.scan.inside)
    centres = np.column_stack([moment.scan.boxes[:, :3], np.ones(len(returns))])
    image = np.einsum("nij,oj->noi", moment.projections[cameras].astype(np.float64), centres)
    depth = image[..., 2]
    inside = (depth > 0.5) & (np.abs(image[..., :2]) < np.maximum(depth, 0.5)[..., None]).all(-1)
    seen = inside.any(axis=0) & (moment.visible_px >= VISIBLE_PX)
    evidence: I64 = np.where(seen, np.maximum(returns, 50), returns)
    return evidence


def _no_camera(images: U8) -> tuple[F32, F32]:
    return np.zeros((1, 3, *images.shape[1:3]), np.float32), np.zeros((1, 3, 4), np.float32)


def _jitter(images: U8, rng: np.random.Generator) -> F32:
    """(N, 3, height, width) in [0, 1] with exposure and colour varied a camera."""
    gain = rng.uniform(0.75, 1.25, (len(images), 1, 1, 1)) * rng.uniform(0.93, 1.07, (len(images), 3, 1, 1))
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32) * (gain / 255.0).astype(np.float32)
    return np.clip(scaled, 0.0, 1.0)


def batches(folder: Path, recipe: Recipe, start_step: int) -> Iterator[list[FusionSample]]:
    """Endless batches of the moments in ``folder``; step k is the same whenever the folder holds the same moments."""
    maker, step = MomentMaker(recipe), start_step
    while True:
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise ConfigError(f"no moments (*.npz) in '{folder}': simulate some first")
        rng = np.random.default_rng((recipe.seed, step))
        count = max(1, recipe.batch // recipe.windows_per_scan)
        yield [maker.sample(load_moment(files[i]), rng) for i in rng.integers(0, len(files), count)]
        step += 1


def lifted_windows(network: FusionNetwork, samples: list[FusionSample]) -> Tensor:
    """(windows, C * levels, rows, columns) image features under the windows of all samples."""
    images = torch.from_numpy(np.concatenate([s.images for s in samples]))
    features = network.image(images.to(memory_format=torch.channels_last)).float()
    lifted, start = [], 0
    for sample in samples:
        own = features[start : start + len(sample.images)]
        start += len(sample.images)
        projections = torch.from_numpy(sample.projections)
        for window in sample.windows:
            g = window.grid
            lifted.append(lift(own, projections, regular_cells(g.x_m, g.y_m, g.cell_m, g.columns)))
    return torch.cat(lifted)


def losses(network: FusionNetwork, samples: list[FusionSample]) -> tuple[Tensor, Tensor]:
    """Heat and box loss of one batch."""
    windows = [window for sample in samples for window in sample.windows]
    heat, mask, box, weight = stack_targets(windows)
    with torch.autocast("cpu", torch.bfloat16):
        lifted = lifted_windows(network, samples)
        heat_logits, box_out = network.fused(stack_images(windows), lifted)
    return heat_loss(heat_logits, heat, mask), box_loss(box_out, box, weight)


def make_trainer(recipe: Recipe) -> Trainer:
    """A new network in its trainer."""
    return Trainer(recipe, FusionNetwork, losses)


def train(
    moments: Path,
    out: Path,
    recipe: Recipe,
    report: Callable[[str], None],
    resume: bool = False,
    lidar_checkpoint: Path | None = None,
) -> dict[str, float]:
    """Train to ``out/checkpoint.pt``; ``lidar_checkpoint`` gives the first weights of the LiDAR part."""
    out.mkdir(parents=True, exist_ok=True)
    trainer, checkpoint = make_trainer(recipe), out / "checkpoint.pt"
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
    elif lidar_checkpoint is not None:
        trainer.start_from(lidar_checkpoint)
    return loop.run(trainer, batches(moments, recipe, trainer.step), out, report)
