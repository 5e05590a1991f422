"""The parts of TensorRT's Python interface that must be subclassed, and the import.

Written for what 10.x and 11.x share (and TensorRT-RTX): see test/contract/test_tensorrt_bindings.py, which holds this
package to it.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from percept_ros.errors import ArtefactRefused, EngineUnavailable

LOG = logging.getLogger("percept_ros.tensorrt")
_KEPT: list[Any] = []
"""TensorRT holds bare pointers to loggers, recorders and monitors and calls them from its destructors, while Python frees the
names of a frame in any order: freed too early, they crash the process. A few hundred bytes a load or build."""

SUPPORTED_MAJORS = {"tensorrt": (10, 11), "tensorrt_rtx": (1,)}


def import_tensorrt(flavour: str = "tensorrt") -> Any:
    """The module of the installed TensorRT. Raises EngineUnavailable."""
    try:
        module = importlib.import_module(flavour)
    except ImportError as exc:
        raise EngineUnavailable(f"{flavour} is not installed or its libraries are missing: {exc}") from exc
    major = int(module.__version__.split(".")[0])
    if major not in SUPPORTED_MAJORS[flavour]:
        majors = " or ".join(map(str, SUPPORTED_MAJORS[flavour]))
        raise EngineUnavailable(f"{flavour} {module.__version__} is installed, this package knows {majors}")
    return module


def numpy_dtype(trt: Any, kind: Any) -> np.dtype[Any]:
    """numpy's dtype of a TensorRT one. Raises ArtefactRefused for those numpy lacks (bf16, fp8, int4)."""
    try:
        dtype: np.dtype[Any] = np.dtype(trt.nptype(kind))
    except TypeError as exc:
        raise ArtefactRefused(f"the engine has a tensor of type {kind}, which numpy lacks: export it as fp32") from exc
    return dtype


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that writes to the logger ``percept_ros.tensorrt`` and keeps the last errors in ``texts``."""
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.texts: deque[str] = deque(maxlen=8)

        def log(self, level: Any, text: str) -> None:
            number = levels.get(level, logging.INFO)
            LOG.log(number, "%s", text)
            if number >= logging.ERROR:
                self.texts.append(text)

    return _kept(Logger())


def make_recorder(trt: Any) -> Any:
    """An error recorder that keeps the last errors in ``texts`` (at most 32)."""

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self.held: list[tuple[Any, str]] = []

        @property
        def texts(self) -> list[str]:
            return [text for _, text in self.held]

        def num_errors(self) -> int:
            return len(self.held)

        def get_error_code(self, index: int) -> Any:
            return self.held[index][0]

        def get_error_desc(self, index: int) -> str:
            return self.held[index][1]

        def has_overflowed(self) -> bool:
            return len(self.held) >= 32

        def clear(self) -> None:
            self.held.clear()

        def report_error(self, code: Any, text: str) -> bool:
            if len(self.held) < 32:
                self.held.append((code, text))
            return False

    return _kept(Recorder())


def make_allocator(trt: Any, grow: Callable[[str, int], int], notice: Callable[[str, tuple[int, ...]], None]) -> Any:
    """An output allocator: ``grow(name, nbytes)`` answers an address (0 = none), ``notice`` hears of the shape."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            return grow(name, size)

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return grow(name, size)

        def notify_shape(self, name: str, shape: Any) -> None:
            notice(name, tuple(shape))

    return Allocator()


def make_monitor(trt: Any, say: Callable[[str, int, int], bool]) -> Any:
    """A progress monitor: ``say(phase, step, steps)`` answers whether to go on."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            say(phase, 0, steps)

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

        def step_complete(self, phase: str, step: int) -> bool:
            return say(phase, step + 1, self.steps.get(phase, step + 1))

    return _kept(Monitor())


def _kept(thing: Any) -> Any:
    _KEPT.append(thing)
    return thing
