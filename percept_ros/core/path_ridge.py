"""Ridge filter: each future offset is a weighted sum of the last displacements, alike for both axes.

One set of weights for x and y makes the filter independent of where north is. Source: ridge regression (Hoerl and
Kennard 1970), penalised towards the mean displacement going on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.types import F64


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """Sums over examples: gram (T, W, W) of the inputs, cross (T, W) of inputs with targets. Sums add up."""

    gram: F64
    cross: F64

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.gram + other.gram, self.cross + other.cross)

    def solve(self, penalty: float, prior: F64) -> F64:
        """(W, T) weights by least squares, pulled towards ``prior`` (W, T); penalty: relative to the inputs' mean square."""
        width = self.gram.shape[1]
        pull = penalty * np.trace(self.gram, axis1=1, axis2=2) / width + 1e-9
        rest = self.cross - np.einsum("twv,vt->tw", self.gram, prior)
        change = np.linalg.solve(self.gram + pull[:, None, None] * np.eye(width), rest[..., None])[..., 0]
        return np.asarray(prior + change.T, np.float64)


def normal_equations(inputs: Reals, offsets: Reals, valid: Reals) -> NormalEquations:
    """Sums of inputs (N, W, 2), offsets (N, T, 2) and the weights (N, T) of each target, 0 = absent."""
    rows = np.concatenate([inputs[..., 0], inputs[..., 1]]).astype(np.float64)
    targets = np.concatenate([offsets[..., 0], offsets[..., 1]]).astype(np.float64)
    shares = np.concatenate([valid, valid]).astype(np.float64)
    targets = np.where(shares > 0, targets, 0.0)
    gram = np.stack([(rows * share[:, None]).T @ rows for share in shares.T])
    return NormalEquations(gram, (targets * shares).T @ rows)


def fit_ridge(inputs: Reals, offsets: Reals, valid: Reals, penalty: float, prior_steps: int = 5) -> F64:
    """(W, T) weights that give offsets (N, T, 2) from inputs (N, W, 2) by least squares.

    valid: (N, T) weight of each target, 0 = absent. penalty: pull towards the prior, relative to the inputs' mean square.
    prior_steps: the prior is the mean of this many newest inputs going on.
    """
    prior = prior_weights(inputs.shape[1], offsets.shape[1], prior_steps)
    return normal_equations(inputs, offsets, valid).solve(penalty, prior)


def prior_weights(width: int, steps: int, prior_steps: int) -> F64:
    """(W, T) weights of the mean of the newest ``prior_steps`` displacements going on."""
    used = min(width, prior_steps)
    weights = np.zeros((width, steps))
    weights[-used:] = np.arange(1.0, steps + 1) / used
    return weights


def apply_ridge(inputs: Reals, weights: Reals) -> F64:
    """(N, T, 2) offsets from inputs (N, W, 2)."""
    return np.asarray(np.swapaxes(np.swapaxes(inputs, 1, 2) @ weights, 1, 2))
