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

    def __len__(self) -> int:
        return self._count

    def add(self, value: float) -> None:
        """Take in one value; the oldest goes when the window is full."""
        self._values[self._next] = value
        self._next = (self._next + 1) % len(self._values)
        self._count = min(self._count + 1, len(self._values))

    @property
    def values(self) -> F64:
        """(count,) the values, in no order; a view."""
        return self._values[: self._count]

    def median(self) -> float:
        """Middle value; NaN for an empty window."""
        return float(np.median(self.values)) if self._count else float("nan")

    def mean(self) -> float:
        """Mean; NaN for an empty window."""
        return float(self.values.mean()) if self._count else float("nan")

    def clear(self) -> None:
        """Forget all."""
        self._next = self._count = 0


class Baseline:
    """A short window (now) against a long one (usual). The usual follows slowly, so a new scene becomes usual in time.

    floor: least spread that counts, in the unit of the values. least: values before anything is judged.
    """

    def __init__(self, usual: int, now: int, floor: float, least: int = 30) -> None:
        self._usual, self._now = Window(usual), Window(now)
        self._floor, self._least = floor, least

    def add(self, value: float) -> float:
        """Take in one value; returns the robust z of the present (0 until enough is known)."""
        self._now.add(value)
        z = self.z
        self._usual.add(value)
        return z

    @property
    def z(self) -> float:
        """How many usual spreads the present median lies from the usual one, at least 0."""
        if len(self._usual) < self._least:
            return 0.0
        usual = self._usual.median()
        spread = _SIGMA_OF_MAD * float(np.median(np.abs(self._usual.values - usual)))
        return abs(self._now.median() - usual) / max(spread, self._floor)

    def clear(self) -> None:
        """Forget all."""
        self._usual.clear()
        self._now.clear()


def grade(value: float, limit: float) -> float:
    """1 up to ``limit``, falling to 0 at twice the limit."""
    return min(1.0, max(0.0, 2.0 - value / limit))
