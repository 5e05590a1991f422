"""The networks and their losses; needs PyTorch, which is an optional extra."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed (an optional extra): networks are not tested", allow_module_level=True)

import torch

from percept_ros.train.bird_eye_network import BirdEyeNetwork, NetworkSize
from percept_ros.train.fusion_network import DEPTH_UNIT_M, ExportedFusion, FusionNetwork, lift, regular_cells
from percept_ros.train.lidar_pillars import losses
from percept_ros.train.loop import Recipe, Trainer, learning_rate
from percept_ros.train.losses import box_loss, heat_loss
from percept_ros.train.targets import OutputGrid, draw_targets
from percept_ros.train.windows import Sample

TINY = NetworkSize(stem=8, stages=(16, 16, 16), blocks=(1, 1, 1), head=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small networks gain nothing from more, and the sums are then always in one order."""
    torch.set_num_threads(1)


def sample() -> Sample:
    grid = OutputGrid(-6.4, -6.4, 0.8, 16, 16)
    boxes = np.array([[1.0, 2.0, 0.8, 4.0, 1.8, 1.5, 0.5]])
    targets = draw_targets(boxes, np.array([0]), np.array([50]), grid, 4, (5, 5, 5, 5))
    image = np.zeros((13, 64, 64), np.float32)
    image[3, 40:50, 32:48] = 0.9
    return Sample(image, targets, grid)


def test_shapes() -> None:
    heat, box = BirdEyeNetwork(TINY)(torch.zeros(2, 13, 64, 96))
    assert heat.shape == (2, 4, 16, 24)
    assert box.shape == (2, 10, 16, 24)
    assert torch.sigmoid(heat).mean() < 0.1


def test_perfect_answers_cost_nothing_and_wrong_ones_cost_much() -> None:
    t = sample().targets
    heat, mask = torch.from_numpy(t.heat)[None], torch.from_numpy(t.mask)[None]
    box, weight = torch.from_numpy(t.box)[None], torch.from_numpy(t.weight)[None]
    sure = torch.where(heat > 0.999, 20.0, -20.0)
    assert heat_loss(sure, heat, mask) < 1e-3
    assert heat_loss(-sure, heat, mask) > 10.0
    assert heat_loss(-sure, heat, torch.zeros_like(mask)) == 0.0
    assert box_loss(box, box, weight) == 0.0
    assert box_loss(box + 1.0, box, weight) > 1.0


def test_training_learns_and_is_repeatable() -> None:
    recipe = Recipe(seed=3, steps=40, batch=2, warm_up_steps=5, learning_rate=5e-3)
    batch, ends = [sample(), sample()], []
    for _ in range(2):
        trainer = Trainer(recipe, lambda: BirdEyeNetwork(TINY), losses)
        first = trainer.learn(batch)
        for _ in range(12):
            last = trainer.learn(batch)
        assert sum(last) < 0.75 * sum(first)
        ends.append(last)
    assert ends[0] == ends[1]


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(steps=100, warm_up_steps=10, learning_rate=1.0, decay_share=0.5)
    assert learning_rate(0, recipe) == pytest.approx(0.1)
    assert learning_rate(30, recipe) == 1.0
    assert learning_rate(75, recipe) == pytest.approx(0.5)
    assert learning_rate(99, recipe) < 0.05


def test_lift_puts_image_columns_where_the_camera_looks() -> None:
    # a camera at the origin, 1 m up, looking along x with 90 degrees of view: u d = -y, v d = 1 - z, d = x
    projection = torch.tensor([[[0.0, -1, 0, 0], [0, 0, -1, 1], [1, 0, 0, 0]]])
    column = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    log_depth = torch.full((1, 1, 4, 8), math.log(3.5 / DEPTH_UNIT_M))
    features = torch.cat([column, log_depth], dim=1)
    lifted = lift(features, projection, regular_cells(-4.0, -4.0, 1.0, 8)).view(2, 2, 8, 8)
    assert lifted[:, :, :, :4].abs().max() == 0.0
    ahead_left, ahead_right = lifted[0, 1, 5, 7], lifted[0, 1, 2, 7]
    assert 0.0 < ahead_left < 3.5 < ahead_right
    # the image says 3.5 m: right for the cells there, too far for nearer ones
    assert lifted[1, 1, 4, 7] == pytest.approx(0.0, abs=1e-5)
    assert lifted[1, 1, 4, 6] == pytest.approx(math.log(3.5 / 2.5), abs=1e-5)
    both = lift(features.repeat(2, 1, 1, 1), projection.repeat(2, 1, 1), regular_cells(-4.0, -4.0, 1.0, 8))
    torch.testing.assert_close(both.view(2, 2, 8, 8), lifted)


def test_fusion_takes_over_the_lidar_network(tmp_path: Path) -> None:
    recipe = Recipe(steps=1)
    first = Trainer(recipe, lambda: BirdEyeNetwork(TINY), losses)
    first.save(tmp_path / "lidar.pt")
    second = Trainer(recipe, lambda: FusionNetwork(TINY), losses)
    second.start_from(tmp_path / "lidar.pt")
    taken = dict(second.network.named_parameters())
    for name, value in first.network.named_parameters():
        if not name.startswith(("heat", "box")):
            torch.testing.assert_close(taken[name], value)


def test_fusion_answers_at_stride_two_with_or_without_cameras() -> None:
    network = ExportedFusion(FusionNetwork(TINY).eval(), regular_cells(-6.4, -6.4, 0.8, 16))
    projection = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 1], [1, 0, 0, 0]])
    for projections in (torch.zeros(1, 3, 4), projection.repeat(3, 1, 1)):
        heat, box = network(torch.rand(1, 13, 64, 64), torch.rand(len(projections), 3, 32, 64), projections)
        assert heat.shape == (1, 4, 32, 32)
        assert box.shape == (1, 10, 32, 32)
        assert torch.isfinite(heat).all()
        assert torch.isfinite(box).all()
