"""What every expert foretells of all tracks, and how far off it was: the gate's book-keeping in compiled passes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.path_gate import EXPERTS, SPANS, SkillGate
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
def _experts() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_experts", [*[address] * 10, *[size] * 5, ctypes.c_double, *[address] * 3])


@cache
def _judge() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    found = [*[address] * 3, size, address, address, size, address, size, size, address, size, size, ctypes.c_double]
    return bind("percept_path_judge", [*found, *[address] * 4])


@cache
def _spread() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_spread", [*[address] * 5, size, size, size, ctypes.c_double, address])
