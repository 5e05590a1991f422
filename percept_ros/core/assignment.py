"""Optimal assignment on the kernel that the tracker uses (scipy.optimize would cost a second of every cold start)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from percept_ros.native import bind, pointer
from percept_ros.types import F64, I64


def best_assignment(gain: F64) -> tuple[I64, I64]:
    """Rows and columns of the assignment of (N, M) ``gain`` with the largest sum; min(N, M) pairs, rows ascending.

    Raises ValueError when a gain is not finite.
    """
    if not np.isfinite(gain).all():
        raise ValueError("gains must be finite")
    cost = np.ascontiguousarray(-gain, np.float64)
    column_of = np.full(cost.shape[0], -1, np.int64)
    if cost.size:
        _kernel()(pointer(cost), *cost.shape, float(np.inf), pointer(column_of))
    rows = np.flatnonzero(column_of >= 0)
    return rows.astype(np.int64), column_of[rows]


@cache
def _kernel() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_tracking_assign", [address, size, size, ctypes.c_double, address])
