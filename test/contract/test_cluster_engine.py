"""The clustering engine keeps the engines' contract; its inputs are a sweep and a pose, so it has its own cases."""

from __future__ import annotations

import gc
import threading

import numpy as np
import psutil
import pytest

from percept_ros.errors import DeadlineExceeded, EngineClosed, TensorMismatch
from percept_ros.inference.cluster import COLUMNS, ClusterEngine
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec

CALLS = 200


def sweep(points: int, seed: int = 0) -> Tensors:
    """A road and a few blobs on it."""
    rng = np.random.default_rng(seed)
    road = np.column_stack([rng.uniform(-40, 40, (points, 2)), rng.normal(-1.8, 0.02, points)])
    blobs = rng.uniform(-30, 30, (12, 2))
    for k, centre in enumerate(blobs):
        road[k::40, :2] = centre + rng.uniform(-0.8, 0.8, (len(road[k::40]), 2))
        road[k::40, 2] = rng.uniform(-1.5, -0.3, len(road[k::40]))
    pose = np.eye(4)
    pose[2, 3] = 1.8
    return {"points": road.astype(np.float32), "base_SE3_lidar": pose}


@pytest.fixture
def engine() -> ClusterEngine:
    made = ClusterEngine()
    made.load()
    return made


def test_satisfies_the_protocol(engine: ClusterEngine) -> None:
    assert isinstance(engine, InferenceEngine)
    assert engine.name == "cluster:cpu"
    assert engine.inputs[0] == TensorSpec("points", (-1, -1), np.dtype(np.float32))
    assert engine.outputs == (TensorSpec("clusters", (-1, COLUMNS), np.dtype(np.float32)),)


def test_any_number_of_points(engine: ClusterEngine) -> None:
    engine.warm_up()
    for points in (0, 1, 7, 5000, 200_000):
        found = engine.infer(sweep(points))["clusters"]
        engine.outputs[0].check(found)
        assert np.isfinite(found).all()
        assert (len(found) > 0) == (points >= 5000)


def test_same_input_same_output_on_every_thread(engine: ClusterEngine) -> None:
    expected = engine.infer(sweep(20_000))["clusters"].tobytes()
    engine.infer(sweep(5000, seed=1))
    assert engine.infer(sweep(20_000))["clusters"].tobytes() == expected
    answers: list[bytes] = []
    other = threading.Thread(target=lambda: answers.append(engine.infer(sweep(20_000))["clusters"].tobytes()))
    other.start()
    other.join()
    assert answers == [expected]


def test_two_engines_do_not_share_outputs(engine: ClusterEngine) -> None:
    second = ClusterEngine()
    second.load()
    first = engine.infer(sweep(20_000))["clusters"]
    kept = first.copy()
    second.infer(sweep(20_000, seed=3))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": np.zeros((4, 3))},
        {"points": np.zeros(12, np.float32)},
        {"base_SE3_lidar": np.eye(3)},
        {"base_SE3_lidar": np.eye(4, dtype=np.float32)},
    ],
)
def test_wrong_tensors_are_named(engine: ClusterEngine, wrong: Tensors) -> None:
    with pytest.raises(TensorMismatch, match=next(iter(wrong))):
        engine.infer({**sweep(10), **wrong})


def test_life(engine: ClusterEngine) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.infer(sweep(10), deadline_ns=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer(sweep(10))
    engine.load()
    engine.infer(sweep(10))
    with pytest.raises(EngineClosed):
        ClusterEngine().infer(sweep(10))


def test_memory_stays_flat(engine: ClusterEngine) -> None:
    process, inputs = psutil.Process(), [sweep(4000, seed) for seed in range(4)]
    for i in range(CALLS // 4):
        engine.infer(inputs[i % 4])
    gc.collect()
    before = process.memory_info().rss
    for i in range(CALLS):
        engine.infer(inputs[i % 4])
    gc.collect()
    assert process.memory_info().rss - before < 2_000_000
