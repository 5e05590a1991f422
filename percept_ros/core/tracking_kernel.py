"""Binding of the tracker kernel (kernels/percept_tracking.h): structures, output buffers, a thin handle."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from percept_ros.core.existence import FEATURES
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.errors import InputError
from percept_ros.native import bind, pointer
from percept_ros.types import F64, I64, NUM_CLASSES

_P, _I32, _I64, _U64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_uint64

FRAME_POINTERS = (
    "fixed_SE3_base",
    "boxes",
    "scores",
    "class_probs",
    "velocity",
    "sensors",
    "projections",
    "image_size",
    "camera_bits",
    "camera_offsets",
    "boxes2d",
    "scores2d",
    "classes2d",
)


class Frame(ctypes.Structure):
    """``PerceptTrackingFrame``: addresses of one frame's arrays."""

    _fields_ = (
        [("stamp_ns", _I64)] + [(n, _P) for n in FRAME_POINTERS] + [(n, _I32) for n in ("n", "cameras", "measured")]
    )


RANGE_BANDS = ("0-15 m", "15-30 m", "30-50 m", "50 m on")
"""Ranges by which innovations are counted."""

_OUTPUTS: tuple[tuple[str, tuple[int, ...], Any], ...] = (
    ("id", (16,), np.uint8),
    ("state", (), np.uint8),
    ("class_probabilities", (NUM_CLASSES,), np.float64),
    ("existence", (), np.float64),
    ("boxes", (7,), np.float64),
    ("velocity_mps", (2,), np.float64),
    ("acceleration_mps2", (2,), np.float64),
    ("yaw_rate_radps", (), np.float64),
    ("pose_covariance", (6, 6), np.float64),
    ("twist_covariance", (6, 6), np.float64),
    ("age_ns", (), np.int64),
    ("since_measurement_ns", (), np.int64),
    ("sensors", (), np.uint32),
    ("stationary", (), np.bool_),
    ("number", (), np.int64),
)


class _Output(ctypes.Structure):
    _fields_ = [(name, _P) for name, _, _ in _OUTPUTS] + [("capacity", _I32)]


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    return {
        "create": bind("percept_tracker_create", [_P, _I64, _P, _I64, _U64], _P),
        "destroy": bind("percept_tracker_destroy", [_P], None),
        "reset": bind("percept_tracker_reset", [_P], None),
        "step": bind("percept_tracker_step", [_P, _P, _P]),
        "export": bind("percept_tracker_export", [_P, _P, _P, _P, _P, _P, _I32]),
        "save": bind("percept_tracker_save", [_P, _P, _I64], _I64),
        "restore": bind("percept_tracker_restore", [_P, _P, _I64]),
        "consistency": bind("percept_tracker_consistency", [_P, _P]),
        "overlap": bind("percept_tracking_overlap", [_P, _I64, _P, _I64, _I32, _P]),
        "assign": bind("percept_tracking_assign", [_P, _I64, _I64, ctypes.c_double, _P]),
    }


def innovation_table(counts: F64) -> dict[str, Any]:
    """Innovation consistency of one class, from (B, 5) counts (``TrackerKernel.consistency``).

    mean_nis: mean normalised innovation squared a degree of freedom; 1 is honest, less is too cautious. beyond_95: share
    beyond the 95% point of chi-square with 2 degrees of freedom; 0.05 is honest. The same in each range.
    """
    total = _innovation(counts.sum(axis=0))
    return {**total, "by_range": {name: _innovation(row) for name, row in zip(RANGE_BANDS, counts, strict=True)}}


def _innovation(row: F64) -> dict[str, Any]:
    matches, total, freedom, beyond, _ = row.tolist()
    if not matches:
        return {"matches": 0}
    return {"matches": int(matches), "mean_nis": total / freedom, "beyond_95": beyond / matches}


class TrackerKernel:
    """Owns one tracker of the kernel library and its output buffers. Not thread-safe."""

    def __init__(self, parameters: TrackerParameters, model: F64 | None, seed: int) -> None:
        self._call = _functions()
        flat = parameters.flat()
        weights = None if model is None else np.ascontiguousarray(model, np.float64)
        handle = self._call["create"](
            pointer(flat),
            flat.size,
            None if weights is None else pointer(weights),
            0 if weights is None else weights.size,
            seed,
        )
        if not handle:
            raise InputError(f"tracker refused {flat.size} parameters or its existence model", "tracking_parameters")
        self._handle = handle
        self.capacity = parameters.max_tracks
        self.out = {name: np.zeros((self.capacity, *shape), dtype) for name, shape, dtype in _OUTPUTS}
        self._output = _Output(*(pointer(self.out[name]) for name, _, _ in _OUTPUTS), self.capacity)
        self._output_address = ctypes.addressof(self._output)

    def step(self, frame_address: int) -> int:
        """Advance by one frame; returns how many rows of ``out`` hold. Raises InputError for impossible input."""
        count: int = self._call["step"](self._handle, frame_address, self._output_address)
        if count < 0:
            text = "non-finite numbers or boxes without size" if count == -2 else "bad arguments"
            raise InputError(f"tracker refused a frame: {text}", "tracking_input")
        return count

    def reset(self) -> None:
        """Forget all tracks; ids are not used again."""
        self._call["reset"](self._handle)

    def evidence(self) -> tuple[I64, I64, F64, F64, F64]:
        """All live tracks: numbers (N,), classes (N,), features (N, F), boxes (N, 7) in the fixed frame, existence (N,)."""
        n = self.capacity
        numbers, classes, features = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, len(FEATURES)))
        boxes, existence = np.zeros((n, 7)), np.zeros(n)
        arrays = (numbers, classes, features, boxes, existence)
        count = self._call["export"](self._handle, *map(pointer, arrays), n)
        return numbers[:count], classes[:count], features[:count], boxes[:count], existence[:count]

    def save(self) -> bytes:
        """All state as bytes that ``restore`` of the same build reads."""
        need = -int(self._call["save"](self._handle, None, 0))
        out = np.zeros(need, np.uint8)
        self._call["save"](self._handle, pointer(out), need)
        return out.tobytes()

    def restore(self, state: bytes) -> int:
        """Go on with saved tracks; returns how many. Raises InputError, and keeps its own, for bytes that are no sound state."""
        raw = np.frombuffer(state, np.uint8)
        count: int = self._call["restore"](self._handle, pointer(raw), raw.size) if raw.size else -1
        if count < 0:
            text = "numbers that are not finite" if count == -2 else "bytes cut short or of another build"
            raise InputError(f"tracker refused a saved state: {text}", "tracking_state")
        return count

    def consistency(self) -> F64:
        """(C, B, 5) by class and range (``RANGE_BANDS``): matches, sum of squared normalised innovations, degrees of freedom,
        count beyond the 95% point, log likelihood.
        """
        table = np.zeros((NUM_CLASSES, len(RANGE_BANDS), 5))
        self._call["consistency"](self._handle, pointer(table))
        return table

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._call["destroy"](handle)
            self._handle = None
