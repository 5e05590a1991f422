"""Engine over ONNX Runtime.

One thread inside an operator and no spinning by default: at sensor rate, spinning threads burn cores for nothing.
Inputs are bound where they lie, outputs to pooled buffers; a call is cut off at its deadline.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineClosed, EngineUnavailable, InferenceError
from percept_ros.inference import watchdog
from percept_ros.inference.buffers import PooledTensor, shared_pool
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.onnx_checks import check_model
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import Availability
from percept_ros.inference.tensors import check_finite, check_inputs, check_specs, warm_inputs

PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}

Symbols = tuple[Any, ...]  # dimensions of a tensor as the graph gives them: numbers, or names of dynamic ones


class OnnxEngine:
    """One ONNX file in one session. See ``InferenceEngine`` for life, threads and ownership."""

    def __init__(self, file: Path, options: EngineOptions | None = None) -> None:
        self._file = file
        self._options = options or EngineOptions()
        self._pool = self._options.pool or shared_pool()
        self._session: Any = None
        self._runtime: Any = None
        self._inputs: tuple[TensorSpec, ...] = ()
        self._outputs: tuple[TensorSpec, ...] = ()
        self._symbols: dict[str, Symbols] = {}
        self._held: list[PooledTensor] = []
        self._name = "onnxruntime"

    @property
    def name(self) -> str:
        """``onnxruntime:`` and the provider that really runs."""
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
        """Check the file and open a session. Raises ArtefactRefused or EngineUnavailable."""
        self.close()
        self._runtime = _import()
        check_model(self._file)
        session = self._open()
        self._inputs = tuple(_spec(node, self._file) for node in session.get_inputs())
        self._outputs = tuple(_spec(node, self._file) for node in session.get_outputs())
        check_specs("input", self._inputs, self._options.expect_inputs, self._file.name)
        check_specs("output", self._outputs, self._options.expect_outputs, self._file.name)
        self._symbols = {n.name: tuple(n.shape) for n in (*session.get_inputs(), *session.get_outputs())}
        self._name = f"onnxruntime:{session.get_providers()[0]}"
        self._session = session

    def warm_up(self) -> None:
        """Run on zeros of each profile's usual shape."""
        for inputs in warm_inputs(self._inputs, self._options.profiles):
            self._run(inputs, None)

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Run once; see ``InferenceEngine.infer``."""
        if self._session is None:
            raise EngineClosed(f"{self._name} of '{self._file.name}' is not loaded")
        check_inputs(self._inputs, inputs)
        outputs = self._run(inputs, deadline_ns)
        if self._options.check_finite:
            check_finite(outputs, self._name)
        return outputs

    def close(self) -> None:
        """Free the session and the outputs."""
        self._session = None
        self._release()

    def _open(self) -> Any:
        ort, wanted = self._runtime, self._providers()
        try:
            session = ort.InferenceSession(str(self._file), self._session_options(), providers=wanted)
        except Exception as exc:  # onnxruntime raises nothing narrower than its own classes, all bare Exceptions
            raise ArtefactRefused(f"ONNX Runtime refuses '{self._file}': {_first_line(exc)}") from exc
        return session

    def _providers(self) -> list[Any]:
        installed = self._runtime.get_available_providers()
        wanted = self._options.providers or tuple(p for p in PREFERRED if p in installed)
        usable: list[Any] = [_with_device(p, self._options.device) for p in wanted if p in installed]
        if not usable:
            asked, have = ", ".join(wanted), ", ".join(installed)
            raise EngineUnavailable(f"ONNX Runtime has none of the providers {asked}; installed are {have}")
        return usable

    def _session_options(self) -> Any:
        ort = self._runtime
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4  # errors come back as exceptions
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        for library in self._options.plugins:
            try:
                options.register_custom_ops_library(str(library))
            except Exception as exc:
                raise ArtefactRefused(f"custom operators '{library}' are refused: {_first_line(exc)}") from exc
        return options

    def _run(self, inputs: Tensors, deadline_ns: int | None) -> dict[str, npt.NDArray[Any]]:
        self._release()
        binding = self._session.io_binding()
        keep = [self._bind_input(binding, spec, inputs[spec.name]) for spec in self._inputs]
        sizes = _sizes(self._symbols, inputs)
        bound = {spec.name: self._bind_output(binding, spec, sizes) for spec in self._outputs}
        self._call(binding, deadline_ns)
        del keep
        if None in bound.values():
            allocated = binding.copy_outputs_to_cpu()
            return {s.name: allocated[i] for i, s in enumerate(self._outputs)}
        return {name: tensor.array for name, tensor in bound.items() if tensor is not None}

    def _bind_input(self, binding: Any, spec: TensorSpec, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not array.flags.c_contiguous:
            copy = self._take(array.shape, array.dtype)
            np.copyto(copy.array, array)
            array = copy.array
        binding.bind_input(spec.name, "cpu", 0, spec.dtype, array.shape, array.ctypes.data)
        return array

    def _bind_output(self, binding: Any, spec: TensorSpec, sizes: dict[str, int]) -> PooledTensor | None:
        shape = _resolved(self._symbols[spec.name], sizes)
        if shape is None or 0 in shape:  # the data decide its size: the run-time allocates it
            binding.bind_output(spec.name, "cpu")
            return None
        tensor = self._take(shape, spec.dtype)
        binding.bind_output(spec.name, "cpu", 0, spec.dtype, shape, tensor.array.ctypes.data)
        return tensor

    def _call(self, binding: Any, deadline_ns: int | None) -> None:
        run_options = self._runtime.RunOptions()
        if deadline_ns is None:
            self._guarded(binding, run_options)
            return
        if time.monotonic_ns() >= deadline_ns:
            raise DeadlineExceeded(f"deadline of {self._name} had passed before the call")
        alarm = watchdog.arm(deadline_ns, lambda: setattr(run_options, "terminate", True))
        try:
            self._guarded(binding, run_options)
        except InferenceError as exc:
            if alarm.disarm():
                raise DeadlineExceeded(f"{self._name} of '{self._file.name}' was cut off at its deadline") from exc
            raise
        finally:
            alarm.disarm()
        if (late_ns := time.monotonic_ns() - deadline_ns) > 0:
            raise DeadlineExceeded(f"{self._name} of '{self._file.name}' ended {late_ns * 1e-6:.1f} ms late")

    def _guarded(self, binding: Any, run_options: Any) -> None:
        try:
            self._session.run_with_iobinding(binding, run_options)
        except Exception as exc:
            raise InferenceError(f"{self._name} failed on '{self._file.name}': {_first_line(exc)}") from exc

    def _take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> PooledTensor:
        tensor = self._pool.take(shape, dtype)
        self._held.append(tensor)
        return tensor

    def _release(self) -> None:
        for tensor in self._held:
            tensor.release()
        self._held.clear()


def availability() -> Availability:
    """Whether ONNX Runtime is installed, and its providers."""
    try:
        ort = _import()
    except EngineUnavailable as exc:
        return Availability(False, str(exc))
    providers = [p for p in PREFERRED if p in ort.get_available_providers()]
    return Availability(True, "", f"onnxruntime {ort.__version__}: {', '.join(providers)}")


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise EngineUnavailable("onnxruntime is not installed: pip install onnxruntime") from exc
    return onnxruntime


def _with_device(provider: str, device: int) -> Any:
    return (provider, {"device_id": str(device)}) if provider.startswith("CUDA") else provider


def _spec(node: Any, file: Path) -> TensorSpec:
    if node.type not in DTYPES:
        raise ArtefactRefused(f"tensor '{node.name}' of '{file}' is {node.type}, which is not supported")
    shape = tuple(d if isinstance(d, int) else -1 for d in node.shape)
    return TensorSpec(node.name, shape, np.dtype(DTYPES[node.type]))


def _sizes(symbols: dict[str, Symbols], inputs: Tensors) -> dict[str, int]:
    """Size of each named dimension, from the inputs."""
    return {
        dim: size
        for name, array in inputs.items()
        for dim, size in zip(symbols[name], array.shape, strict=True)
        if isinstance(dim, str)
    }


def _resolved(symbols: Symbols, sizes: dict[str, int]) -> tuple[int, ...] | None:
    """Shape of an output, or None where a dimension is not one of the inputs'."""
    shape = [d if isinstance(d, int) else sizes.get(d) for d in symbols]
    return None if any(d is None for d in shape) else tuple(d for d in shape if d is not None)


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
