"""What a figure usually is at this time of day: seasonal-trend decomposition (STL) of the last week.

The week is averaged to half-hour bins, decomposed, and read back at any time: level of the trend at its end, the season
of the day, and the robust spread of what is left.
Source: R. Cleveland et al., STL: A Seasonal-Trend Decomposition Procedure Based on Loess (1990); statsmodels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.types import F64

DAY_S = 86_400.0
_BINS = 48
_LEAST_DAYS = 4
_SIGMA_OF_MAD = 1.4826
_PARABOLA = np.array([-21, 14, 39, 54, 59, 54, 39, 14, -21]) / 231.0
_CYCLES = 15
"""Seasonal window in days: longer than the data, so that the season is nearly their average."""


@dataclass(frozen=True, slots=True)
class Seasonal:
    """A fitted baseline. level: trend at its end. season: (bins,) by time of day, from midnight. sigma: of one interval."""

    level: float
    season: tuple[float, ...]
    sigma: float

    def expected(self, at_s: float) -> float:
        """Value expected in the interval whose middle is ``at_s`` (seconds of the time of day's clock)."""
        return self.level + float(_season_at(np.array([at_s]), np.array(self.season))[0])


def fit_seasonal(
    times_s: Sequence[float],
    values: Sequence[float],
    usual: Sequence[int],
    trend_days: float,
    before: Seasonal | None = None,
    fresh: float = 1.0,
) -> Seasonal | None:
    """Decompose a window; None when it covers less than four days.

    before, fresh: the season of an earlier fit keeps the share 1 - ``fresh``, so that the season remembers more days than
    the window holds.
    times_s: ascending. values: one an interval. usual: 0 for values that stand in for others; they do not count for sigma.
    """
    times, figures = np.asarray(times_s, np.float64), np.asarray(values, np.float64)
    bins = _bin_means(times, figures)
    if bins is None:
        return None
    first, means = bins
    trend, season = _decompose(means, trend_days)
    slots = first + np.arange(len(means))
    profile = _smooth(np.array([season[slots % _BINS == k].mean() for k in range(_BINS)]))
    if before is not None:
        profile = fresh * profile + (1.0 - fresh) * np.array(before.season)
    middles = (slots + 0.5) * DAY_S / _BINS
    left = figures - np.interp(times, middles, trend) - _season_at(times, profile)
    left = left[np.asarray(usual, bool)] if any(usual) else left
    sigma = _SIGMA_OF_MAD * float(np.median(np.abs(left - np.median(left))))
    return Seasonal(float(trend[-1]), tuple(profile.tolist()), max(sigma, 1e-9, 1e-6 * abs(float(trend[-1]))))


def _bin_means(times: F64, values: F64) -> tuple[int, F64] | None:
    """First bin and (bins,) means; bins without data take the mean of their time of day, or of their neighbours."""
    if not len(times):
        return None
    index = np.floor(times * _BINS / DAY_S).astype(np.int64)
    first, count = int(index[0]), int(index[-1] - index[0] + 1)
    if count < _LEAST_DAYS * _BINS:
        return None
    number = np.bincount(index - first, minlength=count)
    total = np.bincount(index - first, weights=values, minlength=count)
    means: F64 = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    empty = np.flatnonzero(number == 0)
    for slot in empty:
        same_time = means[slot % _BINS :: _BINS]
        known = same_time[np.isfinite(same_time)]
        means[slot] = known.mean() if len(known) else np.nan
    known_slots = np.flatnonzero(np.isfinite(means))
    return first, np.interp(np.arange(count), known_slots, means[known_slots])


def _decompose(means: F64, trend_days: float) -> tuple[F64, F64]:
    from statsmodels.tsa.seasonal import STL

    trend = int(trend_days * _BINS) | 1
    trend = max(trend, _BINS + 1 + _BINS % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = STL(
            means,
            period=_BINS,
            seasonal=_CYCLES,
            seasonal_deg=0,
            trend=trend,
            seasonal_jump=2,
            trend_jump=8,
            low_pass_jump=6,
        ).fit()
    return np.asarray(fitted.trend, np.float64), np.asarray(fitted.seasonal, np.float64)


def _smooth(profile: F64) -> F64:
    """Local parabolas over 4.5 hours (Savitzky and Golay, 9 points, order 2), circular along the day."""
    return np.asarray(sum(w * np.roll(profile, k) for k, w in zip(range(-4, 5), _PARABOLA, strict=True)), np.float64)


def _season_at(times: F64, profile: F64) -> F64:
    """Season at the given times, between the middles of bins (circular)."""
    width = DAY_S / len(profile)
    at = (times % DAY_S) / width - 0.5
    low = np.floor(at).astype(np.int64)
    part = at - low
    count = len(profile)
    mixed: F64 = profile[low % count] * (1.0 - part) + profile[(low + 1) % count] * part
    return mixed
