"""Training recipe of bev_fusion: simulated moments with sensors dropped out, from a LiDAR model's weights or from nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from percept_ros.core.lift import base_SE3_road
from percept_ros.errors import ConfigError
from percept_ros.train import loop
from percept_ros.train.augment import Augmentation, Augmented, augment
from percept_ros.train.fusion_network import (
    DEPTH_UNIT_M,
    FUSION_STRIDE,
    LIFT_STRIDE,
    FusionNetwork,
    lift,
    regular_cells,
)
from percept_ros.train.fusion_scans import FusionScan, load_moment
from percept_ros.train.lidar_pillars import stack_images, stack_targets
from percept_ros.train.loop import Recipe, Trainer
from percept_ros.train.losses import box_loss, heat_loss
from percept_ros.train.windows import Sample, WindowMaker
from percept_ros.types import F32, F64, I64, U8, Bool

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("all", "some_cameras", "lidar_only", "camera_only")
MODE_SHARES = (0.4, 0.2, 0.1, 0.3)
EVERY_BATCH = ("all", "camera_only", "lidar_only")
"""Modes of the first moments of a batch, so that its statistics vary little; the rest are drawn."""
LEAST_RETURNS, VISIBLE_PX = 4, 100
"""An object with fewer returns, and fewer pixels in all images together, need not be found."""
CLASS_WEIGHTS = (1.0, 2.0, 1.0, 2.0)
WORTH = (1.0, 6.0, 1.0, 4.0)
"""How much an object of each class adds to the chance of its moment and window."""
LIST_STEPS = 250
"""The folder is listed again after so many steps, for it may be filled meanwhile."""
LIKE_A_SENSOR = Augmentation(
    scale=0.03,
    height_sigma_m=0.04,
    height_far_probability=0.05,
    tilt_sigma=0.003,
    drop_probability=0.25,
    beams_probability=0.15,
    jitter_probability=0.15,
    sector_probability=0.05,
    canopy_probability=0.2,
    canopies_most=6,
)
"""Milder than for real scans seen with simulated ones alone: the beams already vary from moment to moment."""
SEGMENT_WEIGHT, DEPTH_WEIGHT = 2.0, 1.0
SEGMENT_CLASS_WEIGHTS = (1.0, 4.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, slots=True)
class FusionSample:
    """Windows of one moment that share its cameras.

    images: (N, 3, height, width) float32 in [0, 1]. projections: (N, 3, 4) from the changed road frame.
    labels, depth_m: (N, height/4, width/4) as in ``FusionScan``; no rows without cameras.
    """

    windows: list[Sample]
    images: F32
    projections: F32
    labels: I64
    depth_m: F32


class MomentMaker:
    """Turns moments into training samples, dropping sensors at random."""

    def __init__(self, recipe: Recipe, augmentation: Augmentation | None = None) -> None:
        self._maker = WindowMaker(
            recipe.window_cells,
            recipe.windows_per_scan,
            augmentation or LIKE_A_SENSOR,
            FUSION_STRIDE,
            worth=WORTH,
            places=4,
        )

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
            return FusionSample(windows, *_no_camera(moment))
        projections = moment.projections[cameras] @ changed_SE3_inverse(changed)
        return FusionSample(
            windows,
            _jitter(moment.images[cameras], rng),
            projections.astype(np.float32),
            moment.labels[cameras].astype(np.int64),
            moment.depth_m[cameras].astype(np.float32),
        )


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
    """(objects,) 50 for those that the kept sensors know enough of to find them, else 0."""
    returns = moment.scan.inside if lidar else np.zeros_like(moment.scan.inside)
    centres = np.column_stack([moment.scan.boxes[:, :3], np.ones(len(returns))])
    image = np.einsum("nij,oj->noi", moment.projections[cameras].astype(np.float64), centres)
    depth = image[..., 2]
    inside = (depth > 0.5) & (np.abs(image[..., :2]) < np.maximum(depth, 0.5)[..., None]).all(-1)
    seen = inside.any(axis=0) & (moment.visible_px >= VISIBLE_PX)
    evidence: I64 = np.where(seen | (returns >= LEAST_RETURNS), 50, 0)
    return evidence


def _no_camera(moment: FusionScan) -> tuple[F32, F32, I64, F32]:
    black = np.zeros((1, 3, *moment.images.shape[1:3]), np.float32)
    unlabelled = np.zeros((0, *moment.labels.shape[1:]))
    return black, np.zeros((1, 3, 4), np.float32), unlabelled.astype(np.int64), unlabelled.astype(np.float32)


def _jitter(images: U8, rng: np.random.Generator) -> F32:
    """(N, 3, height, width) in [0, 1] with exposure and colour varied a camera."""
    gain = rng.uniform(0.75, 1.25, (len(images), 1, 1, 1)) * rng.uniform(0.93, 1.07, (len(images), 3, 1, 1))
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32) * (gain / 255.0).astype(np.float32)
    return np.clip(scaled, 0.0, 1.0)


def batches(folder: Path, recipe: Recipe, start_step: int) -> Iterator[list[FusionSample]]:
    """Endless batches of the moments in ``folder``; step k is the same whenever the folder holds the same moments."""
    maker, step = MomentMaker(recipe), start_step
    files, chance = _listed(folder)
    count = max(1, recipe.batch // recipe.windows_per_scan)
    modes = [*EVERY_BATCH, *[""] * count][:count]
    while True:
        if step % LIST_STEPS == 0:
            files, chance = _listed(folder)
        rng = np.random.default_rng((recipe.seed, step))
        chosen = rng.choice(len(files), count, p=chance)
        yield [maker.sample(load_moment(files[i]), rng, mode) for i, mode in zip(chosen, modes, strict=True)]
        step += 1


def _listed(folder: Path) -> tuple[list[Path], F64]:
    """Moments of a folder and the chance of each, by what is there to see."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ConfigError(f"no moments (*.npz) in '{folder}': simulate some first")
    worth = np.array([2.0 + _worth(file) for file in files])
    return files, worth / worth.sum()


