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


def push(windows: Reals, displacement_m: Reals, fresh: Bool) -> Reals:
    """(N, W, 2) windows with the newest displacement (N, 2) appended; rows that are ``fresh`` (N,) are filled with it."""
    moved = np.concatenate([windows[:, 1:], displacement_m[:, None]], axis=1)
    return np.where(fresh[:, None, None], displacement_m[:, None], moved)


def windows_of(displacements_m: Reals, width: int) -> Reals:
    """(N, L, width, 2) window after each of the L displacements (N, L, 2) of tracks born at the first."""
    filled = np.concatenate([np.repeat(displacements_m[:, :1], width - 1, axis=1), displacements_m], axis=1)
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(filled, width, axis=1), 3, 2)


def jitter(windows: Reals) -> F64:
    """(N,) noise of each track, metres: median size of the second differences of its displacements, as one sigma.

    White position noise of sigma s an axis gives second differences of displacements of sqrt(20) s an axis.
    """
    second = np.diff(windows, n=2, axis=1)
    size = np.hypot(second[..., 0], second[..., 1])
    return np.asarray(np.median(size, axis=1) / (np.sqrt(20.0) * 1.1774), np.float64)


def mean_velocity(windows: Reals, steps: int) -> Reals:
    """(N, 2) mean displacement a step over the newest ``steps``."""
    return np.asarray(windows[:, -min(steps, windows.shape[1]) :].mean(axis=1))


def straight(displacement_m: Reals, steps: int) -> F64:
    """(N, steps, 2) offsets from now when each step is ``displacement_m`` (N, 2)."""
    return np.asarray(displacement_m[:, None] * np.arange(1.0, steps + 1)[:, None], np.float64)
