"""From offsets of a network to the paths of tracks: other clocks, longer horizons, shifts in time."""

from __future__ import annotations

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.types import F64


def fits(steps: int, step_s: float, times_s: F64) -> bool:
    """Whether times (M,) are the first of ``steps`` steps of step_s."""
    count = len(times_s)
    return bool(count <= steps and abs(times_s[0] - step_s) < 1e-6 and abs(times_s[-1] - count * step_s) < 1e-6)


def at_times(values: Reals, step_s: float, times_s: F64, first: float = 0.0) -> Reals:
    """(N, M, D) of values (N, T, D), given at step_s, 2 step_s, ..., at other times (M,), straight between and beyond.

    times_s: ascending. first: value at time zero.
    """
    if fits(values.shape[1], step_s, times_s):
        return values[:, : len(times_s)]
    knots = np.concatenate([np.full_like(values[:, :1], first), values], axis=1).astype(np.float64)
    place = times_s / step_s
    left = np.clip(np.floor(place + 1e-9).astype(np.int64), 0, knots.shape[1] - 2)
    share = (place - left)[:, None]
    return np.asarray(knots[:, left] * (1.0 - share) + knots[:, left + 1] * share)


def shifted(offsets_m: Reals, step_s: float, elapsed_s: float, times_s: F64) -> F64:
    """(N, M, 2) offsets from where the path is after ``elapsed_s``, ``times_s`` (M,) later."""
    later = at_times(offsets_m, step_s, np.concatenate([[0.0], times_s]) + elapsed_s)
    return later[:, 1:] - later[:, :1]
