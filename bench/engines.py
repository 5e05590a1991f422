"""Does an engine grow over 10,000 calls, and does its pool stop missing after warm-up?"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from percept_ros.errors import ModelError
from percept_ros.inference.buffers import TensorPool
from percept_ros.inference.engine import InferenceEngine, TensorSpec
from percept_ros.inference.manifest import Artefact, Manifest, find_model, load_manifest
from percept_ros.inference.model import open_artefact
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import availability, create
from percept_ros.inference.scripted import ScriptedEngine
from percept_ros.inference.tensors import usual_shapes

WARM_CALLS = 200
SAMPLES = 50


def run(*, calls: int = 10_000, seed: int = 0, models: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every engine that runs here on a small graph, and every artefact of ``models``."""
    result: dict[str, Any] = {}
    with TemporaryDirectory(prefix="percept-bench-") as folder:
        here = availability()
        for name, make in _small_engines(Path(folder)).items():
            able = here[name]
            result[name] = growth(make, calls, seed) if able.available else {"skipped": able.reason}
    for name in models:
        manifest = load_manifest(find_model(name))
        for artefact in manifest.artefacts:
            key = f"{manifest.name}_{label(manifest, artefact)}"
            result[key] = growth(lambda o, m=manifest, a=artefact: open_artefact(m, a, o), calls, seed)  # type: ignore[misc]
    measured = [r for r in result.values() if "skipped" not in r]
    return result | {"ok": all(r["flat"] and r["hit_rate"] == 1.0 for r in measured)}