@functools.cache
def _worth(file: Path) -> float:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        classes = stored["classes"]
    return float(np.array([*WORTH, 0.0])[classes].sum())


def image_features(network: FusionNetwork, samples: list[FusionSample]) -> Tensor:
    """(all images, C, h, w) features of all samples, one after the other."""
    images = torch.from_numpy(np.concatenate([s.images for s in samples]))
    features: Tensor = network.image(images.to(memory_format=torch.channels_last))
    return features


def lifted_windows(features: Tensor, samples: list[FusionSample]) -> Tensor:
    """(windows, C * levels, rows, columns) image features under the windows of all samples."""
    lifted, start, coarser = [], 0, LIFT_STRIDE // FUSION_STRIDE
    for sample in samples:
        own = features[start : start + len(sample.images)]
        start += len(sample.images)
        projections = torch.from_numpy(sample.projections)
        for window in sample.windows:
            g = window.grid
            cells = regular_cells(g.x_m, g.y_m, coarser * g.cell_m, g.columns // coarser)
            lifted.append(lift(own, projections, cells))
    return torch.cat(lifted)


def losses(network: FusionNetwork, samples: list[FusionSample]) -> tuple[Tensor, Tensor]:
    """Heat loss with what the image network alone learns added, and box loss of one batch."""
    windows = [window for sample in samples for window in sample.windows]
    heat, mask, box, weight = stack_targets(windows)
    with torch.autocast("cpu", torch.bfloat16):
        features = image_features(network, samples)
        labelled = torch.cat([torch.full((len(s.images),), len(s.labels) > 0) for s in samples])
        logits = network.image.classes(features[labelled])
        lifted = lifted_windows(features.float(), samples)
        heat_logits, box_out = network.fused(stack_images(windows), lifted)
    mask = mask * torch.tensor(CLASS_WEIGHTS).view(1, -1, 1, 1)
    on_images = image_loss(logits.float(), features[labelled, -1].float(), samples)
    return heat_loss(heat_logits, heat, mask) + on_images, box_loss(box_out, box, weight)


def image_loss(logits: Tensor, log_depth: Tensor, samples: list[FusionSample]) -> Tensor:
    """What images show and how far it is: cross entropy, and absolute error of the logarithm of depth."""
    labels = torch.from_numpy(np.concatenate([s.labels for s in samples]))
    depth_m = torch.from_numpy(np.concatenate([s.depth_m for s in samples]))
    if not len(labels):
        return log_depth.sum() * 0.0
    weights = torch.tensor(SEGMENT_CLASS_WEIGHTS)
    on_class = functional.cross_entropy(logits, labels, weight=weights)
    matters = ((depth_m > 0.0) & (depth_m < 70.0)).float() * weights[labels]
    error = (log_depth - torch.log(depth_m.clamp(min=0.5) / DEPTH_UNIT_M)).abs()
    on_depth = (error * matters).sum() / matters.sum().clamp(min=1.0)
    return SEGMENT_WEIGHT * on_class + DEPTH_WEIGHT * on_depth


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
