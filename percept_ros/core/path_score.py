"""What every expert foretells of all tracks, and how far off it was: the gate's book-keeping in compiled passes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.path_features import GROUPS
from percept_ros.core.path_gate import EXPERTS, SPANS
from percept_ros.core.track_rows import U64, TrackRows
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64

LEAST_SIGMA_M = 1e-3
_SPANS = np.array(SPANS, np.int64)


@dataclass(frozen=True, slots=True)
class Foretold:
    """straight_mps: (E - 1, N, 2) of the straight experts. said_m: (M, E, N, 2) positions after each time, by every expert.

    familiar: (N,) share in [0, 1], see ``core.path_gate.familiarity``.
    """

    straight_mps: F64
    said_m: F64
    familiar: F64


def foretold(
    window: F32,
    age: F32,
    groups: I64,
    boxes: F64,
    velocity_mps: F64,
    turn_radps: F64,
    learned_m: F32,
    times_s: F64,
    limits: F64,
    step_s: float,
) -> Foretold:
    """Where every expert sees tracks after ``times_s`` (M,).

    window: (N, 2, W) displacements a step, newest last. age: (N, 1) displacements seen. boxes: (N, 7). velocity_mps: (N, 2) and
    turn_radps: (N,), the tracker's own motion. learned_m: (N, M, 2) offsets of the network. limits: (3, G) of ``limits_of``.
    """
    count, marks = len(groups), len(times_s)
    found = Foretold(np.empty((len(EXPERTS) - 1, count, 2)), np.empty((marks, len(EXPERTS), count, 2)), np.empty(count))
    floats = [np.ascontiguousarray(a, np.float32) for a in (window, age)]
    reals = [np.ascontiguousarray(a, np.float64) for a in (boxes, velocity_mps, turn_radps, times_s, limits)]
    kinds, learned = np.ascontiguousarray(groups, np.int64), np.ascontiguousarray(learned_m, np.float32)
    if window.shape[:2] != (count, 2) or age.size != count or learned.shape != (count, marks, 2) or len(boxes) != count:
        raise ValueError(f"{count} tracks, but windows {window.shape}, ages {age.shape}, learned {learned.shape}")
    given: list[npt.NDArray[Any]] = [*floats, kinds, *reals[:3], learned, reals[3], _SPANS, reals[4]]
    code = _experts()(
        *map(pointer, given),
        *(count, window.shape[2], marks, len(SPANS), limits.shape[1], step_s),
        *map(pointer, (found.straight_mps, found.said_m, found.familiar)),
    )
    if code < 0:
        raise ValueError(f"what is foretold of {count} tracks was refused ({code})")
    return found


@dataclass(frozen=True, slots=True)
class Score:
    """Of judged positions: count (G,); errors, errors over the usual expert's, and the squares of these, each (E, G)."""

    count: F64
    sums_m: F64
    over_m: F64
    squares_m2: F64


def score(keys: U64, groups: I64, said_m: F64, here: TrackRows, position_m: F64, usual: I64) -> Score:
    """How far off positions said_m (E, N, 2) foretold of tracks ``keys`` were, now that they are at position_m (N', 2).

    here: rows of position_m. usual: (G,) expert that the others are compared with. Tracks that are gone do not count.
    """
    experts, kinds = len(said_m), len(GROUPS)
    found = Score(np.zeros(kinds), *np.zeros((3, experts, kinds)))
    arrays = (keys, np.ascontiguousarray(groups, np.int64), np.ascontiguousarray(said_m, np.float64))
    place, base = np.ascontiguousarray(position_m, np.float64), np.ascontiguousarray(usual, np.int64)
    if said_m.shape != (experts, len(keys), 2) or len(groups) != len(keys) or place.shape != (len(here.keys), 2):
        raise ValueError(
            f"promises {said_m.shape} of {len(keys)} tracks, {place.shape} positions, {len(here.keys)} rows"
        )
    code = _judge()(
        *map(pointer, arrays),
        len(keys),
        *map(pointer, (here.sorted, here.order)),
        len(here.keys),
        pointer(place),
        len(place),
        pointer(base),
        experts,
        kinds,
        *map(pointer, (found.count, found.sums_m, found.over_m, found.squares_m2)),
    )
    if code < 0:
        raise ValueError(f"promises of {len(keys)} tracks were refused ({code})")
    return found


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
def _experts() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_experts", [*[address] * 10, *[size] * 5, ctypes.c_double, *[address] * 3])


@cache
def _judge() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    kinds = [*[address] * 3, size, address, address, size, address, size, address, size, size, *[address] * 4]
    return bind("percept_path_judge", kinds)


@cache
def _spread() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_spread", [*[address] * 5, size, size, size, ctypes.c_double, address])
