"""Small ONNX graphs for tests, all over x (N, 4) float32 -> y."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4


def save(
    file: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray] | None = None,
    *,
    inputs: dict[str, tuple[int, list[int | str]]] | None = None,
    outputs: dict[str, tuple[int, list[int | str]]] | None = None,
    domains: tuple[str, ...] = (),
) -> Path:
    """Write a graph; inputs and outputs are name -> (element type, dimensions)."""
    usual = {"x": (TensorProto.FLOAT, ["N", WIDTH])}
    given = {n: helper.make_tensor_value_info(n, *s) for n, s in (inputs or usual).items()}
    made = {n: helper.make_tensor_value_info(n, *s) for n, s in (outputs or {"y": usual["x"]}).items()}
    held = [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", list(given.values()), list(made.values()), held)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(file))
    return file


def affine(file: Path, a: float = 2.0, b: float = 1.0) -> Path:
    """y = a x + b."""
    weights = {"a": np.float32([a]), "b": np.float32([b])}
    nodes = [helper.make_node("Mul", ["x", "a"], ["ax"]), helper.make_node("Add", ["ax", "b"], ["y"])]
    return save(file, nodes, weights)


def root(file: Path) -> Path:
    """y = square root of x: NaN for negative values."""
    return save(file, [helper.make_node("Sqrt", ["x"], ["y"])])


def picky(file: Path) -> Path:
    """y = x with its rows divided into threes: fails unless N is a multiple of 3."""
    shape = {"s": np.int64([-1, 3 * WIDTH]), "t": np.int64([-1, WIDTH])}
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Reshape", ["r", "t"], ["y"])]
    return save(file, nodes, shape)


def slow(file: Path, size: int = 1024, layers: int = 40) -> Path:
    """Many matrix products: takes long enough that a deadline cuts it off."""
    weights = {"w": np.full((WIDTH, size), 1e-3, np.float32), "v": np.eye(size, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "v"], [f"h{i + 1}"]) for i in range(layers)]
    nodes.append(helper.make_node("ReduceMean", [f"h{layers}"], ["m"], axes=[1], keepdims=1))
    nodes.append(helper.make_node("Add", ["x", "m"], ["y"]))
    return save(file, nodes, weights)


def unknown_operator(file: Path) -> Path:
    """An operator of a domain that no run-time knows."""
    return save(file, [helper.make_node("NoSuchOperator", ["x"], ["y"], domain="test.none")], domains=("test.none",))
