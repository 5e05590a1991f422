"""The compiled path step beside ONNX Runtime on the same file, for every shipped path network, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from percept_ros.core.path_features import GROUPS
from percept_ros.errors import ArtefactRefused, NonFiniteOutput
from percept_ros.inference.engine import Tensors
from percept_ros.inference.onnx import OnnxEngine
from percept_ros.inference.path_step import INPUTS, METADATA, OUTPUTS, PathStepEngine, availability

MODELS = Path(__file__).parents[2] / "models"
FILES = sorted(MODELS.glob("predictor_*/**/model.onnx"))
SHIPPED = MODELS / "predictor_sim" / "model.onnx"

pytestmark = pytest.mark.skipif(not availability().available, reason="kernels are not built")


def opened(file: Path) -> PathStepEngine:
    engine = PathStepEngine(file)
    engine.load()
    return engine


def some_tracks(engine: PathStepEngine, count: int, seed: int) -> Tensors:
    """Fast, slow, young and old tracks of all groups with any state."""
    rng = np.random.default_rng(seed)
    made = {s.name: rng.normal(0.0, 0.7, (count, *s.shape[1:])) for s in engine.inputs}
    made["group"] = np.eye(len(GROUPS))[rng.integers(0, len(GROUPS), count)]
    made["fresh"] = 1.0 * (rng.random((count, 1)) < 0.2)
    made["age"] = rng.integers(0, 30, (count, 1))
    made["velocity"] *= 10.0
    made["window"][: count // 2] *= 1e-3
    return {name: array.astype(np.float32) for name, array in made.items()}


@pytest.mark.parametrize("file", FILES, ids=[str(f.parent.relative_to(MODELS)) for f in FILES])
def test_it_answers_as_onnx_runtime_does(file: Path) -> None:
    engine, reference = opened(file), OnnxEngine(file)
    reference.load()
    assert {s.name: s for s in engine.inputs} == {s.name: s for s in reference.inputs}
    assert {s.name: s for s in engine.outputs} == {s.name: s for s in reference.outputs}
    for count in (1, 33, 100):
        inputs = some_tracks(engine, count, count)
        found, expected = engine.infer(inputs), reference.infer(inputs)
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=1e-5, err_msg=name)
    engine.close()
    reference.close()


def test_a_track_is_answered_alike_in_any_company() -> None:
    engine = opened(SHIPPED)
    inputs = some_tracks(engine, 75, 3)
    whole = {name: array.copy() for name, array in engine.infer(inputs).items()}
    for row in (0, 31, 32, 74):
        alone = engine.infer({name: array[row : row + 1] for name, array in inputs.items()})
        for name in OUTPUTS:
            np.testing.assert_array_equal(alone[name][0], whole[name][row], err_msg=name)


def test_no_tracks_and_a_group_that_is_none() -> None:
    engine = opened(SHIPPED)
    assert len(engine.infer(some_tracks(engine, 0, 0))["offsets"]) == 0
    inputs = some_tracks(engine, 2, 0)
    found = engine.infer({**inputs, "group": np.zeros_like(inputs["group"])})
    assert not found["linear"].any()


@pytest.mark.parametrize("name", [n for n in INPUTS if n != "fresh"])
def test_a_track_without_numbers_is_told(name: str) -> None:
    engine = opened(SHIPPED)
    inputs = some_tracks(engine, 3, 1)
    broken = inputs[name].copy()
    broken[1] = np.nan
    old = {"fresh": np.zeros((3, 1), np.float32)}
    with pytest.raises(NonFiniteOutput):
        engine.infer({**inputs, **old, name: broken})


def edited(tmp_path: Path, edit: Callable[[Any], None]) -> Path:
    model = onnx.load(str(SHIPPED))
    edit(model)
    onnx.save(model, str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


def weight(model: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def fact(model: Any, **changes: Any) -> None:
    entry = next(p for p in model.metadata_props if p.key == METADATA)
    entry.value = json.dumps(json.loads(entry.value) | changes)


def seeing_each_other(weights: np.ndarray) -> np.ndarray:
    weights[0, 40] = 1.0
    return weights


def with_nan(weights: np.ndarray) -> np.ndarray:
    weights.flat[0] = np.nan
    return weights


EDITS: dict[str, Callable[[Any], None]] = {
    "no facts": lambda m: m.ClearField("metadata_props"),
    "version": lambda m: fact(m, version=2),
    "members": lambda m: fact(m, members=5),
    "no clock": lambda m: fact(m, step_s=0.0),
    "not a number": lambda m: fact(m, small_m="wide"),
    "name": lambda m: m.graph.initializer.remove(m.graph.initializer[0]),
    "nan": lambda m: weight(m, "ensemble.last", with_nan),
    "other members": lambda m: weight(m, "ensemble.gates", seeing_each_other),
    "features": lambda m: weight(m, "ensemble.gates", lambda w: w[:-1]),
    "window": lambda m: weight(m, "features.looks", lambda w: w[:-1]),
    "horizon": lambda m: weight(m, "basis", lambda w: w[:, :-1]),
    "terms": lambda m: weight(m, "linear.terms", lambda w: w[:, :-4]),
    "scalar": lambda m: weight(m, "ensemble.bias", lambda w: w[0]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_another_graph_is_refused(tmp_path: Path, edit: Callable[[Any], None]) -> None:
    with pytest.raises(ArtefactRefused):
        PathStepEngine(edited(tmp_path, edit)).load()
