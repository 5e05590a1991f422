"""The one protocol that every engine satisfies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from percept_ros.errors import TensorMismatch

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one tensor. A dimension of -1 is dynamic."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def check(self, array: npt.NDArray[Any]) -> None:
        """Raise TensorMismatch unless ``array`` fits."""
        fits = len(array.shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != self.dtype:
            raise TensorMismatch(
                f"tensor '{self.name}' is {array.dtype}{list(array.shape)}, expected {self.dtype}{list(self.shape)}"
                " (-1 = any)"
            )


@runtime_checkable
class InferenceEngine(Protocol):
    """Runs one artefact of one model.

    Life: construct (cheap, no vendor import) -> ``load`` -> ``warm_up`` -> ``infer``... -> ``close``.
    Threads: all calls come from one thread at a time; ``close`` may be called twice; ``infer`` before ``load`` or after
    ``close`` raises EngineClosed. Ownership: inputs are borrowed for the call; outputs belong to the engine and stay
    valid until its next ``infer`` or ``close``: copy what must live longer.
    Errors: every vendor error is mapped to the tree in errors.py with ``raise ... from exc``.
    """

    @property
    def name(self) -> str:
        """Back end and device that really run, for example ``onnxruntime:CPUExecutionProvider``."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        ...

    def load(self) -> None:
        """Open the artefact. Raises ArtefactRefused or EngineUnavailable."""
        ...

    def warm_up(self) -> None:
        """Run once on zeros of each profile's usual shape, so that the first frame is not slow."""
        ...

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Run once. ``deadline_ns`` is on ``time.monotonic_ns``'s clock; past it DeadlineExceeded is raised."""
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...
