"""Copies of trajectories that the path network also learns from."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.evaluate.prediction_data import Trajectory
from percept_ros.train.predictor_copies import noisy, paced, scaled

WAY = np.stack([np.arange(7.0), np.zeros(7)], axis=1)
WALK = Trajectory("a", 10, 1, WAY, WAY, np.tile([2.5, 0.0], (7, 1)))


def test_a_faster_copy_skips_and_a_slower_one_lies_between() -> None:
    fast, slow = paced([WALK], (2.0, 0.5))
    assert fast.truth[:, 0].tolist() == [0, 2, 4, 6]
    assert slow.truth[:, 0].tolist() == [i / 2 for i in range(13)]
    assert fast.velocity_mps is not None
    assert fast.velocity_mps[0].tolist() == [5.0, 0.0]
    assert (fast.sequence, fast.start, fast.group) == ("a", 5, 1)


def test_a_copy_too_short_to_step_is_left_out() -> None:
    assert paced([WALK], (7.0,)) == []


def test_a_scaled_copy_is_larger_and_faster() -> None:
    (large,) = scaled([WALK], (3.0,))
    assert large.truth[1].tolist() == [3.0, 0.0]
    assert large.velocity_mps is not None
    assert large.velocity_mps[0].tolist() == [7.5, 0.0]


def test_noise_is_on_what_was_measured_and_never_on_the_truth() -> None:
    long = np.zeros((4000, 2))
    copies = noisy([Trajectory("a", 0, 1, long, long)] * 20, (0.01, 0.1), np.random.default_rng(0))
    sigmas = np.array([c.measured.std() for c in copies])
    assert all((c.truth == 0.0).all() for c in copies)
    assert sigmas.min() == pytest.approx(0.011, abs=0.004)
    assert sigmas.max() == pytest.approx(0.09, abs=0.02)
    assert np.median(sigmas) == pytest.approx(np.sqrt(0.001), rel=0.5)
