"""The geometric back end: clusters of a LiDAR sweep by a compiled kernel, no weights."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import DeadlineExceeded, EngineClosed, InferenceError, TensorMismatch
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.native import bind, pointer
from percept_ros.settings import setting

COLUMNS = 19
"""Columns of one cluster, see PerceptClusterColumn in kernels/percept_cluster.h."""

_F32 = np.dtype(np.float32)
_INPUTS = (TensorSpec("points", (-1, -1), _F32), TensorSpec("base_SE3_lidar", (4, 4), np.dtype(np.float64)))
_OUTPUTS = (TensorSpec("clusters", (-1, COLUMNS), _F32),)
_LABELS = TensorSpec("labels", (-1,), np.dtype(np.int32))


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Ground removal and clustering; the fields of PerceptClusterConfig."""

    min_range_m: float = setting(1.8, "nearer returns are ignored", low=0.01, high=100.0)
    max_range_m: float = setting(75.0, "farther returns are ignored", low=1.0, high=200.0)
    ground_prior_m: float = setting(
        0.7, "the road lies at most this far from height 0 near the vehicle", low=0.05, high=3
    )
    ground_slope: float = setting(0.15, "largest slope of the ground, rise over run", low=0.0, high=1.0)
    ground_clearance_m: float = setting(0.2, "lower returns are ground", low=0.05, high=1.0)
    max_height_m: float = setting(4.6, "higher returns are ignored", low=1.0, high=10.0)
    core_height_m: float = setting(2.0, "only lower returns join to clusters", low=0.5, high=5.0)
    tall_m: float = setting(2.2, "cells with returns above this are tall, others low", low=0.5, high=10.0)
    mixed_length_m: float = setting(6.5, "longer clusters are parted into low and tall cells", low=1.0, high=1000.0)
    cell_m: float = setting(0.2, "edge of a bird's-eye cell", low=0.05, high=1.0)
    join_near_m: float = setting(0.35, "cells this close join at range 0", low=0.05, high=3.0)
    join_per_m: float = setting(0.01, "more for each metre of range", low=0.0, high=0.1)
    join_far_m: float = setting(0.9, "but at most this", low=0.05, high=3.0)
    split_length_m: float = setting(20.0, "longer clusters are taken apart again", low=1.0, high=100.0)
    min_points: int = setting(5, "smaller clusters are dropped", low=1, high=1000)


class _Native(ctypes.Structure):
    _fields_ = tuple(
        (item.name, ctypes.c_int32 if item.name == "min_points" else ctypes.c_float) for item in fields(ClusterConfig)
    )


class ClusterEngine:
    """InferenceEngine over the clustering kernel.

    Inputs: ``points`` (P, 3 or more) float32, x y z first, metres, sensor frame (rows may be strided, non-finite rows
    are skipped); ``base_SE3_lidar`` (4, 4) float64. Output: ``clusters`` (N, 19) float32, nearest first, base frame;
    with ``labels=True`` also ``labels`` (P,) int32: cluster of each point, -1 none, -2 ground. Deterministic.
    """

    def __init__(self, config: ClusterConfig | None = None, *, max_clusters: int = 1024, labels: bool = False) -> None:
        self._config = config or ClusterConfig()
        self._labels = labels
        self._max_clusters = max_clusters
        self._kernel: Callable[..., int] | None = None
        self._clusters = np.zeros((0, COLUMNS), np.float32)

    @property
    def name(self) -> str:
        return "cluster:cpu"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return _INPUTS

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (*_OUTPUTS, _LABELS) if self._labels else _OUTPUTS

    def load(self) -> None:
        """Bind the kernel. Raises SetupError when it is not built."""
        pointers: list[Any] = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
        self._kernel = bind("percept_cluster", [*pointers, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p])
        self._native = _Native(*(getattr(self._config, item.name) for item in fields(ClusterConfig)))
        self._clusters = np.zeros((self._max_clusters, COLUMNS), np.float32)

    def warm_up(self) -> None:
        """Run once on an empty sweep."""
        self.infer({"points": np.zeros((0, 3), np.float32), "base_SE3_lidar": np.eye(4)})

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Cluster one sweep. Raises EngineClosed, TensorMismatch, DeadlineExceeded (only before it starts)."""
        if self._kernel is None:
            raise EngineClosed("cluster engine used before load or after close")
        if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
            raise DeadlineExceeded("cluster engine called after its deadline")
        points, stride = _rows(_take(inputs, _INPUTS[0]))
        pose = np.ascontiguousarray(_take(inputs, _INPUTS[1]))
        labels = np.empty(len(points), np.int32) if self._labels else None
        found = self._kernel(
            points.ctypes.data,
            len(points),
            stride,
            pointer(pose),
            ctypes.addressof(self._native),
            pointer(self._clusters),
            self._max_clusters,
            None if labels is None else pointer(labels),
        )
        if found < 0:
            raise InferenceError("cluster kernel refused its arguments: check ClusterConfig and base_SE3_lidar")
        outputs = {"clusters": self._clusters[:found]}
        return outputs if labels is None else {**outputs, "labels": labels}

    def close(self) -> None:
        """Let the kernel go."""
        self._kernel = None


def _take(inputs: Tensors, spec: TensorSpec) -> npt.NDArray[Any]:
    if spec.name not in inputs:
        raise TensorMismatch(f"tensor '{spec.name}' is missing, got {', '.join(inputs) or 'nothing'}")
    spec.check(inputs[spec.name])
    return inputs[spec.name]


def _rows(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], int]:
    """Points and the distance of two rows in floats; copied only when x y z of a row are not adjacent."""
    if points.shape[1] < 3:
        raise TensorMismatch(f"tensor 'points' has {points.shape[1]} columns, expected x y z first")
    row, column = points.strides
    if column == 4 and row % 4 == 0 and row >= 12:
        return points, row // 4
    packed = np.ascontiguousarray(points[:, :3])
    return packed, 3
