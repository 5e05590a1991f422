"""What kernel engines promise beyond the common contract."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from engine_cases import KERNELS, compiled

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, TensorMismatch
from percept_ros.inference.buffers import TensorPool
from percept_ros.inference.fused import numpy_scatter_quantize
from percept_ros.inference.kernel import KernelEngine
from percept_ros.inference.options import EngineOptions


def test_reads_and_writes_in_place(tmp_path: Path, engines_folder: Path) -> None:
    pool = TensorPool()
    engine = KernelEngine(engines_folder / "affine.so", EngineOptions(pool=pool))
    engine.load()
    y = engine.infer({"x": np.ones((3, 4), np.float32)})["y"]
    assert pool.metrics().in_use == 1
    assert y.base is not None
    engine.close()


def test_parameters_come_from_the_models_folder(tmp_path: Path, engines_folder: Path) -> None:
    shutil.copy(engines_folder / "affine.so", tmp_path / "affine.so")
    (tmp_path / "affine.txt").write_text("5 -1")
    engine = KernelEngine(tmp_path / "affine.so")
    engine.load()
    np.testing.assert_array_equal(engine.infer({"x": np.ones((1, 4), np.float32)})["y"], np.full((1, 4), 4.0))
    engine.close()


@pytest.fixture(scope="module")
def scatter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scatter")
    return compiled(
        KERNELS / "engines" / "scatter_engine.cpp", folder / "scatter.so", str(KERNELS / "src" / "scatter.cpp")
    )


def test_fused_operator_as_an_engine(scatter: Path) -> None:
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=3).astype(np.float32), np.array([0.5, 1.0, 2.0], np.float32)
    numbers = " ".join(map(repr, map(float, [*mean, *std])))
    (scatter.parent / "scatter.txt").write_text(f"3 4 5 0.05 2\n{numbers}\n")
    engine = KernelEngine(scatter)
    engine.load()
    assert engine.outputs[0].shape == (1, 3, 4, 5)
    features, cells = rng.normal(size=(9, 3)).astype(np.float32), rng.permutation(20)[:9].astype(np.int32)
    expected = numpy_scatter_quantize(features, cells, mean, 1 / std, float(np.float32(0.05)), 2, (1, 3, 4, 5))
    np.testing.assert_array_equal(engine.infer({"features": features, "cells": cells})["canvas"], expected)
    with pytest.raises(TensorMismatch, match="differ in pillars"):
        engine.infer({"features": features, "cells": cells[:3]})
    engine.close()


def test_engine_says_itself_why_it_cannot_be_made(scatter: Path, tmp_path: Path) -> None:
    shutil.copy(scatter, tmp_path / "scatter.so")
    with pytest.raises(ArtefactRefused, match=r"create_engine\(\) failed.*scatter.txt' is missing or wrong"):
        KernelEngine(tmp_path / "scatter.so").load()


def test_budget_is_the_time_that_is_left(tmp_path: Path) -> None:
    text = (KERNELS / "engines" / "affine.cpp").read_text()
    changed = text.replace(
        "outputs, int64_t) {", "outputs, int64_t budget_ns) {\n  if (budget_ns > 0) return PERCEPT_LATE;", 1
    )
    assert changed != text
    (tmp_path / "late.cpp").write_text(changed)
    engine = KernelEngine(compiled(tmp_path / "late.cpp", tmp_path / "late.so", f"-I{KERNELS / 'engines'}"))
    engine.load()
    x = {"x": np.ones((1, 4), np.float32)}
    with pytest.raises(DeadlineExceeded, match="stopped at its deadline"):
        engine.infer(x, deadline_ns=time.monotonic_ns() + 60_000_000_000)
    assert engine.infer(x)["y"].shape == (1, 4)
    engine.close()
