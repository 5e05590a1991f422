"""Paths of all tracks in one pass of compiled code: the motion that goes on, blended with learned offsets, and headings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from percept_ros.core.path_features import Reals
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, Bool

LEAST_M = 0.05
"""Shorter steps of a path do not turn it."""


def blended_paths(
    boxes: F64,
    velocity_mps: F64,
    yaw_rate_radps: F64,
    straight_mps: F64,
    own: Bool,
    learned_m: Reals,
    share: F64,
    steps: int,
    step_s: float,
) -> F64:
    """(N, steps, 3) x, y, yaw in [-pi, pi) at step_s, 2 step_s, ...

    boxes: (N, 7). velocity_mps: (N, 2) and yaw_rate_radps: (N,), the tracker's motion, where ``own`` (N,); elsewhere
    straight_mps (N, 2) goes on. learned_m: (N, >= steps, 2) offsets from here, of which ``share`` (N,) in [0, 1] is used.
    Yaw is the tracker's, turned with its own motion, or as the path turns.
    """
    count = len(boxes)
    learned: F32 = np.ascontiguousarray(np.swapaxes(learned_m[:, :steps], 1, 2), np.float32)
    paths: F64 = np.empty((count, steps, 3))
    arrays = [np.ascontiguousarray(a, np.float64) for a in (boxes, velocity_mps, yaw_rate_radps, straight_mps)]
    flags, part = np.ascontiguousarray(own, np.uint8), np.ascontiguousarray(share, np.float64)
    if learned.shape != (count, 2, steps):
        raise ValueError(f"learned paths are {learned_m.shape}, expected ({count}, at least {steps}, 2)")
    addresses = [*map(pointer, arrays), pointer(flags), pointer(part), pointer(learned)]
    code = _kernel()(*addresses, count, steps, steps, step_s, LEAST_M, pointer(paths))
    if code < 0:
        raise ValueError(f"paths of {count} tracks, {steps} steps of {step_s} s refused ({code})")
    return paths


@cache
def _kernel() -> Callable[..., Any]:
    address, size, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    return bind("percept_paths", [*[address] * 7, size, size, size, real, real, address])
