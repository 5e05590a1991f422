"""Runs in a child process: ``tensorrt_child.py TASK ...`` over real TensorRT bindings or TensorRT-RTX; prints JSON."""

from __future__ import annotations

import ctypes
import enum
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCES = ("tensorrt_api", "tensorrt_session", "tensorrt_build", "tensorrt")
CLASSES = {  # what the names in the sources stand for
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "made": "IOptimizationProfile",
}


def used_attributes() -> dict[str, set[str]]:
    """Class (or "" for the module) -> attributes that the package's sources use, read from their syntax trees."""
    import ast

    folder = Path(__file__).resolve().parents[2] / "percept_ros" / "inference"
    used: dict[str, set[str]] = {"": set()}
    for source in SOURCES:
        for node in ast.walk(ast.parse((folder / f"{source}.py").read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name == "trt":
                used[""].add(node.attr)
            elif name in CLASSES:
                used.setdefault(CLASSES[name], set()).add(node.attr)
    return used


def missing_attributes(trt: Any) -> list[str]:
    """Attributes that the sources use and the real module lacks."""
    lacks = []
    for owner, names in used_attributes().items():
        target = getattr(trt, owner) if owner else trt
        lacks += [f"{owner}.{name}" for name in sorted(names) if not hasattr(target, name)]
    return lacks


def stand_in_extras(trt: Any) -> list[str]:
    """Public attributes of the stand-in's classes that the real ones lack."""
    import host_tensorrt

    extras = []
    for name, stand_in in vars(host_tensorrt).items():
        if inspect.isclass(stand_in) and stand_in.__module__ == "host_tensorrt":
            members = list(stand_in.__members__) if issubclass(stand_in, enum.Enum) else vars(stand_in)
            real = getattr(trt, name, None)
            extras += [f"{name}.{a}" for a in members if not a.startswith("_") and not hasattr(real, a)]
    return extras


def refusal(action: Callable[[], Any]) -> str:
    """Class and text of the error that ``action`` raises."""
    try:
        action()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "no error"


def check_bindings(stubs: str, site: str) -> dict[str, Any]:
    for stub in stubs.split(":"):
        ctypes.CDLL(stub, ctypes.RTLD_GLOBAL)
    sys.path.insert(0, site)
    from percept_ros.inference import tensorrt_api as api
    from percept_ros.inference.tensorrt_build import BuildOrder, build_engine
    from percept_ros.inference.tensorrt_session import open_session

    trt = api.import_tensorrt()
    logger, recorder = api.make_logger(trt), api.make_recorder(trt)
    logger.log(trt.ILogger.Severity.ERROR, "heard")
    recorder.report_error(trt.ErrorCodeTRT.INTERNAL_ERROR, "kept")
    monitor = api.make_monitor(trt, lambda *step: True)
    monitor.phase_start("phase", None, 3)
    order = BuildOrder(Path(sys.argv[4]), Path(sys.argv[4] + ".plan"))
    return {
        "version": trt.__version__,
        "missing": missing_attributes(trt),
        "extras": stand_in_extras(trt),
        "logged": list(logger.texts),
        "recorded": [recorder.num_errors(), recorder.get_error_desc(0), recorder.texts],
        "stepped": monitor.step_complete("phase", 0),
        "allocator": api.make_allocator(trt, lambda n, s: 7, lambda n, s: None).reallocate_output("y", 0, 4, 4),
        "dtypes": [str(api.numpy_dtype(trt, k)) for k in (trt.float32, trt.float16, trt.int8, trt.int64, trt.bool)],
        "bf16": refusal(lambda: api.numpy_dtype(trt, trt.bfloat16)),
        "runtime": refusal(lambda: open_session(trt, object(), b"", (), None, False)),  # type: ignore[arg-type]
        "builder": refusal(lambda: build_engine(trt, order, lambda *step: True)),
    }


def build_rtx(site: str, orders: str) -> dict[str, Any]:
    """Name -> answer of each order: {"onnx", "target", "precision", "profiles", "cancel"}."""
    sys.path.insert(0, site)
    from percept_ros.inference import tensorrt_api as api

    trt = api.import_tensorrt("tensorrt_rtx")
    answers = {name: build_one(trt, order) for name, order in json.loads(Path(orders).read_text()).items()}
    return {"missing": missing_attributes(trt), "version": trt.__version__, **answers}


def build_one(trt: Any, given: dict[str, Any]) -> dict[str, Any]:
    from percept_ros.inference import tensorrt_sidecar
    from percept_ros.inference.options import ShapeRange
    from percept_ros.inference.tensorrt_build import BuildOrder, build_engine

    profiles = tuple({n: ShapeRange(*map(tuple, r)) for n, r in profile.items()} for profile in given["profiles"])
    phases: set[str] = set()

    def say(phase: str, step: int, steps: int) -> bool:
        phases.add(phase)
        return not given.get("cancel")

    target = Path(given["target"])
    order = BuildOrder(Path(given["onnx"]), target, given["precision"], profiles, level=given.get("level", 3))
    answer: dict[str, Any] = {"error": refusal(lambda: build_engine(trt, order, say)), "phases": len(phases)}
    if answer["error"] == "no error":
        answer |= {"sidecar": tensorrt_sidecar.read(target).precision, "nbytes": target.stat().st_size}
    return answer


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    importlib.invalidate_caches()
    task = {"bindings": check_bindings, "rtx": build_rtx}[sys.argv[1]]
    count = len(inspect.signature(task).parameters)
    print(json.dumps(task(*sys.argv[2 : 2 + count])))
