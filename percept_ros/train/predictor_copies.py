"""Copies of trajectories to learn from: of another size, another pace, and as a noisier sensor would have seen them.

A network that saw one noise regime loses to a straight line in another; copies show it several, and their second differences
tell it which one it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from percept_ros.evaluate.prediction_data import Trajectory
from percept_ros.types import F64


def scaled(trajectories: Sequence[Trajectory], scales: Sequence[float]) -> list[Trajectory]:
    """Copies ``scales`` times as large (and fast)."""
    found = []
    for scale in scales:
        for t in trajectories:
            velocity = None if t.velocity_mps is None else scale * t.velocity_mps
            found.append(Trajectory(t.sequence, t.start, t.group, scale * t.measured, scale * t.truth, velocity))
    return found


def paced(trajectories: Sequence[Trajectory], paces: Sequence[float]) -> list[Trajectory]:
    """Copies that go along the same way ``paces`` times as fast: every pace-th step of the original, straight between steps."""
    found = []
    for pace in paces:
        for t in trajectories:
            at = np.arange(0.0, len(t.truth) - 1 + 1e-9, pace)
            if len(at) >= 2:
                velocity = None if t.velocity_mps is None else pace * _between(t.velocity_mps, at)
                places = (_between(t.measured, at), _between(t.truth, at))
                found.append(Trajectory(t.sequence, int(t.start / pace), t.group, *places, velocity))
    return found


def _between(values: F64, at: F64) -> F64:
    """(M, 2) of values (L, 2) at fractional rows (M,)."""
    rows = np.arange(len(values))
    return np.stack([np.interp(at, rows, column) for column in values.T], axis=1)


def noisy(
    trajectories: Sequence[Trajectory], noises_m: tuple[float, float], rng: np.random.Generator
) -> list[Trajectory]:
    """Copies whose measured positions carry white noise; a sigma for each, its logarithm even between the two noises."""
    least, most = np.log(noises_m).tolist()
    sigmas = np.exp(rng.uniform(least, most, len(trajectories)))
    return [
        Trajectory(
            t.sequence, t.start, t.group, t.measured + s * rng.normal(size=t.measured.shape), t.truth, t.velocity_mps
        )
        for t, s in zip(trajectories, sigmas, strict=True)
    ]
