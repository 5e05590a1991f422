"""From offsets of a network to the paths of tracks: other clocks, longer horizons, shifts in time, headings."""

from __future__ import annotations

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.core.prediction import wrapped
from percept_ros.types import F64


def at_times(values: Reals, step_s: float, times_s: F64, first: float = 0.0) -> F64:
    """(N, M, D) of values (N, T, D), given at step_s, 2 step_s, ..., at other times (M,), straight between and beyond.

    times_s: ascending. first: value at time zero.
    """
    count = len(times_s)
    if count <= values.shape[1] and abs(times_s[0] - step_s) < 1e-6 and abs(times_s[-1] - count * step_s) < 1e-6:
        return values[:, :count].astype(np.float64)
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
    ways = offsets_m.copy()
    ways[:, 1:] -= offsets_m[:, :-1]
    east, north = ways[..., 0], ways[..., 1]
    moves = east * east + north * north >= least_m * least_m
    turn = np.zeros(moves.shape)
    both = moves[:, 1:] & moves[:, :-1]
    cross = east[:, :-1] * north[:, 1:] - north[:, :-1] * east[:, 1:]
    along = east[:, :-1] * east[:, 1:] + north[:, :-1] * north[:, 1:]
    turn[:, 1:][both] = np.arctan2(cross[both], along[both])
    yaw = yaw_rad[:, None] + np.cumsum(turn, axis=1)
    return wrapped(yaw)
