"""Engine in a shared object behind the C interface of kernels/percept_engine.h.

The object runs in this process, so it is tried in a child process first: a crash or a hang on zeros refuses it. ctypes
releases the GIL during calls. Inputs are read and outputs written in place.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineClosed, InferenceError, TensorMismatch
from percept_ros.inference import kernel_abi as abi
from percept_ros.inference.buffers import PooledTensor, shared_pool
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import Availability
from percept_ros.inference.tensors import check_finite, check_inputs, check_specs, usual_shapes, warm_inputs

TRIAL_TIMEOUT_S = 20.0


class KernelEngine:
    """See ``InferenceEngine`` for life, threads and ownership.

    Deadline: the engine gets the time left as its budget; a C function that ignores it cannot be cut off, its late
    answer is refused. ``plugins`` of the options are not used.
    """

    def __init__(self, file: Path, options: EngineOptions | None = None) -> None:
        self._file = file.absolute()
        self._options = options or EngineOptions()
        self._pool = self._options.pool or shared_pool()
        self._engine: Any = None
        self._inputs: tuple[TensorSpec, ...] = ()
        self._outputs: tuple[TensorSpec, ...] = ()
        self._held: list[PooledTensor] = []

    @property
    def name(self) -> str:
        """``kernel:`` and the file."""
        return f"kernel:{self._file.name}"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        return self._outputs

    def load(self) -> None:
        """Try the object in a child process, then open it here. Raises ArtefactRefused."""
        self.close()
        self._try()
        try:
            engine = abi.create(abi.open_library(str(self._file)), str(self._file.parent))
            self._engine = engine
            made = engine.contents
            self._inputs = _specs(abi.describe(made.input_count, made.inputs))
            self._outputs = _specs(abi.describe(made.output_count, made.outputs))
        except abi.KernelRefused as exc:
            raise ArtefactRefused(f"kernel '{self._file}' {exc}") from exc

    def warm_up(self) -> None:
        """Run on zeros of each profile's usual shape; an engine may refuse zeros."""
        for inputs in warm_inputs(self._inputs, self._options.profiles):
            self._run(inputs, None)

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Run once; see ``InferenceEngine.infer``."""
        if self._engine is None:
            raise EngineClosed(f"{self.name} is not loaded")
        check_inputs(self._inputs, inputs)
        outputs = self._run(inputs, deadline_ns)
        if self._options.check_finite:
            check_finite(outputs, self.name)
        return outputs

    def close(self) -> None:
        """Destroy the engine and free the outputs. The object stays mapped until the process ends."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.contents.destroy(engine)
        self._release()

    def _try(self) -> None:
        shapes = {}
        if self._options.profiles:
            shapes = usual_shapes(self._options.expect_inputs, self._options.profiles[0])
        found = try_in_child(self._file, shapes)
        inputs, outputs = _specs(found["inputs"]), _specs(found["outputs"])
        check_specs("input", inputs, self._options.expect_inputs, self._file.name)
        check_specs("output", outputs, self._options.expect_outputs, self._file.name)

    def _run(self, inputs: Tensors, deadline_ns: int | None) -> dict[str, npt.NDArray[Any]]:
        budget_ns = 0 if deadline_ns is None else deadline_ns - time.monotonic_ns()
        if deadline_ns is not None and budget_ns <= 0:
            raise DeadlineExceeded(f"deadline of {self.name} had passed before the call")
        self._release()
        arrays = [np.ascontiguousarray(inputs[spec.name]) for spec in self._inputs]
        given = _tensors(arrays)
        results = self._make_outputs(given)
        made = _tensors([tensor.array for tensor in results])
        self._check(self._engine.contents.run(self._engine, given, made, budget_ns))
        if deadline_ns is not None and (late_ns := time.monotonic_ns() - deadline_ns) > 0:
            raise DeadlineExceeded(f"{self.name} ended {late_ns * 1e-6:.1f} ms late")
        return {
            spec.name: self._trimmed(spec, tensor.array, abi.shape_of(c))
            for spec, tensor, c in zip(self._outputs, results, made, strict=True)
        }

    def _make_outputs(self, given: Any) -> list[PooledTensor]:
        shapes = [spec.shape for spec in self._outputs]
        if (ask := self._engine.contents.output_shapes) and any(-1 in shape for shape in shapes):
            bounds = (abi.CTensor * len(shapes))()
            for tensor, spec in zip(bounds, self._outputs, strict=True):
                abi.fill(tensor, None, 0, str(spec.dtype), spec.shape)
            self._check(ask(self._engine, given, bounds))
            shapes = [abi.shape_of(tensor) for tensor in bounds]
        if any(d < 0 for shape in shapes for d in shape):
            raise InferenceError(f"{self.name} does not say the shape of its outputs: {shapes}")
        for spec, shape in zip(self._outputs, shapes, strict=True):
            self._held.append(self._pool.take(shape, spec.dtype))
        return self._held

    def _trimmed(self, spec: TensorSpec, array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        fits = len(shape) == array.ndim and math.prod(shape) <= array.size and min(shape, default=0) >= 0
        if not fits or shape[1:] != array.shape[1:]:
            raise InferenceError(f"{self.name} left output '{spec.name}' with shape {shape} of {array.shape}")
        return array[: shape[0]] if shape else array

    def _check(self, status: int) -> None:
        if status == abi.OK:
            return
        if status == abi.LATE:
            raise DeadlineExceeded(f"{self.name} stopped at its deadline")
        text = (self._engine.contents.error(self._engine) or b"no reason given").decode(errors="replace")
        kind = TensorMismatch if status == abi.BAD_INPUT else InferenceError
        raise kind(f"{self.name} failed with status {status}: {text}")

    def _release(self) -> None:
        for tensor in self._held:
            tensor.release()
        self._held.clear()


def try_in_child(file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """What an engine says of itself in a child process. Raises ArtefactRefused when it is wrong, crashes or hangs."""
    if not file.is_file():
        raise ArtefactRefused(f"kernel '{file}' does not exist")
    command = [sys.executable, "-I", "-S", abi.__file__, str(file), str(file.parent), json.dumps(shapes)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        said = exc.stdout.decode(errors="replace") if isinstance(exc.stdout, bytes) else (exc.stdout or "")
        raise ArtefactRefused(
            f"kernel '{file}' hangs in {_stage(said)} (tried {TRIAL_TIMEOUT_S:g} s in a child)"
        ) from exc
    last = (done.stdout.splitlines() or [""])[-1]
    if done.returncode != 0 or not last.startswith("{"):
        how = _ending(done.returncode)
        raise ArtefactRefused(f"kernel '{file}' {how} in {_stage(done.stdout)}: tried in a child process, not opened")
    answer: dict[str, Any] = json.loads(last)
    if "refused" in answer:
        raise ArtefactRefused(f"kernel '{file}' {answer['refused']}")
    return answer


def availability() -> Availability:
    """Shared objects open everywhere."""
    return Availability(True)


def _tensors(arrays: list[npt.NDArray[Any]]) -> Any:
    made = (abi.CTensor * len(arrays))()
    for tensor, array in zip(made, arrays, strict=True):
        abi.fill(tensor, array.ctypes.data, array.nbytes, str(array.dtype), array.shape)
    return made


def _specs(found: list[abi.Spec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, tuple(shape), np.dtype(dtype)) for name, dtype, shape in found)


def _stage(said: str) -> str:
    stages = [line.removeprefix("stage ") for line in said.splitlines() if line.startswith("stage ")]
    return stages[-1] if stages else "start"


def _ending(code: int) -> str:
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}"
    return f"ended its process with exit status {code}"