def growth(make: Callable[[EngineOptions], InferenceEngine], calls: int, seed: int) -> dict[str, Any]:
    """Slope of resident memory over ``calls`` calls after a warm-up, by least squares.

    flat: under 10 kB in 1000 calls, or grown in one single step (an arena that the allocator took once).
    """
    pool = TensorPool()
    engine = make(EngineOptions(pool=pool))
    engine.load()
    inputs = seeded_inputs(engine.inputs, seed)
    for _ in range(WARM_CALLS):
        engine.infer(inputs)
    gc.collect()
    before, process = pool.metrics(), psutil.Process()
    memory = []
    start_s = time.perf_counter()
    for _ in range(SAMPLES):
        for _ in range(calls // SAMPLES):
            engine.infer(inputs)
        memory.append(process.memory_info().rss)
    seconds = time.perf_counter() - start_s
    after = pool.metrics()
    engine.close()
    hits, misses = after.hits - before.hits, after.misses - before.misses
    rises = int((np.diff(memory) > 0).sum())
    slope = float(np.polyfit(np.linspace(0, calls, SAMPLES), np.array(memory) / 1024, 1)[0]) * 1000
    return {
        "engine": engine.name,
        "calls": calls,
        "rss_slope_kb_per_1000": slope,
        "rss_grown_kb": (memory[-1] - memory[0]) / 1024,
        "rss_rises": rises,
        "flat": slope < 10.0 or rises <= 1,
        "hit_rate": hits / (hits + misses) if hits + misses else 1.0,
        "pooled_takes": hits + misses,
        "leaked": after.leaked,
        "us_per_call": seconds / calls * 1e6,
    }


def seeded_inputs(specs: tuple[TensorSpec, ...], seed: int) -> dict[str, np.ndarray]:
    """Inputs of the usual shapes: normal floats, zeros of other types."""
    rng, shapes = np.random.default_rng(seed), usual_shapes(specs, None)
    return {
        s.name: rng.normal(size=shapes[s.name]).astype(s.dtype)
        if s.dtype.kind == "f"
        else np.zeros(shapes[s.name], s.dtype)
        for s in specs
    }


def label(manifest: Manifest, artefact: Artefact) -> str:
    """Precision of the artefact, with its format where another one has the same."""
    same = [a for a in manifest.artefacts if (a.precision, a.part) == (artefact.precision, artefact.part)]
    return f"{artefact.format}_{artefact.precision}" if len(same) > 1 else artefact.precision


def engine_times(manifest: Manifest, repeats: int, seed: int) -> dict[str, Any]:
    """``<model>_<precision>``: one call of each artefact that runs here, one thread, wall clock."""
    result: dict[str, Any] = {}
    for artefact in manifest.artefacts:
        key = f"{manifest.name}_{label(manifest, artefact)}" + (f"_{artefact.part}" if artefact.part else "")
        try:
            engine = open_artefact(manifest, artefact)
        except ModelError as exc:
            result.setdefault(key, {"skipped": str(exc)})
            continue
        engine.warm_up()
        inputs = seeded_inputs(engine.inputs, seed)
        result[key] = {**timed(lambda e=engine, x=inputs: e.infer(x), repeats), "engine": engine.name}  # type: ignore[misc]
        engine.close()
    return result


def timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median, best and P99 of wall time, milliseconds; the first call is not counted."""
    call()
    spent = np.empty(repeats)
    for i in range(repeats):
        start_ns = time.perf_counter_ns()
        call()
        spent[i] = time.perf_counter_ns() - start_ns
    ms = spent / 1e6
    return {"median_ms": float(np.median(ms)), "best_ms": float(ms.min()), "p99_ms": float(np.percentile(ms, 99))}


def scatter_quantize(repeats: int, seed: int, pillars: int = 12_000, channels: int = 64) -> dict[str, Any]:
    """The fused operator on 12,000 pillars of 64 channels and a 432 x 496 grid, beside numpy; ``same`` = equal bytes."""
    from percept_ros.inference.fused import numpy_scatter_quantize
    from percept_ros.inference.fused import scatter_quantize as fused

    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pillars, channels)).astype(np.float32)
    cells = rng.permutation(432 * 496)[:pillars].astype(np.int32)
    mean = rng.normal(size=channels).astype(np.float32)
    inverse_std = rng.uniform(0.5, 2, channels).astype(np.float32)
    canvas = np.empty((1, channels, 496, 432), np.int8)
    arguments = (features, cells, mean, inverse_std, 0.05, 3)
    peer = timed(lambda: numpy_scatter_quantize(*arguments, canvas.shape), max(3, repeats // 10))
    own = timed(lambda: fused(*arguments, canvas), repeats)
    same = bool((canvas == numpy_scatter_quantize(*arguments, canvas.shape)).all())
    return {
        **own,
        "numpy_median_ms": peer["median_ms"],
        "ratio_numpy": peer["median_ms"] / own["median_ms"],
        "same": same,
    }


def _small_engines(folder: Path) -> dict[str, Callable[[EngineOptions], InferenceEngine]]:
    onnx, spec = _affine_onnx(folder / "affine.onnx"), TensorSpec("x", (-1, 4), np.dtype(np.float32))
    kernels = [p / "lib" / "engines" / "percept_engine_affine.so" for p in _package_folders()]
    built = next((p for p in kernels if p.exists()), kernels[0])
    return {
        "onnx": lambda o: create("onnx", onnx, o),
        "kernel": lambda o: create("kernel", built, o),
        "scripted": lambda o: ScriptedEngine.of((spec,), (TensorSpec("y", (-1, 4), spec.dtype),), options=o),
        "tensorrt": lambda o: create("tensorrt", folder / "affine.plan", o),
    }


def _package_folders() -> list[Path]:
    import percept_ros

    return [Path(p) for p in percept_ros.__path__]


def _affine_onnx(file: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    nodes = [helper.make_node("Mul", ["x", "a"], ["ax"]), helper.make_node("Add", ["ax", "b"], ["y"])]
    weights = [numpy_helper.from_array(np.array([v], np.float32), n) for n, v in (("a", 2), ("b", 1))]
    graph = helper.make_graph(nodes, "affine", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    return file
