"""The atomic operations of a ring slot (kernels/percept_ring.h) and the counters of a ring end."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

from percept_ros.native import bind


@dataclass(slots=True)
class RingCounters:
    """What happened in a ring end. Readers: read, overwritten (before use), torn (during use), gone, invalid,
    unheard (written, but no handle of it came before that of a later one)."""

    written: int = 0
    grown: int = 0
    read: int = 0
    overwritten: int = 0
    torn: int = 0
    gone: int = 0
    invalid: int = 0
    unheard: int = 0


@dataclass(frozen=True, slots=True)
class RingKernel:
    """Bound functions; each releases the GIL."""

    load: Any
    begin: Any
    commit: Any
    write: Any
    valid: Any
    read: Any
    alike: Any


@cache
def ring_kernel() -> RingKernel:
    """The functions, bound once. Raises SetupError when the kernels are not built."""
    address, u64, i64 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64
    return RingKernel(
        bind("percept_ring_load", [address], u64),
        bind("percept_ring_begin", [address, u64, address]),
        bind("percept_ring_commit", [address, u64, address]),
        bind("percept_ring_write", [address, u64, u64, address, address, i64, i64, i64, address], i64),
        bind("percept_ring_valid", [address, u64]),
        bind("percept_ring_read", [address, u64, u64, address, address, u64], i64),
        bind("percept_ring_alike", [address, u64, address]),
    )
