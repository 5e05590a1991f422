"""What is known of how a track moved: its last displacements, and how noisy they are.

A window holds the last W displacements of a track, newest last, one a step of the model's clock, metres. At birth it is
filled with the first displacement, so it never holds gaps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from percept_ros.types import F64, I64, Bool, ObjectClass

Reals = npt.NDArray[np.floating]

GROUPS = ("car", "pedestrian", "bicycle")
"""Groups of classes that move alike: vehicles; people (and unknown); riders."""
VEHICLE, PEDESTRIAN, RIDER = range(3)
_GROUP_OF = {
    ObjectClass.UNKNOWN: PEDESTRIAN,
    ObjectClass.PEDESTRIAN: PEDESTRIAN,
    ObjectClass.BICYCLE: RIDER,
    ObjectClass.MOTORCYCLE: RIDER,
}
GROUP_OF_CLASS = np.array([_GROUP_OF.get(c, VEHICLE) for c in ObjectClass], np.int64)
"""(C,) group of each ``ObjectClass``."""


def one_hot(groups: I64, count: int = len(GROUPS)) -> F64:
    """(N, G) float64 rows with a one at each group."""
    return np.eye(count)[groups]


AGE_SHARES = (0.25, 0.5, 1.0)
"""Ages at which a window counts as young, half full, nearly full; from the last on it is full. Shares of its width."""


def age_stages(ages: Reals | I64, width: int) -> I64:
    """(N,) stage of windows of these ages (displacements seen): 0 = young to ``len(AGE_SHARES)`` = full."""
    edges = np.array(AGE_SHARES) * width
    return np.asarray((np.asarray(ages)[:, None] >= edges).sum(axis=1), np.int64)


def push(windows: Reals, displacement_m: Reals, fresh: Bool) -> Reals:
    """(N, W, 2) windows with the newest displacement (N, 2) appended; rows that are ``fresh`` (N,) are filled with it."""
    moved = np.concatenate([windows[:, 1:], displacement_m[:, None]], axis=1)
    return np.where(fresh[:, None, None], displacement_m[:, None], moved)


def windows_of(displacements_m: Reals, width: int) -> Reals:
    """(N, L, width, 2) window after each of the L displacements (N, L, 2) of tracks born at the first."""
    filled = np.concatenate([np.repeat(displacements_m[:, :1], width - 1, axis=1), displacements_m], axis=1)
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(filled, width, axis=1), 3, 2)


def jitter(windows: Reals, ages: Reals | None = None) -> F64:
    """(N,) noise of each track, metres: median size of the second differences of its displacements, as one sigma.

    ages: (N,) displacements really seen, None = all; 0 for tracks too young to tell. White position noise of sigma s an
    axis gives second differences of displacements of sqrt(20) s an axis.
    """
    width = windows.shape[1]
    second = windows[:, 2:] - 2.0 * windows[:, 1:-1] + windows[:, :-2]
    size = np.sqrt((second * second).sum(axis=2))
    if ages is None:
        middle = np.median(size, axis=1)
    else:
        known = np.clip(np.asarray(ages).astype(np.int64) - 2, 0, width - 2)
        size[np.arange(width - 2) < (width - 2 - known)[:, None]] = np.inf
        place = np.maximum(known - 1, 0) // 2
        middle = np.where(known > 0, np.sort(size, axis=1)[np.arange(len(size)), place], 0.0)
    return np.asarray(middle / (np.sqrt(20.0) * 1.1774), np.float64)


def mean_velocity(windows: Reals, steps: int) -> Reals:
    """(N, 2) mean displacement a step over the newest ``steps``."""
    return np.asarray(windows[:, -min(steps, windows.shape[1]) :].mean(axis=1))


def path_powers(horizon: int, terms: int) -> F64:
    """(terms, horizon) share of the horizon at each step, to the power 1, 2, ..."""
    share = np.arange(1.0, horizon + 1) / horizon
    return np.stack([share**power for power in range(1, terms + 1)])


def straight(displacement_m: Reals, steps: int) -> F64:
    """(N, steps, 2) offsets from now when each step is ``displacement_m`` (N, 2)."""
    return np.asarray(displacement_m[:, None] * np.arange(1.0, steps + 1)[:, None], np.float64)
