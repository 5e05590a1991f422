"""Engine that follows a script: delays, faults, fixed or recorded outputs. For tests, drills and replays of a recorded model."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from percept_ros.errors import (
    ArtefactRefused,
    ConfigError,
    DeadlineExceeded,
    EngineClosed,
    InferenceError,
)
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.manifest import Tensor
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import Availability
from percept_ros.inference.tensors import check_finite, check_inputs, check_specs, warm_inputs
from percept_ros.settings import parse, setting

FAULTS = ("none", "error", "nan", "mismatch", "hang", "crash", "leak")
LEAK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ScriptedStep:
    """What one call does.

    delay_s: how long it takes. fault: ``error`` raises InferenceError, ``nan`` fills the outputs, ``mismatch`` answers
    with a wrong shape, ``hang`` never answers (until the deadline or close), ``crash`` aborts the process, ``leak``
    keeps 1 MB. outputs: arrays by name; those not given are zeros.
    """

    delay_s: float = setting(0.0, "time the call takes", low=0.0, high=3600.0)
    fault: str = setting("none", "fault that is played", choices=FAULTS)
    outputs: Mapping[str, npt.NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    delay_s: float = setting(0.0, "time the call takes", low=0.0, high=3600.0)
    fault: str = setting("none", "fault that is played", choices=FAULTS)


@dataclass(frozen=True, slots=True)
class Script:
    """A script file: tensors, steps, and a .npz beside it whose arrays (F, ...) are the outputs of call i % F."""

    inputs: tuple[Tensor, ...] = setting((), "input tensors")
    outputs: tuple[Tensor, ...] = setting((), "output tensors")
    steps: tuple[_Step, ...] = setting((), "what each call does; empty = answer at once")
    repeat: str = setting("cycle", "after the last step: start again, or stay", choices=("cycle", "last"))
    recording: str = setting("", "file of recorded outputs")


class ScriptedEngine:
    """See ``InferenceEngine`` for life, threads and ownership."""

    def __init__(self, file: Path, options: EngineOptions | None = None) -> None:
        self._file: Path | None = file
        self._options = options or EngineOptions()
        self._inputs: tuple[TensorSpec, ...] = ()
        self._outputs: tuple[TensorSpec, ...] = ()
        self._steps: tuple[ScriptedStep, ...] = (ScriptedStep(),)
        self._recorded: dict[str, npt.NDArray[Any]] = {}
        self._cycle = True
        self._name = f"scripted:{file.name}"
        self._closed = threading.Event()
        self._closed.set()
        self._leaked: list[bytearray] = []
        self.calls = 0

    @classmethod
    def of(
        cls,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        steps: Sequence[ScriptedStep] = (),
        *,
        repeat: str = "cycle",
        name: str = "scripted",
        options: EngineOptions | None = None,
    ) -> ScriptedEngine:
        """An engine from a script in memory; ``repeat`` is ``cycle`` or ``last``."""
        engine = cls(Path(name), options)
        engine._file, engine._name = None, name
        engine._inputs, engine._outputs = tuple(inputs), tuple(outputs)
        engine._steps = tuple(steps) or (ScriptedStep(),)
        engine._cycle = repeat == "cycle"
        return engine

    @property
    def name(self) -> str:
        """``scripted:`` and the file, or the given name."""
        return self._name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        return self._outputs

    def load(self) -> None:
        """Read the script. Raises ArtefactRefused."""
        if self._file is not None:
            self._read(self._file)
        check_specs("input", self._inputs, self._options.expect_inputs, self._name)
        check_specs("output", self._outputs, self._options.expect_outputs, self._name)
        self.calls = 0
        self._closed.clear()

    def warm_up(self) -> None:
        """Check that the script answers zeros of the usual shape; plays no step."""
        for inputs in warm_inputs(self._inputs, self._options.profiles):
            check_inputs(self._inputs, inputs)

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Play the next step; see ``InferenceEngine.infer``."""
        if self._closed.is_set():
            raise EngineClosed(f"{self._name} is not loaded")
        check_inputs(self._inputs, inputs)
        index, self.calls = self.calls, self.calls + 1
        step = self._step(index)
        self._spend(step, deadline_ns)
        outputs = self._answer(step, index, inputs)
        if self._options.check_finite:
            check_finite(outputs, self._name)
        return outputs

    def close(self) -> None:
        """End a hanging call and free everything."""
        self._closed.set()
        self._recorded.clear()
        self._leaked.clear()

    def _read(self, file: Path) -> None:
        try:
            script = parse(Script, yaml.safe_load(file.read_text(encoding="utf-8")))
            recorded = np.load(file.with_name(script.recording)) if script.recording else {}
            self._recorded = {name: recorded[name] for name in recorded}
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ConfigError, ValueError) as exc:
            raise ArtefactRefused(f"script '{file}' cannot be used: {exc}") from exc
        self._inputs = tuple(t.spec for t in script.inputs)
        self._outputs = tuple(t.spec for t in script.outputs)
        self._steps = tuple(ScriptedStep(s.delay_s, s.fault) for s in script.steps) or (ScriptedStep(),)
        self._cycle = script.repeat == "cycle"

    def _step(self, index: int) -> ScriptedStep:
        last = len(self._steps) - 1
        return self._steps[index % (last + 1) if self._cycle else min(index, last)]

    def _spend(self, step: ScriptedStep, deadline_ns: int | None) -> None:
        left_s = float("inf") if deadline_ns is None else (deadline_ns - time.monotonic_ns()) * 1e-9
        delay_s = float("inf") if step.fault == "hang" else step.delay_s
        wait_s = min(delay_s, max(left_s, 0.0))
        if wait_s > 0.0 and self._closed.wait(None if wait_s == float("inf") else wait_s):
            raise EngineClosed(f"{self._name} was closed during a call")
        if delay_s > left_s or left_s <= 0.0:
            raise DeadlineExceeded(f"{self._name} was cut off at its deadline")

    def _answer(self, step: ScriptedStep, index: int, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        if step.fault == "crash":
            os.abort()
        if step.fault == "error":
            raise InferenceError(f"{self._name} plays a fault at call {index}")
        if step.fault == "leak":
            self._leaked.append(bytearray(LEAK_BYTES))
        sizes = {d for a in inputs.values() for d in a.shape[:1]}
        batch = max(sizes, default=1)
        outputs = {spec.name: self._output(spec, step, index, batch) for spec in self._outputs}
        if step.fault == "nan":
            return {n: np.full_like(a, np.nan) if a.dtype.kind == "f" else a for n, a in outputs.items()}
        if step.fault == "mismatch":
            return {n: a.reshape(-1)[:-1] for n, a in outputs.items()}
        return outputs

    def _output(self, spec: TensorSpec, step: ScriptedStep, index: int, batch: int) -> npt.NDArray[Any]:
        if step.outputs is not None and spec.name in step.outputs:
            return step.outputs[spec.name]
        if (frames := self._recorded.get(spec.name)) is not None:
            return np.ascontiguousarray(frames[index % len(frames)])
        return np.zeros(tuple(batch if d == -1 else d for d in spec.shape), spec.dtype)


def availability() -> Availability:
    """Scripts run everywhere."""
    return Availability(True)
