"""Tracks that drive in circles, and an engine around the shipped path network that can be made to fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from percept_ros.errors import InferenceError
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec
from percept_ros.inference.manifest import Manifest
from percept_ros.inference.model import open_model
from percept_ros.types import F64, I64, NUM_CLASSES, U8, ObjectClass, Tracks

MODEL = Path(__file__).parents[2] / "models" / "predictor_sim"
STEP_NS = 100_000_000
CLASSES = (ObjectClass.CAR, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE)


class Breakable:
    """Satisfies InferenceEngine: the shipped network, or the error that ``fault`` holds."""

    def __init__(self, engine: InferenceEngine) -> None:
        self._engine = engine
        self.fault: InferenceError | None = None
        self.calls, self.deadline_ns = 0, 0

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.outputs

    def load(self) -> None:
        self._engine.load()

    def warm_up(self) -> None:
        self._engine.warm_up()

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        self.calls, self.deadline_ns = self.calls + 1, deadline_ns or 0
        if self.fault is not None:
            raise self.fault
        found: Mapping[str, np.ndarray] = self._engine.infer(inputs)
        return found

    def close(self) -> None:
        self._engine.close()


def breakable(folder: Path) -> tuple[Manifest, Breakable]:
    """An opener of model folders."""
    manifest, engine = open_model(folder)
    return manifest, Breakable(engine)


def make_ids(count: int, seed: int = 0) -> U8:
    """(N, 16) ids."""
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def circling(step: int, ids: U8, classes: I64 | None = None) -> Tracks:
    """Tracks at ``step`` tenths of a second: each on a circle of its own, at its class's speed."""
    count = len(ids)
    kinds = np.array(CLASSES)[np.arange(count) % 3] if classes is None else classes
    speed = np.array([8.0, 1.4, 4.0])[np.arange(count) % 3]
    rate = 0.15 + 0.02 * (ids[:, 0] % 5)
    angle = rate * 0.1 * step + ids[:, 1] / 40.0
    radius = speed / rate
    boxes = np.zeros((count, 7))
    boxes[:, 0], boxes[:, 1] = radius * np.sin(angle) + ids[:, 2], -radius * np.cos(angle) + ids[:, 3]
    boxes[:, 6] = np.arctan2(np.sin(angle), np.cos(angle))
    velocity: F64 = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    covariance = np.tile(0.05 * np.eye(6), (count, 1, 1))
    return Tracks(
        (step + 1) * STEP_NS,
        "odom",
        ids,
        np.ones(count, np.uint8),
        np.eye(NUM_CLASSES)[kinds],
        np.full(count, 0.9),
        boxes,
        velocity,
        np.zeros((count, 2)),
        rate,
        covariance,
        covariance,
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.ones(count, np.uint32),
        np.zeros(count, np.bool_),
    )
