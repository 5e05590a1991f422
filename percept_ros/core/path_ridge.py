"""Ridge filter: each future offset is a weighted sum of the last displacements, alike for both axes.

One set of weights for x and y makes the filter independent of where north is. Source: ridge regression (Hoerl and
Kennard 1970), penalised towards the mean displacement going on.
"""

from __future__ import annotations

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.types import F64


def fit_ridge(inputs: Reals, offsets: Reals, valid: Reals, penalty: float, prior_steps: int = 5) -> F64:
    """(W, T) weights that give offsets (N, T, 2) from inputs (N, W, 2) by least squares.

    valid: (N, T) weight of each target, 0 = absent. penalty: pull towards the prior, relative to the inputs' mean square.
    prior_steps: the prior is the mean of this many newest inputs going on.
    """
    width, steps = inputs.shape[1], offsets.shape[1]
    prior = prior_weights(width, steps, prior_steps)
    weights = prior.copy()
    rows = np.concatenate([inputs[..., 0], inputs[..., 1]]).astype(np.float64)
    targets = np.concatenate([offsets[..., 0], offsets[..., 1]]).astype(np.float64)
    shares = np.concatenate([valid, valid]).astype(np.float64)
    for step in range(steps):
        share = shares[:, step]
        if share.sum() < 2 * width:
            continue
        weighted = rows * share[:, None]
        gram = weighted.T @ rows
        rest = np.where(share > 0, targets[:, step], 0.0) - rows @ prior[:, step]
        pull = penalty * np.trace(gram) / width + 1e-9
        weights[:, step] += np.linalg.solve(gram + pull * np.eye(width), weighted.T @ rest)
    return weights


def prior_weights(width: int, steps: int, prior_steps: int) -> F64:
    """(W, T) weights of the mean of the newest ``prior_steps`` displacements going on."""
    used = min(width, prior_steps)
    weights = np.zeros((width, steps))
    weights[-used:] = np.arange(1.0, steps + 1) / used
    return weights


def apply_ridge(inputs: Reals, weights: F64) -> F64:
    """(N, T, 2) offsets from inputs (N, W, 2)."""
    return np.asarray(np.swapaxes(np.swapaxes(inputs, 1, 2) @ weights, 1, 2))
