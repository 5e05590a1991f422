"""Quantisation: what it keeps, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import small_graphs
from onnx import TensorProto, helper

from percept_ros.errors import ArtefactRefused, InputError
from percept_ros.inference.quantize import QuantizeOrder, load_frames, quantize

SHAPE: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, [1, 3, 16, 16])}


def network(file: Path, scores: float) -> Path:
    """Two convolutions; channel 1 of the answer is ``scores`` times smaller than channel 0."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "v": rng.normal(size=(2, 8, 3, 3)).astype(np.float32),
        "k": np.array([1.0, scores], np.float32).reshape(1, 2, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c", "k"], ["m"]),
        helper.make_node("Add", ["m", "m"], ["y"]),
    ]
    return small_graphs.save(file, nodes, weights, inputs=SHAPE, outputs={"y": (TensorProto.FLOAT, [1, 2, 16, 16])})


def frames(n: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(n)]


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_keeps_what_loses_little(tmp_path: Path, target: str) -> None:
    source = network(tmp_path / "net.onnx", 0.8)
    report = quantize(
        source, tmp_path / "int8.onnx", frames(12), QuantizeOrder(target=target, bound=0.02, keep_last=False)
    )
    assert 0 < report.loss < 0.02
    assert (report.calibration_frames, report.report_frames) == (6, 6)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node]
    assert kinds.count("QuantizeLinear") >= 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["int8.onnx", "net.onnx"]


def test_small_scores_beside_large_values_are_not_overlooked(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx", 0.003)
    with pytest.raises(ArtefactRefused, match=r"loses .* at output 'y'.*nothing was written"):
        quantize(source, tmp_path / "int8.onnx", frames(12), QuantizeOrder(bound=0.005, keep_last=False))
    assert not (tmp_path / "int8.onnx").exists()


def test_too_few_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 3"):
        quantize(network(tmp_path / "net.onnx", 1.0), tmp_path / "int8.onnx", frames(3))


def test_frames_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.npz files"):
        load_frames(tmp_path)
    for i, frame in enumerate(frames(3)):
        np.savez(tmp_path / f"{i}.npz", **frame)
    np.testing.assert_array_equal(load_frames(tmp_path)[2]["x"], frames(3)[2]["x"])
    (tmp_path / "4.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"4\.npz"):
        load_frames(tmp_path)
