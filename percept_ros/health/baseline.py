"""Drifting baselines: what a figure usually is, and how far the present lies from it, robustly.

Source: B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers (1993): z by median and median absolute deviation.
"""

from __future__ import annotations

import numpy as np

from percept_ros.types import F64

_SIGMA_OF_MAD = 1.4826


class Window:
    """The last ``size`` values, in a buffer made once."""

    def __init__(self, size: int) -> None:
        self._values = np.zeros(size)
        self._next = self._count = 0
        self._median: float | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, value: float) -> None:
        """Take in one value; the oldest goes when the window is full."""
        self._values[self._next] = value
        self._next = (self._next + 1) % len(self._values)
        self._count = min(self._count + 1, len(self._values))
        self._median = None

    @property
    def values(self) -> F64:
        """(count,) the values, in no order; a view."""
        return self._values[: self._count]

    def median(self) -> float:
        """Middle value; NaN for an empty window."""
        if self._median is None:
            self._median = _middle(self.values)
        return self._median

    def mean(self) -> float:
        """Mean; NaN for an empty window."""
        return float(self.values.mean()) if self._count else float("nan")

    def clear(self) -> None:
        """Forget all."""
        self._next = self._count = 0
        self._median = None


class Baseline:
    """A short window (now) against a long one (usual). The usual follows slowly, so a new scene becomes usual in time.

    floor: least spread that counts, in the unit of the values. least: values before anything is judged.
    """

    def __init__(self, usual: int, now: int, floor: float, least: int = 30) -> None:
        self._usual, self._now = Window(usual), Window(now)
        self._floor, self._least = floor, least
        self._z: float | None = None

    def add(self, value: float) -> float:
        """Take in one value; returns the robust z of the present (0 until enough is known)."""
        self._now.add(value)
        self._z = None
        z = self.z
        self._usual.add(value)
        self._z = None
        return z

    @property
    def z(self) -> float:
        """How many usual spreads the present median lies from the usual one, at least 0."""
        if self._z is None:
            self._z = self._robust_z() if len(self._usual) >= self._least else 0.0
        return self._z

    def _robust_z(self) -> float:
        usual = self._usual.median()
        spread = _SIGMA_OF_MAD * _middle(np.abs(self._usual.values - usual))
        return abs(self._now.median() - usual) / max(spread, self._floor)

    def clear(self) -> None:
        """Forget all."""
        self._usual.clear()
        self._now.clear()
        self._z = None


def _middle(values: F64) -> float:
    """Median; NaN of nothing or of what holds a NaN. (np.median takes ten times as long on so few.)"""
    ordered, half = np.sort(values), len(values) // 2
    if not len(ordered) or ordered[-1] != ordered[-1]:
        return float("nan")
    return float(ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half]))


def grade(value: float, limit: float) -> float:
    """1 up to ``limit``, falling to 0 at twice the limit."""
    return min(1.0, max(0.0, 2.0 - value / limit))
