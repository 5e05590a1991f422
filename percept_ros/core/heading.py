"""Which end of a car is its front: heights along its length, judged by a small network.

A detector's bird's-eye cells see a car as a handful of heights and often turn it around, most of all when only its front or
its back faces the LiDAR. The points in the box say more: a bonnet is lower and longer than a boot, a windscreen returns
little. The judge gives a car and the same car turned around one score each; their difference is the log-odds that the heading
is right, so that turning the box turns the verdict.
"""

from __future__ import annotations

import ctypes
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np

from percept_ros.errors import InputError
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64

BINS = 20
FEATURES = 4 * BINS + 7
_TURNED_SIGNS = slice(4 * BINS, 4 * BINS + 2)
LEAST_POINTS = 15
"""Cars with fewer points are not judged."""


@functools.cache
def _kernel() -> Callable[..., int]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_heading_profiles", [address, size, size, address, address, size, address, address])


def profiles(points: F32, boxes: F64, base_SE3_sensor: F64 | None = None) -> tuple[F64, I64]:
    """(N, FEATURES) what the points say of each (N, 7) box of the base frame, and (N,) how many lie in it.

    points: (P, 3) in the sensor's frame. Columns: kernels/percept_heading.h. Raises InputError for non-finite boxes.
    """
    if points.dtype != np.float32 or (len(points) and points.strides[1] != 4):
        points = np.ascontiguousarray(points, np.float32)
    pose = np.ascontiguousarray(np.eye(4) if base_SE3_sensor is None else base_SE3_sensor, np.float64)
    rows = np.ascontiguousarray(boxes, np.float64)
    features, inside = np.zeros((len(rows), FEATURES)), np.zeros(len(rows), np.int64)
    stride = points.strides[0] if len(points) else 12
    code = _kernel()(
        points.ctypes.data,
        len(points),
        stride,
        pointer(pose),
        pointer(rows),
        len(rows),
        pointer(features),
        pointer(inside),
    )
    if code < 0:
        raise InputError("heading: boxes must be finite", "box")
    return features, inside


def turned(features: F64) -> F64:
    """The features of the same cars with their boxes turned around."""
    back = features.copy()
    along = back[:, : 4 * BINS].reshape(-1, 4, BINS)
    along[...] = features[:, : 4 * BINS].reshape(-1, 4, BINS)[..., ::-1]
    back[:, _TURNED_SIGNS] *= -1.0
    return back


@dataclass(frozen=True, slots=True)
class HeadingJudge:
    """layers: weights (out, in) and biases (out,) of the network; ReLU between them, one number at its end.

    threshold: log-odds under which a detector's heading is turned around. It lies below 0, for the detector is usually right.
    """

    layers: tuple[tuple[F64, F64], ...]
    threshold: float

    def log_odds(self, points: F32, boxes: F64, base_SE3_sensor: F64 | None = None) -> F64:
        """(N,) log-odds that the yaw of each (N, 7) box is right and not backwards; 0 with too few points."""
        features, inside = profiles(points, boxes, base_SE3_sensor)
        found: F64 = np.where(inside >= LEAST_POINTS, self._score(features) - self._score(turned(features)), 0.0)
        return found

    def turn(self, points: F32, boxes: F64, base_SE3_sensor: F64 | None = None) -> F64:
        """(N, 7) boxes, those with a heading that is most probably backwards turned around."""
        if not len(boxes):
            return boxes
        wrong = self.log_odds(points, boxes, base_SE3_sensor) < self.threshold
        right = boxes.copy()
        right[:, 6] = np.where(wrong, np.mod(boxes[:, 6] + 2.0 * np.pi, 2.0 * np.pi) - np.pi, boxes[:, 6])
        return right

    def _score(self, features: F64) -> F64:
        values = features
        for weights, biases in self.layers[:-1]:
            values = np.maximum(values @ weights.T + biases, 0.0)
        weights, biases = self.layers[-1]
        score: F64 = (values @ weights.T + biases)[:, 0]
        return score

    def pack(self) -> bytes:
        """As ``read_heading_judge`` reads it: an .npz."""
        arrays: dict[str, Any] = {"threshold": np.float64(self.threshold)}
        for i, (weights, biases) in enumerate(self.layers):
            arrays[f"w{i}"], arrays[f"b{i}"] = weights.astype(np.float32), biases.astype(np.float32)
        out = io.BytesIO()
        np.savez(out, **arrays)
        return out.getvalue()


def read_heading_judge(raw: bytes) -> HeadingJudge:
    """The judge in the bytes of an .npz. Raises InputError when they hold none."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            count = sum(name.startswith("w") for name in stored.files)
            layers = tuple(
                (stored[f"w{i}"].astype(np.float64), stored[f"b{i}"].astype(np.float64)) for i in range(count)
            )
            threshold = float(stored["threshold"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as exc:
        raise InputError(f"no heading judge: {exc}", "heading") from exc
    sizes = [FEATURES, *(len(biases) for _, biases in layers)]
    if not layers or sizes[-1] != 1 or not _fits(layers, sizes):
        raise InputError(f"no heading judge: layers of {sizes[1:]} numbers over {FEATURES} features", "heading")
    return HeadingJudge(layers, threshold)


def _fits(layers: Sequence[tuple[F64, F64]], sizes: Sequence[int]) -> bool:
    shapes = all(w.shape == (sizes[i + 1], sizes[i]) and b.shape == (sizes[i + 1],) for i, (w, b) in enumerate(layers))
    return shapes and all(np.isfinite(w).all() and np.isfinite(b).all() for w, b in layers)
