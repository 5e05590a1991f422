"""A deserialised TensorRT engine with its context, streams and buffers. Everything here belongs to the device's thread."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, EngineUnavailable, InferenceError, TensorMismatch
from percept_ros.inference.cuda import Bytes, Device
from percept_ros.inference.cuda_graph import GraphCache
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.tensorrt_api import make_allocator, make_logger, make_recorder, numpy_dtype

Shape = tuple[int, ...]


@dataclass(slots=True)
class Buffer:
    """Device memory and page-locked memory of one tensor; both grow and never shrink."""

    address: int = 0
    capacity: int = 0
    host: Bytes | None = None

    def view(self, shape: Shape, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The page-locked memory as a tensor."""
        assert self.host is not None
        nbytes = math.prod(shape) * dtype.itemsize
        return self.host[:nbytes].view(dtype).reshape(shape)


def open_session(
    trt: Any, device: Device, plan: bytes, plugins: Iterable[Path], graphs: GraphCache | None, trusted_code: bool
) -> Session:
    """Deserialise ``plan`` on the calling thread, which owns ``device``. Raises ArtefactRefused."""
    logger, recorder = make_logger(trt), make_recorder(trt)
    try:
        runtime = trt.Runtime(logger)
    except TypeError as exc:  # the factory answers null where CUDA cannot start
        raise EngineUnavailable(f"TensorRT {trt.__version__} cannot start here (no CUDA device?): {exc}") from exc
    runtime.error_recorder = recorder
    runtime.engine_host_code_allowed = trusted_code
    for library in plugins:
        if runtime.get_plugin_registry().load_library(str(library)) is None:
            raise ArtefactRefused(f"TensorRT refuses the plug-in library '{library}': {_said(recorder)}")
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactRefused(f"TensorRT {trt.__version__} cannot deserialise the engine: {_said(recorder)}")
    context = engine.create_execution_context()
    if context is None:
        raise ArtefactRefused(f"TensorRT cannot make a context (too little GPU memory?): {_said(recorder)}")
    return Session(trt, device, runtime, engine, context, recorder, logger, graphs)


