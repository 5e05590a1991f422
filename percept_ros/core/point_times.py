"""Per-point times of a sweep: which unit they are in, and what they count from.

Drivers agree on neither, so both are decided from the values, by these rules in this order:

  unit   1. Values of 1e9 and more in a FLOAT64 field are times of day: 1e9.. s, 1e12.. ms, 1e15.. us, 1e18.. ns.
         2. With ``MIN_SPAN_POINTS`` points or more, the unit is the one in which the sweep lasts 1 ms to 1 s:
            span >= 1e6: ns, >= 1e3: us, > 1: ms, else s (whole numbers are never s or ms).
         3. Else by type: whole numbers are ns, floating ones s.
  zero   1. A mid-sweep time within 1 s of zero counts from the cloud's stamp.
         2. One within 1 s of the cloud's stamp is of the same clock as the stamp.
         3. Any other is of another clock: its earliest time is taken to be the cloud's stamp.

FLOAT32 values of 1e9 and more resolve no sweep, and times more than ``MAX_SWEEP_S`` apart are none of one: such are ignored.
"""

from __future__ import annotations

import numpy as np

from percept_ros.types import F32, F64

MIN_SPAN_POINTS = 64
MAX_SWEEP_S = 10.0
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_EPOCHS = ((1e18, "ns"), (1e15, "us"), (1e12, "ms"), (1e9, "s"))
_NEAR_S = 1.0
_FLOAT32, _FLOAT64 = 7, 8


def unit_of(low: float, high: float, datatype: int, points: int) -> str | None:
    """ "s", "ms", "us" or "ns" of times from ``low`` to ``high``; None = these times cannot be used.

    datatype: sensor_msgs/PointField datatype. points: number of points the extent was taken over.
    """
    if not np.isfinite(low) or not np.isfinite(high):
        return None
    whole = datatype not in (_FLOAT32, _FLOAT64)
    if not whole and high >= 1e9:
        return next(unit for start, unit in _EPOCHS if high >= start) if datatype == _FLOAT64 else None
    if points >= MIN_SPAN_POINTS and high > low:
        return _unit_by_span(high - low, whole)
    return "ns" if whole else "s"


def _unit_by_span(span: float, whole: bool) -> str:
    if span >= 1e6:
        return "ns"
    if span >= 1e3:
        return "us"
    if whole:
        return "ns"
    return "ms" if span > 1.0 else "s"


def is_one_sweep(low: float, high: float, unit: str) -> bool:
    """Whether times from ``low`` to ``high`` are finite and no farther apart than a sweep can last."""
    return (high - low) * SECONDS[unit] <= MAX_SWEEP_S


def offsets_s(times: F64, low: float, high: float, unit: str, stamp_ns: int) -> F32:
    """(P,) float32 seconds after ``stamp_ns`` of (P,) raw times in ``unit`` that range from ``low`` to ``high``.

    A point without a finite time is taken to be at the stamp. ``times`` is used as working memory.
    """
    scale = SECONDS[unit]
    middle_s = 0.5 * (low + high) * scale
    if abs(middle_s) <= _NEAR_S:
        zero = 0.0
    elif abs(middle_s - stamp_ns * 1e-9) <= _NEAR_S:
        zero = stamp_ns * (1e-9 / scale)
    else:
        zero = low
    np.subtract(times, zero, out=times)
    np.multiply(times, scale, out=times)
    offsets = times.astype(np.float32)
    if not np.isfinite(np.add.reduce(offsets, dtype=np.float64)):
        offsets[~np.isfinite(offsets)] = 0.0
    return offsets
