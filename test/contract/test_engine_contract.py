"""The one contract that every engine keeps."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from engine_cases import Case

from percept_ros.errors import (
    ArtefactRefused,
    DeadlineExceeded,
    EngineClosed,
    InferenceError,
    NonFiniteOutput,
    TensorMismatch,
)
from percept_ros.inference.buffers import TensorPool
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec
from percept_ros.inference.options import EngineOptions, ShapeRange

CALLS = int(os.environ.get("PERCEPT_CONTRACT_CALLS", "400"))


@pytest.fixture
def engine(case: Case, tmp_path: Path) -> Iterator[InferenceEngine]:
    made = case.make(tmp_path, EngineOptions())
    made.load()
    yield made
    made.close()


def first_bytes(outputs: Tensors) -> list[bytes]:
    return [array.tobytes() for array in outputs.values()]


def check_answer(case: Case, inputs: Tensors, outputs: Tensors) -> None:
    """Outputs have the described names, types and shapes, and the expected values."""
    assert list(outputs) == [spec.name for spec in case.outputs]
    for spec in case.outputs:
        spec.check(outputs[spec.name])
    for name, values in (case.expected(inputs) if case.expected else {}).items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-6)


def test_satisfies_the_protocol(engine: InferenceEngine) -> None:
    assert isinstance(engine, InferenceEngine)
    assert engine.name


def test_names_shapes_and_dtypes(case: Case, engine: InferenceEngine) -> None:
    assert engine.inputs == case.inputs
    assert engine.outputs == case.outputs


def test_answers(case: Case, engine: InferenceEngine) -> None:
    engine.warm_up()
    inputs = case.feed(3, 0)
    check_answer(case, inputs, engine.infer(inputs))


def test_dynamic_size_up_and_down(case: Case, engine: InferenceEngine) -> None:
    for n in (1, 5, 2, 64, 1):
        inputs = case.feed(n, n)
        check_answer(case, inputs, engine.infer(inputs))


def test_same_input_same_bytes(case: Case, engine: InferenceEngine) -> None:
    first = first_bytes(engine.infer(case.feed(700, 0)))
    assert all(first_bytes(engine.infer(case.feed(700, 0))) == first for _ in range(5))


def test_inputs_are_borrowed_not_changed(case: Case, engine: InferenceEngine) -> None:
    inputs = case.feed(4, 0)
    before = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        array.flags.writeable = False
    engine.infer(inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_strided_inputs(case: Case, engine: InferenceEngine) -> None:
    name = case.inputs[0].name
    inputs = {**case.feed(8, 0), name: case.feed(16, 0)[name][::2]}
    check_answer(case, inputs, engine.infer(inputs))


def test_use_before_load_and_after_close(case: Case, tmp_path: Path) -> None:
    engine = case.make(tmp_path, EngineOptions())
    with pytest.raises(EngineClosed):
        engine.infer(case.feed(1, 0))
    engine.load()
    engine.infer(case.feed(1, 0))
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer(case.feed(1, 0))


def test_loads_again_after_close(case: Case, engine: InferenceEngine) -> None:
    engine.close()
    engine.load()
    check_answer(case, case.feed(2, 0), engine.infer(case.feed(2, 0)))


@pytest.mark.parametrize("wrong", ["missing", "dtype", "columns", "rank"])
def test_wrong_inputs_are_named(case: Case, engine: InferenceEngine, wrong: str) -> None:
    name, good = case.inputs[0].name, case.feed(2, 0)
    array = good[name]
    changed: dict[str, Any] = {
        "missing": {k: v for k, v in good.items() if k != name},
        "dtype": {**good, name: array.astype(np.complex128)},
        "columns": {**good, name: array[:, :2]},
        "rank": {**good, name: array[0]},
    }
    with pytest.raises(TensorMismatch, match=f"'{name}'"):
        engine.infer(changed[wrong])
    check_answer(case, good, engine.infer(good))


def test_corrupt_artefact_is_refused(case: Case, tmp_path: Path) -> None:
    if case.corrupt is None:
        pytest.skip("this engine has no artefact")
    with pytest.raises(ArtefactRefused):
        case.corrupt(tmp_path, EngineOptions()).load()


def test_missing_artefact_is_refused(case: Case, tmp_path: Path) -> None:
    if case.corrupt is None:
        pytest.skip("this engine has no artefact")
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
    if case.corrupt is None:
        pytest.skip("this engine has no artefact")
    with pytest.raises(ArtefactRefused, match=text):
        case.make(tmp_path, EngineOptions(expect_inputs=(expected,))).load()


def test_faults_are_mapped(case: Case, tmp_path: Path) -> None:
    engine = case.faulty(tmp_path, EngineOptions())
    engine.load()
    with pytest.raises(InferenceError):
        engine.infer(case.bad)
    engine.close()


def test_not_finite_output_is_refused(case: Case, tmp_path: Path) -> None:
    if case.nan is None:
        pytest.skip("this engine cannot answer NaN")
    engine = case.nan(tmp_path, EngineOptions())
    engine.load()
    with pytest.raises(NonFiniteOutput, match="'y'"):
        engine.infer(case.nan_input)
    engine.close()
    unchecked = case.nan(tmp_path, EngineOptions(check_finite=False))
    unchecked.load()
    assert not np.isfinite(unchecked.infer(case.nan_input)["y"]).all()
    unchecked.close()


def test_deadline_in_the_past(case: Case, engine: InferenceEngine) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.infer(case.feed(1, 0), deadline_ns=time.monotonic_ns() - 1)
    check_answer(case, case.feed(1, 0), engine.infer(case.feed(1, 0)))


def test_generous_deadline(case: Case, engine: InferenceEngine) -> None:
    far_ns = time.monotonic_ns() + 60_000_000_000
    check_answer(case, case.feed(1, 0), engine.infer(case.feed(1, 0), deadline_ns=far_ns))


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
    inputs = case.feed(32, 0)
    for _ in range(3):
        engine.infer(inputs)
    before = pool.metrics()
    for _ in range(50):
        engine.infer(inputs)
    after = pool.metrics()
    engine.close()
    assert after.misses == before.misses
    assert pool.metrics().in_use == 0
    assert pool.metrics().leaked == 0


def test_no_growth_over_calls(case: Case, engine: InferenceEngine) -> None:
    inputs = case.feed(1024, 0)
    nbytes = sum(array.nbytes for array in inputs.values())
    for _ in range(50):
        engine.infer(inputs)
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(CALLS):
        engine.infer(inputs)
    gc.collect()
    grown = process.memory_info().rss - before
    assert grown < CALLS * nbytes / 4, f"grew by {grown} bytes over {CALLS} calls"
