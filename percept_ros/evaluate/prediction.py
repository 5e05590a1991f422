"""Metrics of predicted paths against where the objects went.

ADE: mean distance over the path; FDE: distance at its end; miss: share of paths whose end is over ``MISS_M`` off.
All are means over cases. Moving: the object got on by at least ``MOVING_MPS`` on average, past and future together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.types import F64, Bool

MISS_M = 2.0
MOVING_MPS = 0.5
WITHIN_ONE, WITHIN_TWO = 1.0 - np.exp(-0.5), 1.0 - np.exp(-2.0)
"""Share of isotropic normal errors in the plane inside one and two sigma."""


def distances(paths_m: Reals, truth_m: Reals) -> F64:
    """(N, T) distance at each step between paths and truth, both (N, T, 2); NaN where there is no truth."""
    off = np.asarray(paths_m, np.float64) - truth_m
    return np.hypot(off[..., 0], off[..., 1])


def moves(past_m: Reals, future_m: Reals, step_s: float) -> Bool:
    """(N,) whether each object gets on between its first known and its last true position."""
    way = future_m[:, -1] - past_m[:, 0]
    seconds = step_s * (past_m.shape[1] + future_m.shape[1] - 1)
    return np.asarray(np.hypot(way[:, 0], way[:, 1]) >= MOVING_MPS * seconds)


def ade(distance_m: F64) -> float:
    """Mean over cases of the mean distance over the path (N, T)."""
    return float(np.mean(distance_m)) if distance_m.size else float("nan")


def fde(distance_m: F64) -> float:
    """Mean over cases of the distance at the end of the path."""
    return float(np.mean(distance_m[:, -1])) if distance_m.size else float("nan")


def min_ade(distance_m: F64) -> float:
    """Mean over cases of the least ADE of several paths, from distances (N, K, T)."""
    return float(distance_m.mean(axis=2).min(axis=1).mean()) if distance_m.size else float("nan")


def miss_rate(distance_m: F64, miss_m: float = MISS_M) -> float:
    """Share of cases whose path ends more than ``miss_m`` off."""
    return float(np.mean(distance_m[:, -1] > miss_m)) if distance_m.size else float("nan")


def calibration(distance_m: F64, sigma_m: Reals) -> dict[str, float]:
    """Shares of errors inside one and two sigma, with what a calibrated sigma gives."""
    ratio = distance_m / np.maximum(sigma_m, 1e-9)
    return {
        "inside_1_sigma": float(np.mean(ratio <= 1.0)),
        "expected_1_sigma": float(WITHIN_ONE),
        "inside_2_sigma": float(np.mean(ratio <= 2.0)),
        "expected_2_sigma": float(WITHIN_TWO),
    }


def by_horizon(distance_m: F64, step_s: float) -> dict[str, float]:
    """Mean distance at each whole second of the path."""
    seconds = range(1, int(distance_m.shape[1] * step_s + 1e-6) + 1)
    at = {s: round(s / step_s) - 1 for s in seconds}
    return {f"{s}s": float(distance_m[:, i].mean()) for s, i in at.items() if i < distance_m.shape[1]}


def ratio(value: float, base: float) -> float:
    """``value`` over ``base``; NaN when there is nothing to compare with."""
    return value / base if base > 0 else float("nan")


def compare(errors: Mapping[str, F64], moving: Bool, step_s: float) -> dict[str, Any]:
    """Figures of the model ("model" in ``errors``, each (N, T)) and of every baseline beside it.

    minADE_K: the best of model, constant velocity and turn rate in each case.
    """
    model = errors["model"]
    found: dict[str, Any] = {
        "cases": len(model),
        "ADE": ade(model),
        "FDE": fde(model),
        "miss_rate": miss_rate(model),
        "horizon": by_horizon(model, step_s),
    }
    if several := [errors[name] for name in ("model", "cv", "ctrv") if name in errors]:
        found[f"minADE_{len(several)}"] = min_ade(np.stack(several, axis=1))
    for name, error in errors.items():
        if name != "model":
            found |= {f"{name}_ADE": ade(error), f"{name}_FDE": fde(error), f"{name}_miss_rate": miss_rate(error)}
    for name in ("cv", "ridge"):
        if name in errors:
            found[f"ratio_to_{name}"] = ratio(found["ADE"], found[f"{name}_ADE"])
            found[f"FDE_ratio_to_{name}"] = ratio(found["FDE"], found[f"{name}_FDE"])
    for name, rows in (("moving", moving), ("parked", ~moving)):
        part: dict[str, Any] = {"cases": int(rows.sum())}
        if rows.any():
            for key, error in errors.items():
                prefix = "" if key == "model" else f"{key}_"
                part |= {f"{prefix}ADE": ade(error[rows]), f"{prefix}FDE": fde(error[rows])}
        found[name] = part
    return found
