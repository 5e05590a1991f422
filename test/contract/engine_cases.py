"""Every engine that goes through the contract, as makers of engines over x (N, 4) -> y (N, 4) = 2 x + 1.

To put another engine through the suite, add a maker to ``CASES``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import host_machine
import numpy as np
import pytest
import small_graphs as graphs

from percept_ros.errors import EngineUnavailable, SetupError
from percept_ros.inference.cluster import ClusterEngine
from percept_ros.inference.cuda import Device
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec
from percept_ros.inference.kernel import KernelEngine
from percept_ros.inference.onnx import OnnxEngine
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.path_step import PathStepEngine
from percept_ros.inference.scripted import ScriptedEngine, ScriptedStep
from percept_ros.inference.tensorrt import TensorRTEngine

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
X = TensorSpec("x", (-1, 4), np.dtype(np.float32))
Y = TensorSpec("y", (-1, 4), np.dtype(np.float32))

Maker = Callable[[Path, EngineOptions], InferenceEngine]


def rows(n: int, seed: int = 0) -> Tensors:
    """x of n rows."""
    return {"x": np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)}


def affine(inputs: Tensors) -> Tensors:
    """What most engines of the suite compute."""
    return {"y": 2 * inputs["x"] + 1}


@dataclass(frozen=True)
class Case:
    """One engine in the suite.

    make: a good engine; feed(n, seed): its inputs of size n; expected: its outputs for them, None = not said.
    corrupt: an artefact that must be refused (None: it has no artefact). faulty: fails on ``bad`` inputs inside the
    back end. nan: answers NaN on ``nan_input`` (None: it cannot).
    """

    make: Maker
    corrupt: Maker | None
    faulty: Maker
    bad: Tensors
    nan: Maker | None = None
    nan_input: Tensors = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = (X,)
    outputs: tuple[TensorSpec, ...] = (Y,)
    feed: Callable[[int, int], Tensors] = rows
    expected: Callable[[Tensors], Tensors] | None = affine


def compiled(source: Path, target: Path, *extra: str) -> Path:
    """``source`` as a shared object."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("no C++ compiler (g++) to build the test's kernel with")
    command = [
        compiler,
        "-O0",
        "-std=c++17",
        "-shared",
        "-fPIC",
        f"-I{KERNELS}",
        "-o",
        str(target),
        str(source),
        *extra,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def _written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def onnx_case(folder: Path, engines: Path) -> Case:
    return Case(
        make=lambda f, o: OnnxEngine(graphs.affine(f / "affine.onnx"), o),
        corrupt=lambda f, o: OnnxEngine(_written(f, "cut.onnx", graphs.affine(f / "whole.onnx").read_bytes()[:90]), o),
        faulty=lambda f, o: OnnxEngine(graphs.picky(f / "picky.onnx"), o),
        bad={"x": np.zeros((2, 4), np.float32)},
        nan=lambda f, o: OnnxEngine(graphs.root(f / "root.onnx"), o),
        nan_input={"x": np.full((2, 4), -1.0, np.float32)},
    )


def kernel_case(folder: Path, engines: Path) -> Case:
    return Case(
        make=lambda f, o: KernelEngine(engines / "affine.so", o),
        corrupt=lambda f, o: KernelEngine(_written(f, "cut.so", (engines / "affine.so").read_bytes()[:2000]), o),
        faulty=lambda f, o: KernelEngine(engines / "affine.so", o),
        bad={"x": np.full((2, 4), np.nan, np.float32)},
        nan=lambda f, o: KernelEngine(engines / "affine.so", o),
        nan_input={"x": np.full((2, 4), 3e38, np.float32)},
    )


def scripted_case(folder: Path, engines: Path) -> Case:
    def scripted(o: EngineOptions, *steps: ScriptedStep) -> ScriptedEngine:
        return ScriptedEngine.of((X,), (Y,), steps, options=o)

    return Case(
        make=lambda f, o: scripted(o),
        corrupt=lambda f, o: ScriptedEngine(_written(f, "script.yaml", b"steps: [{delay: 1}]"), o),
        faulty=lambda f, o: scripted(o, ScriptedStep(fault="error")),
        bad={"x": np.zeros((2, 4), np.float32)},
        nan=lambda f, o: scripted(o, ScriptedStep(fault="nan")),
        nan_input={"x": np.zeros((2, 4), np.float32)},
        expected=lambda inputs: {"y": 0 * inputs["x"]},
    )


def tensorrt_case(device: Callable[[int], Device], graphs: bool = False) -> Case:
    def opened(o: EngineOptions, file: Path) -> TensorRTEngine:
        return TensorRTEngine(file, o, host_machine.machine(device, graphs))

    return Case(
        make=lambda f, o: opened(o, host_machine.engine_file(f / "affine.plan")),
        corrupt=lambda f, o: opened(o, host_machine.engine_file(f / "cut.plan", b"ftrt")),
        faulty=lambda f, o: opened(o, host_machine.engine_file(f / "faulty.plan", fault="illegal memory access")),
        bad={"x": np.zeros((2, 4), np.float32)},
        nan=lambda f, o: opened(o, host_machine.engine_file(f / "nan.plan")),
        nan_input={"x": np.full((2, 4), 3e38, np.float32)},
    )


def tensorrt_graph_case(folder: Path, engines: Path) -> Case:
    return tensorrt_case(host_machine.HostDevice, graphs=True)


def tensorrt_pycuda_case(folder: Path, engines: Path) -> Case:
    return tensorrt_case(host_machine.pycuda_device(engines))


def cluster_case(folder: Path, engines: Path) -> Case:
    pose = {"base_SE3_lidar": np.eye(4)}

    def sweep(n: int, seed: int) -> Tensors:
        return {"points": np.random.default_rng(seed).uniform(-20, 20, (n, 3)).astype(np.float32), **pose}

    engine = ClusterEngine()
    try:
        engine.load()
    except SetupError as exc:
        pytest.skip(f"kernels are not built: {exc}")
    return Case(
        make=lambda f, o: ClusterEngine(),
        corrupt=None,
        faulty=lambda f, o: ClusterEngine(),
        bad={"points": np.zeros((3, 3), np.float32), "base_SE3_lidar": np.full((4, 4), np.nan)},
        inputs=engine.inputs,
        outputs=engine.outputs,
        feed=sweep,
        expected=None,
    )


def pathstep_case(folder: Path, engines: Path) -> Case:
    """The shipped path network; its own tests compare it with ONNX Runtime."""
    model = KERNELS.parent / "models" / "predictor_sim" / "model.onnx"
    engine = PathStepEngine(model)
    try:
        engine.load()
    except EngineUnavailable as exc:
        pytest.skip(f"kernels are not built: {exc}")

    def feed(n: int, seed: int) -> Tensors:
        rng = np.random.default_rng(seed)
        made = {spec.name: rng.uniform(0.0, 1.0, (n, *spec.shape[1:])) for spec in engine.inputs}
        return {name: array.astype(np.float32) for name, array in (made | {"fresh": np.zeros((n, 1))}).items()}

    return Case(
        make=lambda f, o: PathStepEngine(model, o),
        corrupt=None,
        faulty=lambda f, o: PathStepEngine(model, o),
        bad=feed(2, 0) | {"displacement": np.full((2, 2), np.nan, np.float32)},
        inputs=engine.inputs,
        outputs=engine.outputs,
        feed=feed,
        expected=None,
    )


def fallback_case(folder: Path, engines: Path) -> Case:
    """A chain whose first engine cannot be opened: the second one keeps the contract in its place."""
    fallback = pytest.importorskip("percept_ros.inference.fallback").FallbackEngine
    onnx = onnx_case(folder, engines)
    assert onnx.corrupt is not None
    assert onnx.nan is not None
    corrupt, nan = onnx.corrupt, onnx.nan
    return Case(
        make=lambda f, o: fallback([corrupt(f, o), onnx.make(f, o)]),
        corrupt=None,
        faulty=lambda f, o: fallback([onnx.faulty(f, o)]),
        bad=onnx.bad,
        nan=lambda f, o: fallback([nan(f, o)]),
        nan_input=onnx.nan_input,
    )


CASES: dict[str, Callable[[Path, Path], Case]] = {
    "onnx": onnx_case,
    "kernel": kernel_case,
    "scripted": scripted_case,
    "cluster": cluster_case,
    "pathstep": pathstep_case,
    "fallback": fallback_case,
    "tensorrt": lambda folder, engines: tensorrt_case(host_machine.HostDevice),
    "tensorrt_graph": tensorrt_graph_case,
    "tensorrt_pycuda": tensorrt_pycuda_case,
}
