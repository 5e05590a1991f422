"""Ridge filters of the path network: one for each group and stage of age, with penalty and prior chosen on data left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from percept_ros.core.path_features import AGE_SHARES, GROUPS, age_stages
from percept_ros.core.path_ridge import NormalEquations, apply_ridge, normal_equations, prior_weights
from percept_ros.types import F32, F64, I64, Bool

Names = np.ndarray[tuple[int], np.dtype[np.str_]]
STAGES = len(AGE_SHARES) + 1
PRIORS = (1, 3, 5, 10, 20)
MOST_ROWS = 12000
FEW_ROWS = 400
JUDGED_ROWS = 1500
TURNS = 3


def fit_filters(
    windows: F32, offsets: F64, groups: I64, ages: I64, sequences: Names, penalties: Sequence[float], seed: int
) -> F64:
    """(G, A, W + 1, T) ridge filters for windows (N, W + 1, 2) and true offsets (N, T, 2), NaN where unknown.

    A group with few examples at a stage gets the filter of all groups.
    """
    stages, rng = age_stages(ages, windows.shape[1] - 1), np.random.default_rng(seed)
    filters = np.empty((len(GROUPS), STAGES, windows.shape[1], offsets.shape[1]))
    for group in range(len(GROUPS)):
        for stage in range(STAGES):
            rows = np.flatnonzero((groups == group) & (stages == stage))
            if len(rows) < FEW_ROWS:
                rows = np.flatnonzero(stages == stage)
            rows = rng.permutation(rows)[:MOST_ROWS]
            filters[group, stage] = best_filter(windows[rows], offsets[rows], sequences[rows], penalties)
    return filters


def best_filter(windows: F32, offsets: F64, sequences: Names, penalties: Sequence[float]) -> F64:
    """(W + 1, T) filter whose penalty and prior do best on sequences left out of the fit, fitted on all."""
    valid = np.isfinite(offsets[..., 0]).astype(np.float64)
    clean = np.nan_to_num(offsets)
    steps, width = offsets.shape[1], windows.shape[1]
    outs = [np.flatnonzero(left_out(sequences, turn)) for turn in range(TURNS)]
    judges = [out[:: max(1, len(out) // JUDGED_ROWS)] for out in outs]
    sums = [normal_equations(windows[o], clean[o], valid[o]) for o in outs]
    whole = sums[0] + sums[1] + sums[2]
    chosen, least = np.zeros((width, steps)), np.inf
    for span in PRIORS:
        prior = straight_prior(width, steps, span)
        for penalty in penalties:
            error = 0.0
            for out, part in zip(judges, sums, strict=True):
                rest = NormalEquations(whole.gram - part.gram, whole.cross - part.cross)
                error += weighted_error(windows[out], clean[out], valid[out], rest.solve(penalty, prior))
            if error < least:
                chosen, least = whole.solve(penalty, prior), error
    return chosen


def straight_prior(width: int, steps: int, span: int) -> F64:
    """(W + 1, T) filter of the mean of the newest ``span`` displacements; the told velocity (last row) has no share."""
    return np.vstack([prior_weights(width - 1, steps, span), np.zeros((1, steps))])


def left_out(sequences: Names, turn: int) -> Bool:
    """(N,) rows left out in this turn: whole sequences where there are enough of them."""
    names = np.unique(sequences)
    if len(names) >= TURNS:
        return np.isin(sequences, names[turn::TURNS])
    return np.asarray(np.arange(len(sequences)) % TURNS == turn)


def weighted_error(windows: F32, offsets: F64, valid: F64, weights: F64) -> float:
    """Summed distance of the filter's answers."""
    off = apply_ridge(windows, weights.astype(np.float32)) - offsets
    return float((np.hypot(off[..., 0], off[..., 1]) * valid).sum())
