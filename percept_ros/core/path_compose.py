"""From offsets of a network to the paths of tracks: other clocks, longer horizons, shifts in time, headings."""

from __future__ import annotations

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.types import F64


def at_times(values: Reals, step_s: float, times_s: F64, first: float = 0.0) -> F64:
    """(N, M, D) of values (N, T, D), given at step_s, 2 step_s, ..., at other times (M,), straight between and beyond.

    first: value at time zero.
    """
    knots = np.concatenate([np.full_like(values[:, :1], first), values], axis=1).astype(np.float64)
    place = times_s / step_s
    left = np.clip(np.floor(place + 1e-9).astype(np.int64), 0, knots.shape[1] - 2)
    share = (place - left)[:, None]
    return np.asarray(knots[:, left] * (1.0 - share) + knots[:, left + 1] * share)


def shifted(offsets_m: Reals, step_s: float, elapsed_s: float, times_s: F64) -> F64:
    """(N, M, 2) offsets from where the path is after ``elapsed_s``, ``times_s`` (M,) later."""
    later = at_times(offsets_m, step_s, np.concatenate([[0.0], times_s]) + elapsed_s)
    return later[:, 1:] - later[:, :1]


def headings(offsets_m: F64, yaw_rad: F64, least_m: float = 0.05) -> F64:
    """(N, M) yaw along the path: the track's own, turned as the path's course turns; held where the path hardly moves."""
    ways = np.diff(np.concatenate([np.zeros_like(offsets_m[:, :1]), offsets_m], axis=1), axis=1)
    before, after = ways[:, :-1], ways[:, 1:]
    turn = np.arctan2(before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0], (before * after).sum(axis=-1))
    size = np.hypot(ways[..., 0], ways[..., 1])
    turn = np.where(np.minimum(size[:, 1:], size[:, :-1]) >= least_m, turn, 0.0)
    yaw = yaw_rad[:, None] + np.concatenate([np.zeros((len(turn), 1)), np.cumsum(turn, axis=1)], axis=1)
    return np.asarray(np.arctan2(np.sin(yaw), np.cos(yaw)))
