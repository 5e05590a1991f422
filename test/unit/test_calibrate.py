"""Scores that mean the same for every class."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (an optional extra)")

from percept_ros.evaluate.detection import Judged  # noqa: E402
from percept_ros.train.bird_eye_network import BirdEyeNetwork  # noqa: E402
from percept_ros.train.calibrate import WORKING_SCORE, _best, shift_scores  # noqa: E402


def judged(right_scores: list[float], wrong_scores: list[float], missed: int = 0) -> Judged:
    scores = np.array([*right_scores, *wrong_scores])
    right = np.array([True] * len(right_scores) + [False] * len(wrong_scores))
    order = np.argsort(-scores)
    found = np.array([*right_scores, *[-np.inf] * missed])
    return Judged(scores[order], right[order], found, np.zeros(len(found)), 1)


def test_the_best_score_parts_right_from_wrong() -> None:
    assert _best(judged([0.9, 0.7, 0.52], [0.45, 0.41, 0.3])) == pytest.approx(0.46)


def test_without_objects_or_hits_scores_stay() -> None:
    assert _best(judged([], [0.4])) == WORKING_SCORE
    assert _best(judged([], [0.4], missed=2)) == WORKING_SCORE


def test_the_shift_moves_the_chosen_score_to_the_working_score() -> None:
    network = BirdEyeNetwork().eval()
    chosen = np.array([0.44, 0.3, 0.5, 0.25])
    image = torch.zeros(1, network.size.inputs, 64, 64)
    before = network(image)[0][0, :, 0, 0].detach().numpy()
    shift_scores(network, chosen)
    after = network(image)[0][0, :, 0, 0].detach().numpy()
    odds = np.log(chosen / (1 - chosen)) + (after - before)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), WORKING_SCORE, atol=1e-4)