class Session:
    """See the module."""

    def __init__(
        self,
        trt: Any,
        device: Device,
        runtime: Any,
        engine: Any,
        context: Any,
        recorder: Any,
        logger: Any,
        graphs: GraphCache | None,
    ) -> None:
        self._trt, self._device, self._graphs = trt, device, graphs
        # TensorRT keeps bare pointers to these: they must outlive the engine.
        self._logger, self._recorder = logger, recorder
        self._runtime, self._engine, self._context = runtime, engine, context
        self._compute, self._copies = device.stream(), device.stream()
        self._specs, modes = self._describe()
        is_input = {name: mode == trt.TensorIOMode.INPUT for name, mode in modes.items()}
        self.inputs = tuple(spec for name, spec in self._specs.items() if is_input[name])
        self.outputs = tuple(spec for name, spec in self._specs.items() if not is_input[name])
        self._on_host = {n for n in self._specs if engine.get_tensor_location(n) == trt.TensorLocation.HOST}
        self._buffers = {name: Buffer() for name in self._specs}
        self._shapes: dict[str, Shape] = {}
        self._noticed: dict[str, Shape] = {}
        self._settled = False  # whether the shapes have run once: only then can a call be captured
        self._allocator = make_allocator(trt, self._grow_output, self._noticed.__setitem__)

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        """Copy in, execute, copy out, wait."""
        self._recorder.clear()
        self._set_shapes({spec.name: inputs[spec.name].shape for spec in self.inputs})
        for spec in self.inputs:
            self._send(spec, inputs[spec.name])
        fixed = self._place_outputs()
        self._device.follow(self._compute, self._copies)
        self._execute(fixed)
        return self._receive()

    def close(self) -> None:
        """Free in reverse order: graphs, context, engine, run-time, memory, CUDA context."""
        self._device.wait(self._compute)
        if self._graphs is not None:
            self._graphs.clear()
        self._context = self._engine = self._runtime = self._allocator = None
        for buffer in self._buffers.values():
            self._free(buffer)
        self._compute = self._copies = None
        self._device.close()

    def _describe(self) -> tuple[dict[str, TensorSpec], dict[str, Any]]:
        engine, specs, modes = self._engine, {}, {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = numpy_dtype(self._trt, engine.get_tensor_dtype(name))
            specs[name] = TensorSpec(name, tuple(engine.get_tensor_shape(name)), dtype)
            modes[name] = engine.get_tensor_mode(name)
        return specs, modes

    def _set_shapes(self, shapes: dict[str, Shape]) -> None:
        if shapes == self._shapes:
            return
        self._shapes, self._settled = {}, False
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                low, _, high = self._engine.get_tensor_profile_shape(name, 0)
                raise TensorMismatch(
                    f"input '{name}' of shape {list(shape)} is outside the engine's profile {list(low)} to {list(high)}"
                )
        self._shapes = shapes

    def _send(self, spec: TensorSpec, array: npt.NDArray[Any]) -> None:
        buffer = self._reserve(spec.name, array.nbytes)
        staged = buffer.view(array.shape, spec.dtype)
        np.copyto(staged, array)
        if spec.name in self._on_host:
            self._address(spec.name, staged.ctypes.data)
            return
        self._device.copy_in(buffer.address, staged, self._copies)
        self._address(spec.name, buffer.address)

    def _place_outputs(self) -> bool:
        """Give every output its memory; False when the data decide the size of one."""
        if missing := self._context.infer_shapes():
            raise InferenceError(
                f"TensorRT cannot infer shapes, it lacks {', '.join(missing)}: {_said(self._recorder)}"
            )
        fixed = True
        for spec in self.outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if -1 in shape:
                fixed = False
                self._must(self._context.set_output_allocator(spec.name, self._allocator), "set_output_allocator", spec)
                continue
            self._noticed[spec.name] = shape
            self._reserve(spec.name, math.prod(shape) * spec.dtype.itemsize)
            self._address(spec.name, self._buffers[spec.name].address)
        return fixed

    def _execute(self, fixed: bool) -> None:
        stream = self._device.handle(self._compute)
        key = tuple(self._shapes[spec.name] for spec in self.inputs)
        if self._graphs is None or not fixed or self._on_host:
            self._enqueue(stream)
            return
        if self._graphs.replay(key, stream):
            return
        if self._settled:
            self._graphs.capture(key, stream, lambda: self._enqueue(stream))
            if self._graphs.replay(key, stream):
                return
        self._enqueue(stream)
        self._settled = True

    def _enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise InferenceError(f"TensorRT refused the call: {_said(self._recorder)}")

    def _receive(self) -> dict[str, npt.NDArray[Any]]:
        outputs = {}
        for spec in self.outputs:
            shape = self._noticed[spec.name]
            buffer = self._buffers[spec.name]
            outputs[spec.name] = buffer.view(shape, spec.dtype)
            self._device.copy_out(outputs[spec.name], buffer.address, self._compute)
        self._device.wait(self._compute)
        if self._recorder.texts:
            raise InferenceError(f"TensorRT failed: {_said(self._recorder)}")
        return outputs

    def _reserve(self, name: str, nbytes: int) -> Buffer:
        buffer = self._buffers[name]
        if nbytes > buffer.capacity or buffer.host is None:
            self._free(buffer)
            if self._graphs is not None:
                self._graphs.clear()  # they hold the old addresses
            buffer.address, buffer.host = self._device.allocate(nbytes), self._device.pinned(nbytes)
            buffer.capacity = nbytes
        return buffer

    def _grow_output(self, name: str, nbytes: int) -> int:
        try:
            return self._reserve(name, nbytes).address
        except InferenceError:
            return 0  # TensorRT reports the failed allocation

    def _free(self, buffer: Buffer) -> None:
        if buffer.host is not None:
            self._device.free(buffer.address)
            self._device.unpin(buffer.host)
        buffer.host, buffer.address, buffer.capacity = None, 0, 0

    def _address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise InferenceError(f"TensorRT refused the address of '{name}': {_said(self._recorder)}")

    def _must(self, done: bool, what: str, spec: TensorSpec) -> None:
        if not done:
            raise InferenceError(f"TensorRT refused {what} for '{spec.name}': {_said(self._recorder)}")


def _said(recorder: Any) -> str:
    return "; ".join(recorder.texts) or "it gives no reason (see the log)"
