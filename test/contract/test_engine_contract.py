"""The one contract that every engine keeps."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from engine_cases import Case, X, Y

from percept_ros.errors import (
    ArtefactRefused,
    DeadlineExceeded,
    EngineClosed,
    InferenceError,
    NonFiniteOutput,
    TensorMismatch,
)
from percept_ros.inference.buffers import TensorPool
from percept_ros.inference.engine import InferenceEngine, TensorSpec
from percept_ros.inference.options import EngineOptions, ShapeRange

CALLS = int(os.environ.get("PERCEPT_CONTRACT_CALLS", "400"))


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


@pytest.fixture
def engine(case: Case, tmp_path: Path) -> Iterator[InferenceEngine]:
    made = case.make(tmp_path, EngineOptions())
    made.load()
    yield made
    made.close()


def test_satisfies_the_protocol(engine: InferenceEngine) -> None:
    assert isinstance(engine, InferenceEngine)
    assert engine.name


def test_names_shapes_and_dtypes(engine: InferenceEngine) -> None:
    assert engine.inputs == (X,)
    assert engine.outputs == (Y,)


def test_answers(case: Case, engine: InferenceEngine) -> None:
    engine.warm_up()
    x = rows(3)
    y = engine.infer({"x": x})["y"]
    assert y.dtype == np.float32
    assert y.shape == (3, 4)
    np.testing.assert_allclose(y, 2 * x + 1 if case.computes else 0 * x, rtol=1e-6)


def test_dynamic_batch_up_and_down(case: Case, engine: InferenceEngine) -> None:
    for n in (1, 5, 2, 64, 1):
        x = rows(n, seed=n)
        y = engine.infer({"x": x})["y"]
        assert y.shape == (n, 4)
        if case.computes:
            np.testing.assert_allclose(y, 2 * x + 1, rtol=1e-6)


def test_same_input_same_bytes(engine: InferenceEngine) -> None:
    first = engine.infer({"x": rows(7)})["y"].tobytes()
    assert all(engine.infer({"x": rows(7)})["y"].tobytes() == first for _ in range(5))


def test_input_is_borrowed_not_changed(engine: InferenceEngine) -> None:
    x = rows(4)
    before = x.copy()
    x.flags.writeable = False
    engine.infer({"x": x})
    np.testing.assert_array_equal(x, before)


def test_strided_input(case: Case, engine: InferenceEngine) -> None:
    x = rows(8)[::2]
    y = engine.infer({"x": x})["y"]
    if case.computes:
        np.testing.assert_allclose(y, 2 * x + 1, rtol=1e-6)


def test_use_before_load_and_after_close(case: Case, tmp_path: Path) -> None:
    engine = case.make(tmp_path, EngineOptions())
    with pytest.raises(EngineClosed):
        engine.infer({"x": rows(1)})
    engine.load()
    engine.infer({"x": rows(1)})
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer({"x": rows(1)})


def test_loads_again_after_close(case: Case, engine: InferenceEngine) -> None:
    engine.close()
    engine.load()
    assert engine.infer({"x": rows(2)})["y"].shape == (2, 4)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "'x' is missing"),
        ({"x": rows(1), "z": rows(1)}, "unknown input 'z'"),
        ({"x": rows(1).astype(np.float64)}, "float64"),
        ({"x": rows(1)[:, :3]}, r"\[1, 3\]"),
        ({"x": rows(1)[0]}, r"\[4\]"),
    ],
)
def test_wrong_inputs_are_named(engine: InferenceEngine, inputs: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(TensorMismatch, match=text):
        engine.infer(inputs)
    assert engine.infer({"x": rows(1)})["y"].shape == (1, 4)


def test_corrupt_artefact_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ArtefactRefused):
        case.corrupt(tmp_path, EngineOptions()).load()


def test_missing_artefact_is_refused(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kind = type(case.corrupt(tmp_path, EngineOptions()))
    with pytest.raises(ArtefactRefused):
        kind(tmp_path / "none.file", EngineOptions()).load()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (TensorSpec("images", (-1, 4), np.dtype(np.float32)), "no input 'images'"),
        (TensorSpec("x", (-1, 4), np.dtype(np.int8)), "int8"),
        (TensorSpec("x", (-1, 5), np.dtype(np.float32)), r"\[-1, 5\]"),
    ],
)
def test_artefact_unlike_the_manifest_is_refused(case: Case, tmp_path: Path, expected: TensorSpec, text: str) -> None:
    with pytest.raises(ArtefactRefused, match=text):
        case.make(tmp_path, EngineOptions(expect_inputs=(expected,))).load()


def test_faults_are_mapped(case: Case, tmp_path: Path) -> None:
    engine = case.faulty(tmp_path, EngineOptions())
    engine.load()
    with pytest.raises(InferenceError):
        engine.infer(case.bad)
    engine.close()


def test_not_finite_output_is_refused(case: Case, tmp_path: Path) -> None:
    assert case.nan is not None
    engine = case.nan(tmp_path, EngineOptions())
    engine.load()
    with pytest.raises(NonFiniteOutput, match="'y'"):
        engine.infer(case.nan_input)
    engine.close()
    unchecked = case.nan(tmp_path, EngineOptions(check_finite=False))
    unchecked.load()
    assert not np.isfinite(unchecked.infer(case.nan_input)["y"]).all()
    unchecked.close()


def test_deadline_in_the_past(engine: InferenceEngine) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.infer({"x": rows(1)}, deadline_ns=time.monotonic_ns() - 1)
    assert engine.infer({"x": rows(1)})["y"].shape == (1, 4)


def test_generous_deadline(engine: InferenceEngine) -> None:
    far = time.monotonic_ns() + 60_000_000_000
    assert engine.infer({"x": rows(1)}, deadline_ns=far)["y"].shape == (1, 4)


def test_warms_the_usual_shape(case: Case, tmp_path: Path) -> None:
    profile = {"x": ShapeRange((1, 4), (6, 4), (8, 4))}
    engine = case.make(tmp_path, EngineOptions(profiles=(profile,)))
    engine.load()
    engine.warm_up()
    engine.close()


def test_pool_is_only_hit_after_warm_up_and_nothing_leaks(case: Case, tmp_path: Path) -> None:
    pool = TensorPool()
    engine = case.make(tmp_path, EngineOptions(pool=pool))
    engine.load()
    x = rows(32)
    for _ in range(3):
        engine.infer({"x": x})
    before = pool.metrics()
    for _ in range(50):
        engine.infer({"x": x})
    after = pool.metrics()
    engine.close()
    assert after.misses == before.misses
    assert pool.metrics().in_use == 0
    assert pool.metrics().leaked == 0


def test_no_growth_over_calls(engine: InferenceEngine) -> None:
    x = rows(1024)
    for _ in range(50):
        engine.infer({"x": x})
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(CALLS):
        engine.infer({"x": x})
    gc.collect()
    grown = process.memory_info().rss - before
    assert grown < CALLS * x.nbytes / 4, f"grew by {grown} bytes over {CALLS} calls"
