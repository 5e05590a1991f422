"""Which engine opens which format. Engines are imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from percept_ros.errors import ManifestError
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.options import EngineOptions

FORMATS: dict[str, str] = {
    "onnx": "percept_ros.inference.onnx:OnnxEngine",
    "tensorrt": "percept_ros.inference.tensorrt:TensorRTEngine",
    "kernel": "percept_ros.inference.kernel:KernelEngine",
    "scripted": "percept_ros.inference.scripted:ScriptedEngine",
    "pathstep": "percept_ros.inference.path_step:PathStepEngine",
}
"""Format -> "module:Class" of an engine constructed as ``Class(file, options)``. Add a line to add a back end."""

SUFFIXES = {".onnx": "onnx", ".plan": "tensorrt", ".engine": "tensorrt", ".so": "kernel", ".yaml": "scripted"}


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a back end can run here, why not, and what it would run on."""

    available: bool
    reason: str = ""
    detail: str = ""


def format_of(file: Path) -> str:
    """Format by suffix. Raises ManifestError for a suffix that no engine opens."""
    try:
        return SUFFIXES[file.suffix]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise ManifestError(f"no engine opens '{file.name}': its suffix is none of {known}") from None


def create(format_name: str, file: Path, options: EngineOptions) -> InferenceEngine:
    """A new engine for ``file``, not loaded. Raises ManifestError for an unknown format."""
    if format_name not in FORMATS:
        raise ManifestError(f"unknown format '{format_name}' of '{file}': expected one of {', '.join(FORMATS)}")
    make = cast("Callable[[Path, EngineOptions], InferenceEngine]", _attribute(FORMATS[format_name]))
    return make(file, options)


def availability() -> dict[str, Availability]:
    """Format -> whether its back end runs on this machine. Probes devices; takes up to a few seconds."""
    answers = {}
    for name, target in FORMATS.items():
        module = target.partition(":")[0]
        probe = cast("Callable[[], Availability]", _attribute(f"{module}:availability"))
        answers[name] = probe()
    return answers


def _attribute(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
