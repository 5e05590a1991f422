"""What the ONNX Runtime engine promises beyond the common contract."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import small_graphs
from engine_cases import KERNELS, compiled
from onnx import TensorProto, helper

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineUnavailable
from percept_ros.inference.buffers import ALIGNMENT, TensorPool
from percept_ros.inference.fused import numpy_scatter_quantize
from percept_ros.inference.onnx import OnnxEngine
from percept_ros.inference.options import EngineOptions


def loaded(file: Path, **options: object) -> OnnxEngine:
    engine = OnnxEngine(file, EngineOptions(**options))  # type: ignore[arg-type]
    engine.load()
    return engine


def test_says_which_provider_really_runs(tmp_path: Path) -> None:
    engine = loaded(small_graphs.affine(tmp_path / "a.onnx"))
    assert engine.name in ("onnxruntime:CPUExecutionProvider", "onnxruntime:CUDAExecutionProvider")
    engine.close()
    with pytest.raises(EngineUnavailable, match="none of the providers QNNExecutionProvider"):
        loaded(tmp_path / "a.onnx", providers=("QNNExecutionProvider",))


def test_running_call_is_cut_off_at_its_deadline(tmp_path: Path) -> None:
    engine = loaded(small_graphs.slow(tmp_path / "slow.onnx"))
    x = np.ones((1024, 4), np.float32)
    start_s = time.monotonic()
    engine.infer({"x": x[:16]})
    with pytest.raises(DeadlineExceeded, match="cut off"):
        engine.infer({"x": x}, deadline_ns=time.monotonic_ns() + 5_000_000)
    assert time.monotonic() - start_s < 60
    assert engine.infer({"x": x[:1]})["y"].shape == (1, 4)
    engine.close()


def test_outputs_lie_in_the_pool(tmp_path: Path) -> None:
    pool = TensorPool()
    engine = loaded(small_graphs.affine(tmp_path / "a.onnx"), pool=pool)
    y = engine.infer({"x": np.ones((3, 4), np.float32)})["y"]
    assert y.ctypes.data % ALIGNMENT == 0
    assert pool.metrics().in_use == 1
    engine.close()


def test_outputs_whose_size_the_data_decide(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    made = {"y": (TensorProto.INT64, [2, "K"])}
    engine = loaded(small_graphs.save(tmp_path / "n.onnx", nodes, outputs=made))
    for n in (1, 4, 2):
        x = np.zeros((n, 4), np.float32)
        x[:, 1] = 1
        np.testing.assert_array_equal(engine.infer({"x": x})["y"], np.stack([np.arange(n), np.ones(n)]))
    engine.close()


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(small_graphs.affine(tmp_path / "a.onnx")))
    onnx.save(model, str(tmp_path / "b.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(ArtefactRefused, match="keeps weights in other files"):
        loaded(tmp_path / "b.onnx")


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = KERNELS / "engines"
    target = tmp_path_factory.mktemp("operators") / "operators.so"
    return compiled(folder / "onnxruntime_operators.cpp", target, str(KERNELS / "src" / "scatter.cpp"))


def scatter_graph(file: Path) -> Path:
    f, i = TensorProto.FLOAT, TensorProto.INT32
    inputs = {"features": (f, ["P", 5]), "cells": (i, ["P"]), "mean": (f, [5]), "inverse_std": (f, [5])}
    node = helper.make_node(
        "ScatterQuantize", list(inputs), ["canvas"], domain="percept", height=6, width=7, zero_point=3, scale=0.05
    )
    made = {"canvas": (TensorProto.INT8, [1, 5, 6, 7])}
    return small_graphs.save(file, [node], inputs=inputs, outputs=made, domains=("percept",))


def test_fused_operator_runs_inside_a_graph(tmp_path: Path, operators: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "features": rng.normal(size=(20, 5)).astype(np.float32),
        "cells": rng.integers(-2, 44, 20).astype(np.int32),
        "mean": rng.normal(size=5).astype(np.float32),
        "inverse_std": rng.uniform(0.5, 2, 5).astype(np.float32),
    }
    for _ in range(2):  # sessions come and go over one operator domain
        engine = loaded(scatter_graph(tmp_path / "s.onnx"), plugins=(operators,))
        scale = float(np.float32(0.05))
        expected = numpy_scatter_quantize(*tensors.values(), scale, 3, (1, 5, 6, 7))  # type: ignore[arg-type]
        np.testing.assert_array_equal(engine.infer(tensors)["canvas"], expected)
        engine.close()


def test_graph_without_its_operators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactRefused, match="ScatterQuantize"):
        loaded(scatter_graph(tmp_path / "s.onnx"))
    (tmp_path / "no.so").write_bytes(b"nothing")
    with pytest.raises(ArtefactRefused, match="custom operators"):
        loaded(scatter_graph(tmp_path / "s.onnx"), plugins=(tmp_path / "no.so",))
