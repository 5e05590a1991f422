"""Trust of a path network from its held-out answers, worked out by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from percept_ros.train.predictor_trust import FEW, HeldOut, best_trust, group_ratios  # noqa: E402


def held_out(found: float, target: float, count: int = FEW) -> HeldOut:
    """Answers of one group, one step, along x."""
    one = torch.ones(count, 1)
    way = torch.tensor([1.0, 0.0])
    return HeldOut(found * one[..., None] * way, target * one[..., None] * way, one, one, torch.zeros(count).long())


def test_the_best_share_is_taken() -> None:
    assert best_trust(held_out(1.0, 0.7)).tolist() == [[0.75], [0.0], [0.0]]
    assert best_trust(held_out(1.0, -1.0))[0] == 0.0
    assert best_trust(held_out(1.0, 1.0, FEW - 1))[0] == 0.0


def test_all_or_nothing() -> None:
    assert best_trust(held_out(1.0, 0.7), (0.0, 1.0))[0] == 1.0
    assert best_trust(held_out(1.0, 0.4), (0.0, 1.0))[0] == 0.0


def test_ratio_to_the_ridge_filter() -> None:
    unseen = held_out(1.0, 0.8)
    ratios = group_ratios(unseen, torch.tensor([[0.75], [0.0], [0.0]]))
    assert ratios["car.ratio_to_ridge"] == pytest.approx(0.05 / 0.8, rel=1e-5)
    assert ratios["car.trust"] == 0.75
