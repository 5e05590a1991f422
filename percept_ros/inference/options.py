"""Options that every engine takes; each back end uses those that concern it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from percept_ros.inference.buffers import TensorPool
from percept_ros.inference.engine import TensorSpec


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Smallest, usual and largest shape of a dynamic input."""

    min: tuple[int, ...] = ()
    usual: tuple[int, ...] = ()
    max: tuple[int, ...] = ()


Profile = Mapping[str, ShapeRange]
"""Input name -> its range of shapes. Inputs that are not named have fixed shapes."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open an artefact.

    threads: threads inside one operator. providers: ONNX Runtime execution providers in order of preference, () = the
    best installed. pool: where outputs live, None = the process-wide pool. plugins: custom-op or plug-in libraries,
    which are executable code. check_finite: raise NonFiniteOutput on NaN or infinity. expect_inputs, expect_outputs:
    tensors that the artefact must have, () = any. profiles: shapes to warm, dynamic axes. device: index of the GPU.
    """

    threads: int = 1
    providers: tuple[str, ...] = ()
    pool: TensorPool | None = None
    plugins: tuple[Path, ...] = ()
    check_finite: bool = True
    expect_inputs: tuple[TensorSpec, ...] = ()
    expect_outputs: tuple[TensorSpec, ...] = ()
    profiles: tuple[Profile, ...] = ()
    device: int = 0
