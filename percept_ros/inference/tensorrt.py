"""Engine over TensorRT 10.x, 11.x and TensorRT-RTX through PyCUDA.

One thread owns the retained primary context, streams, buffers and the execution context; ``infer`` hands it the call.
Inputs go through page-locked staging and are copied on their own stream, so that staging the next input overlaps the
transfer of the one before; outputs come back into page-locked arrays that the caller reads in place. Calls of a shape
seen before replay a CUDA graph where cuda-bindings is installed. Engines are never built here: ``percept models build``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineClosed, EngineUnavailable
from percept_ros.inference import cuda_probe, tensorrt_sidecar
from percept_ros.inference.cuda import Device, DeviceThread, PyCudaDevice
from percept_ros.inference.cuda_graph import GraphCache, open_graphs
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import Availability
from percept_ros.inference.tensorrt_api import import_tensorrt
from percept_ros.inference.tensorrt_session import Session, open_session
from percept_ros.inference.tensors import check_finite, check_inputs, check_specs, warm_inputs


@dataclass(frozen=True, slots=True)
class Machine:
    """What the engine takes from the machine it runs on."""

    gpus: Callable[[], tuple[cuda_probe.Gpu, ...]] = cuda_probe.gpus
    tensorrt: Callable[[str], Any] = import_tensorrt
    device: Callable[[int], Device] = PyCudaDevice
    graphs: Callable[[], GraphCache | None] = open_graphs


class TensorRTEngine:
    """See ``InferenceEngine`` for life, threads and ownership.

    Deadline: DeadlineExceeded is raised on time, but work already on the GPU runs to its end and the next call queues
    behind it.
    """

    def __init__(self, file: Path, options: EngineOptions | None = None, machine: Machine | None = None) -> None:
        self._file = file
        self._options = options or EngineOptions()
        self._machine = machine or Machine()
        self._thread: DeviceThread | None = None
        self._session: Session | None = None
        self._name = "tensorrt"

    @property
    def name(self) -> str:
        """Run-time, its version and the device, for example ``tensorrt:10.16.1.11:NVIDIA L4``."""
        return self._name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        return self._session.inputs if self._session else ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        return self._session.outputs if self._session else ()

    def load(self) -> None:
        """Compare the sidecar with this machine, then deserialise. Raises ArtefactRefused or EngineUnavailable."""
        self.close()
        sidecar = tensorrt_sidecar.read(self._file)
        gpu = self._gpu()
        trt = self._machine.tensorrt(sidecar.flavour)
        if reasons := tensorrt_sidecar.mismatches(sidecar, trt.__version__, gpu):
            raise ArtefactRefused(
                f"engine '{self._file}' was {'; '.join(reasons)}: build it here (percept models build)"
            )
        self._name = f"{sidecar.flavour}:{trt.__version__}:{gpu.name}"
        self._thread = DeviceThread(f"tensorrt-{self._file.name}")
        try:
            self._session = self._thread.call(lambda: self._open(trt, sidecar.version_compatible))
            check_specs("input", self.inputs, self._options.expect_inputs, self._file.name)
            check_specs("output", self.outputs, self._options.expect_outputs, self._file.name)
        except BaseException:
            self.close()
            raise

    def warm_up(self) -> None:
        """Run twice on zeros of each profile's usual shape: the second call captures the CUDA graph."""
        for inputs in warm_inputs(self.inputs, self._options.profiles):
            for _ in range(2):
                self._run(inputs, None)

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Run once; see ``InferenceEngine.infer``. Outputs lie in page-locked memory of the engine."""
        if self._session is None:
            raise EngineClosed(f"{self._name} of '{self._file.name}' is not loaded")
        check_inputs(self._session.inputs, inputs)
        outputs = self._run(inputs, deadline_ns)
        if self._options.check_finite:
            check_finite(outputs, self._name)
        return outputs

    def close(self) -> None:
        """Free everything in the thread that owns it, in reverse order, and end the thread."""
        session, self._session = self._session, None
        thread, self._thread = self._thread, None
        if thread is not None:
            if session is not None:
                thread.call(session.close)
            thread.end()

    def _gpu(self) -> cuda_probe.Gpu:
        try:
            found = self._machine.gpus()
        except cuda_probe.NoGpu as exc:
            raise EngineUnavailable(str(exc)) from exc
        if self._options.device >= len(found):
            raise EngineUnavailable(f"no CUDA device {self._options.device}: this machine has {len(found)}")
        return found[self._options.device]

    def _open(self, trt: Any, trusted_code: bool) -> Session:
        device = self._machine.device(self._options.device)
        try:
            plan = self._file.read_bytes()
            return open_session(trt, device, plan, self._options.plugins, self._machine.graphs(), trusted_code)
        except BaseException:
            device.close()
            raise

    def _run(self, inputs: Tensors, deadline_ns: int | None) -> dict[str, npt.NDArray[Any]]:
        thread, session = self._thread, self._session
        if thread is None or session is None:
            raise EngineClosed(f"{self._name} of '{self._file.name}' is not loaded")
        if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
            raise DeadlineExceeded(f"deadline of {self._name} had passed before the call")
        return thread.call(lambda: session.run(inputs), deadline_ns)


def availability() -> Availability:
    """Whether TensorRT is installed and there is a CUDA device."""
    try:
        gpu = cuda_probe.gpus()[0]
        trt = import_tensorrt()
    except (cuda_probe.NoGpu, EngineUnavailable) as exc:
        return Availability(False, str(exc))
    return Availability(True, "", f"TensorRT {trt.__version__} on {gpu.name} (compute {gpu.compute_capability})")
