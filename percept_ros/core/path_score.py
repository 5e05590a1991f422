"""How far off what was foretold of all tracks turned out to be, and how sure paths are, in compiled passes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from percept_ros.core.path_gate import SkillGate
from percept_ros.core.track_rows import U64, TrackRows
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64

LEAST_SIGMA_M = 1e-3


def judge(gate: SkillGate, mark: int, keys: U64, groups: I64, said_m: F64, here: TrackRows, place_m: F64) -> None:
    """Tell the gate how far off positions said_m (E, N, 2) foretold of tracks ``keys`` were, now that they are at place_m.

    mark: index into ``MARKS``. here: rows of place_m (N', >= 2), x and y first. Tracks that are gone do not count.
    """
    record = gate.record(mark)
    experts, kinds = record.sums_m.shape
    if said_m.shape != (experts, len(keys), 2) or len(groups) != len(keys) or len(place_m) != len(here.keys):
        raise ValueError(
            f"promises {said_m.shape} of {len(keys)} tracks, {place_m.shape} positions, {len(here.keys)} rows"
        )
    given = (keys, np.ascontiguousarray(groups, np.int64), np.ascontiguousarray(said_m, np.float64))
    place = np.ascontiguousarray(place_m, np.float64)
    code = _judge()(
        *map(pointer, given),
        len(keys),
        *map(pointer, (here.sorted, here.order)),
        len(here.keys),
        pointer(place),
        place.shape[1],
        len(place),
        pointer(gate.usual),
        experts,
        kinds,
        gate.memory,
        *map(pointer, (record.count, record.sums_m, record.over_m, record.squares_m2)),
    )
    if code < 0:
        raise ValueError(f"promises of {len(keys)} tracks were refused ({code})")


def spread(sigma_m: F32, share: F64, position_m2: F64, speed_m2ps2: F64, times_s: F64) -> F64:
    """(N, T) one sigma along paths: the network's (N, >= T) where its share is half or more, else the tracker's own growing."""
    count, steps = len(share), len(times_s)
    sigma: F32 = np.ascontiguousarray(sigma_m, np.float32)
    if len(sigma) != count or sigma.shape[1] < steps:
        raise ValueError(f"sigma is {sigma_m.shape}, expected ({count}, at least {steps})")
    found: F64 = np.empty((count, steps))
    arrays = [np.ascontiguousarray(a, np.float64) for a in (share, position_m2, speed_m2ps2, times_s)]
    code = _spread()(pointer(sigma), *map(pointer, arrays), count, steps, sigma.shape[1], LEAST_SIGMA_M, pointer(found))
    if code < 0:
        raise ValueError(f"sigma of {count} paths of {steps} steps was refused ({code})")
    return found


@cache
def _judge() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    found = [*[address] * 3, size, address, address, size, address, size, size, address, size, size, ctypes.c_double]
    return bind("percept_path_judge", [*found, *[address] * 4])


@cache
def _spread() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_spread", [*[address] * 5, size, size, size, ctypes.c_double, address])
