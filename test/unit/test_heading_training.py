"""The heading judge learns from simulated cars and overrules a detector only where that pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (an optional extra)")

from percept_ros.core.heading import BINS, FEATURES  # noqa: E402
from percept_ros.errors import RecordingError  # noqa: E402
from percept_ros.train.heading import HeadingRecipe, Opinions, choose_threshold, collect, fit, share_right  # noqa: E402
from percept_ros.train.simulated import fill  # noqa: E402

RNG = np.random.default_rng(5)


def test_it_learns_that_bonnets_are_low_and_turns_with_the_box() -> None:
    features = RNG.normal(0, 0.05, (600, FEATURES)).astype(np.float32)
    features[:, : BINS // 2] += 1.2  # high at the back
    judge = fit(features, HeadingRecipe(epochs=3, hidden=(16,)), lambda _: None)
    from percept_ros.core.heading import turned

    odds = judge._score(features.astype(float)) - judge._score(turned(features.astype(float)))
    assert (odds > 0).mean() > 0.99


def test_profiles_of_simulated_cars_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    fill(tmp_path, 2, 3, lambda _: None)
    files = sorted(tmp_path.glob("*.npz"))
    first, again = (collect(files, HeadingRecipe(seed=1), lambda _: None) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape[1] == FEATURES
    assert np.isfinite(first).all()
    with pytest.raises(RecordingError, match="no car"):
        collect([], HeadingRecipe(), lambda _: None)


def test_the_threshold_keeps_a_detector_that_is_right() -> None:
    right = RNG.random(4000) < 0.9
    odds = np.where(right, 3.0, -3.0) + RNG.normal(0, 2.0, 4000)
    chosen = choose_threshold(Opinions(right, odds))
    assert -3.0 < chosen <= 0.0
    assert share_right(Opinions(right, odds), chosen) > right.mean() + 0.03
    blind = Opinions(right, RNG.normal(0, 1.0, 4000))
    assert share_right(blind, choose_threshold(blind)) >= right.mean() - 1e-9
