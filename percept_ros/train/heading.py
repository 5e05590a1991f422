"""Training recipe of the heading judge (core/heading.py): cars of simulated scans, each with its box and with the box turned.

Boxes are given the errors that detectors make. What a judge is worth beside a detector is measured on scans of another seed:
one half chooses from which log-odds on the detector is overruled, the other half says how often the heading is right then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from percept_ros.core.geometry import wrap_angle
from percept_ros.core.heading import BINS, FEATURES, LEAST_POINTS, HeadingJudge, profiles, turned
from percept_ros.detectors.detector import Detector
from percept_ros.errors import RecordingError
from percept_ros.train.scans import Scan, load_scan
from percept_ros.types import F32, F64, Bool, ObjectClass, PointCloud, SensorSet

_CAR = 0
_NEAR_M = 1.0
_ALONG_RAD = 1.0
"""A detection tells a heading when its yaw is that close to the label's, or to its opposite."""


@dataclass(frozen=True, slots=True)
class HeadingRecipe:
    """hidden: numbers in the layers. shifts: one-sigma of the errors that boxes get: centre and height, metres; sizes, share;
    yaw, rad. drop: share of bins that are hidden in training."""

    seed: int = 0
    epochs: int = 40
    batch: int = 512
    rate: float = 1e-3
    hidden: tuple[int, ...] = (128, 64)
    shifts: tuple[float, float, float, float] = (0.25, 0.12, 0.1, 0.08)
    drop: float = 0.15


def collect(files: Sequence[Path], recipe: HeadingRecipe, report: Callable[[str], None]) -> F32:
    """(N, FEATURES) profiles of all cars with enough points, their boxes a little off."""
    rng, rows = np.random.default_rng(recipe.seed), []
    for number, file in enumerate(files):
        scan = load_scan(file)
        cars = scan.boxes[(scan.classes == _CAR) & (scan.inside >= LEAST_POINTS)]
        features, inside = profiles(scan.points, _shifted(cars, recipe, rng))
        rows.append(features[inside >= LEAST_POINTS].astype(np.float32))
        if (number + 1) % 1000 == 0:
            report(f"profiles of {number + 1}/{len(files)} scans")
    if not rows or not sum(map(len, rows)):
        raise RecordingError("the scans hold no car with enough points", "empty")
    return np.concatenate(rows)


def _shifted(boxes: F64, recipe: HeadingRecipe, rng: np.random.Generator) -> F64:
    centre, height, size, yaw = recipe.shifts
    n, off = len(boxes), boxes.copy()
    off[:, :2] += rng.normal(0.0, centre, (n, 2))
    off[:, 2] += rng.normal(0.0, height, n)
    off[:, 3:6] *= 1.0 + rng.normal(0.0, size, (n, 3)).clip(-0.5, 0.5)
    off[:, 6] += rng.normal(0.0, yaw, n)
    return off


def fit(features: F32, recipe: HeadingRecipe, report: Callable[[str], None]) -> HeadingJudge:
    """The judge, its threshold at 0."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    ahead, back = features.astype(np.float64), turned(features.astype(np.float64))
    middle, spread = (ahead.mean(0) + back.mean(0)) / 2, ahead.std(0) + 1e-3
    right, wrong = (torch.from_numpy(((x - middle) / spread).astype(np.float32)) for x in (ahead, back))
    sizes = (FEATURES, *recipe.hidden)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, (*recipe.hidden, 1), strict=True)]
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for epoch in range(recipe.epochs):
        order, total = rng.permutation(len(right)), 0.0
        for at in range(0, len(order), recipe.batch):
            rows = order[at : at + recipe.batch]
            shown, opposite = _hidden_bins(len(rows), recipe.drop)
            odds = network(right[rows] * shown) - network(wrong[rows] * opposite)
            loss = nn.functional.softplus(-odds).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        schedule.step()
        report(f"epoch {epoch + 1}/{recipe.epochs}: loss {total / len(order):.4f}")
    return HeadingJudge(_plain(layers, middle, spread), 0.0)


def _hidden_bins(count: int, drop: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks that hide the same bins of a car and of the car turned around."""
    bins = (torch.rand(count, 4, BINS) >= drop).float()
    rest = torch.ones(count, FEATURES - 4 * BINS)
    return torch.cat([bins.reshape(count, -1), rest], 1), torch.cat([bins.flip(2).reshape(count, -1), rest], 1)


def _plain(layers: Sequence[nn.Linear], middle: F64, spread: F64) -> tuple[tuple[F64, F64], ...]:
    """Weights over features as they come: the first layer takes in middle and spread."""
    arrays = [
        (x.weight.detach().numpy().astype(np.float64), x.bias.detach().numpy().astype(np.float64)) for x in layers
    ]
    weights, biases = arrays[0]
    return ((weights / spread, biases - (weights / spread) @ middle), *arrays[1:])


@dataclass(frozen=True, slots=True)
class Opinions:
    """On matched cars, one each: whether the detector's heading is right, and the judge's log-odds that it is."""

    right: Bool
    log_odds: F64


def opinions(files: Sequence[Path], detector: Detector, judge: HeadingJudge) -> Opinions:
    """What a (loaded) detector, without a judge of its own, and the judge say of the cars of held-out scans."""
    right: list[bool] = []
    odds: list[float] = []
    for file in files:
        scan = load_scan(file)
        boxes, verdicts = _matched(scan, detector)
        right += verdicts
        odds += judge.log_odds(scan.points, boxes).tolist()
    return Opinions(np.array(right, np.bool_), np.array(odds))


def _matched(scan: Scan, detector: Detector) -> tuple[F64, list[bool]]:
    cloud = PointCloud("lidar", 0, "lidar", scan.points)
    found = detector.detect(SensorSet(0, cloud, {}, {}, (), {"lidar": np.eye(4)}))
    cars = found.boxes[found.class_ids == ObjectClass.CAR]
    labels = scan.boxes[(scan.classes == _CAR) & (scan.inside >= LEAST_POINTS)]
    boxes, right = [], []
    for label in labels if len(cars) else []:
        nearest = cars[np.hypot(*(cars[:, :2] - label[:2]).T).argmin()]
        off = abs(float(wrap_angle(nearest[6] - label[6])))
        if np.hypot(*(nearest[:2] - label[:2])) < _NEAR_M and min(off, np.pi - off) < _ALONG_RAD:
            boxes.append(nearest)
            right.append(off < np.pi / 2)
    return np.array(boxes).reshape(-1, 7), right


def choose_threshold(seen: Opinions) -> float:
    """Log-odds of the judge under which turning a detector's heading around makes most of them right; at most 0.

    The best of a grid, each with its neighbours, for few cars are turned. (A logistic curve is no good here: the judge is
    surer than it should be where it errs.)
    """
    grid = np.arange(-8.0, 0.01, 0.25)
    shares = np.array([share_right(seen, float(at)) for at in grid])
    smooth = np.convolve(np.pad(shares, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return float(grid[smooth.argmax()])


def share_right(seen: Opinions, threshold: float) -> float:
    """Share of headings that are right when those under ``threshold`` are turned around."""
    return float((seen.right == (seen.log_odds >= threshold)).mean())
