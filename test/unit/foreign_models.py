"""Model folders in the shapes that OpenPCDet, NVIDIA and Autoware export, with seeded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from percept_ros.inference.manifest import sha256_of

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT32
KITTI_RANGE = [0.0, -39.68, -3.0, 69.12, 39.68, 1.0]
NX, NY = 432, 496
KITTI = ["Car", "Pedestrian", "Cyclist"]
KITTI_MAP = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "bicycle"}


def random_weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0.0, 1.0 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def write(
    file: Path, nodes: list[Any], weights: dict[str, np.ndarray], inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    given = [helper.make_tensor_value_info(n, *s) for n, s in inputs.items()]
    made = [helper.make_tensor_value_info(n, *s) for n, s in outputs.items()]
    held = [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "test", given, made, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def write_model(folder: Path, tree: dict[str, Any]) -> Path:
    """model.yaml with the hashes of its artefacts."""
    tree = {"inputs": [], "outputs": [], **tree}
    for artefact in tree["artefacts"]:
        if artefact["file"].endswith(".onnx"):
            graph = onnx.load(str(folder / artefact["file"])).graph
            for key, tensors in (("inputs", graph.input), ("outputs", graph.output)):
                tree[key] = [*tree[key], *(tensor_of(t, artefact.get("part", "")) for t in tensors)]
        artefact.setdefault("format", "onnx")
        artefact["sha256"] = sha256_of(folder / artefact["file"])
    (folder / "model.yaml").write_text(yaml.safe_dump({"version": "1", "kind": "detector3d", **tree}), encoding="utf-8")
    return folder


def tensor_of(value: onnx.ValueInfoProto, part: str) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    dtype = {FLOAT: "float32", INT: "int32"}[kind.elem_type]
    return {"name": value.name, "shape": shape, "dtype": dtype, **({"part": part} if part else {})}


def pointpillars(folder: Path, form: str, seed: int = 5) -> Path:
    """A PointPillars of the KITTI grid. form: ``openpcdet`` (raw returns) or ``nvidia`` (decorated, fixed 10000 pillars)."""
    raw = form == "openpcdet"
    features, pillars, channels = (4, "P", 8) if raw else (10, 10000, 8)
    cells, rng = ("voxel_coords" if raw else "voxel_idxs"), np.random.default_rng(seed)
    weights = {
        "w": random_weights(rng, features, channels) * 0.1,
        "zeros": np.zeros((NX * NY, channels), np.float32),
        "last": np.int64([-1]), "image": np.int64([1, NY, NX, channels]), "flat": np.int64([0]),
        "row": np.int64([2]), "column": np.int64([3]), "width": np.int64([NX]), "axis": np.int64([1]),
        "down": random_weights(rng, 8, channels, 3, 3),
    }  # fmt: skip
    make = helper.make_node
    nodes = [
        make("MatMul", ["voxels", "w"], ["h"]),
        make("ReduceMax", ["h"], ["m"], axes=[1], keepdims=0),
        make("Relu", ["m"], ["f"]),
        make("Cast", [cells], ["cells"], to=TensorProto.INT64),
        make("Gather", ["cells", "row"], ["y"], axis=1),
        make("Gather", ["cells", "column"], ["x"], axis=1),
        make("Mul", ["y", "width"], ["yw"]),
        make("Add", ["yw", "x"], ["index"]),
        make("ScatterND", ["zeros", "index", "f"], ["scattered"], reduction="max"),
        make("Reshape", ["scattered", "image"], ["nhwc"]),
        make("Transpose", ["nhwc"], ["nchw"], perm=[0, 3, 1, 2]),
        make("Conv", ["nchw", "down"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    outputs = {}
    for name, size in (("cls_preds", 18), ("box_preds", 42), ("dir_cls_preds", 12)):
        weights[f"{name}_w"] = random_weights(rng, size, 8, 1, 1)
        nodes += [
            make("Conv", ["half", f"{name}_w"], [f"{name}_c"]),
            make("Transpose", [f"{name}_c"], [name], perm=[0, 2, 3, 1]),
        ]
        outputs[name] = (FLOAT, [1, NY // 2, NX // 2, size])
    inputs: dict[str, Any] = {"voxels": (FLOAT, [pillars, 32, features]), cells: (INT, [pillars, 4])}
    used = "voxel_num_points" if raw else "voxel_num"
    inputs[used] = (INT, ["P"] if raw else [1])
    nodes.append(make("Identity", [used], ["unused"]))
    outputs["unused"] = inputs[used]
    write(folder / "pp.onnx", nodes, weights, inputs, outputs)
    grid = {"range_m": KITTI_RANGE, "pillar_m": [0.16, 0.16, 4.0], "features": features}
    grid["max_pillars"] = 40000 if raw else 10000
    names = {} if raw else {"cells": cells, "counts": "", "number": "voxel_num"}
    return write_model(
        folder,
        {
            "name": f"pointpillars_{form}",
            "classes": KITTI,
            "class_map": KITTI_MAP,
            "preprocess": {"kind": "pillars", "params": {"grid": grid, **names}},
            "postprocess": {"kind": "anchors", "params": {"score_threshold": 0.55, "nms_iou": 0.01}},
            "artefacts": [{"file": "pp.onnx"}],
        },
    )


def centerpoint(folder: Path, pillars: int = 20000, seed: int = 6) -> Path:
    """CenterPoint in Autoware's shapes: input_features (n, 32, 9) -> (n, 1, 32); spatial_features (1, 32, 560, 560) -> 6 maps."""
    rng, make = np.random.default_rng(seed), helper.make_node
    weights = {"w": random_weights(rng, 9, 32)}
    nodes = [
        make("MatMul", ["input_features", "w"], ["h"]),
        make("ReduceMax", ["h"], ["pillar_features"], axes=[1], keepdims=1),
    ]
    shapes = {"input_features": (FLOAT, [pillars, 32, 9])}
    write(folder / "encoder.onnx", nodes, weights, shapes, {"pillar_features": (FLOAT, [pillars, 1, 32])})
    maps = {"heatmap": 5, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    held = {f"{name}_w": random_weights(rng, size, 32, 1, 1) * 0.3 for name, size in maps.items()}
    heads = [make("Conv", ["spatial_features", f"{name}_w"], [name]) for name in maps]
    made = {name: (FLOAT, [1, size, 560, 560]) for name, size in maps.items()}
    write(folder / "head.onnx", heads, held, {"spatial_features": (FLOAT, [1, 32, 560, 560])}, made)
    return write_model(
        folder,
        {
            "name": "centerpoint",
            "classes": ["CAR", "TRUCK", "BUS", "BICYCLE", "PEDESTRIAN"],
            "class_map": {name: name.lower() for name in ("CAR", "TRUCK", "BUS", "BICYCLE", "PEDESTRIAN")},
            "preprocess": {"kind": "centerpoint", "params": {"grid": centerpoint_grid(pillars)}},
            "postprocess": {"kind": "centerpoint", "params": {"score_threshold": 0.6, "circle_nms_m": 0.5}},
            "artefacts": [{"file": "encoder.onnx", "part": "encoder"}, {"file": "head.onnx", "part": "head"}],
        },
    )


def centerpoint_grid(pillars: int) -> dict[str, Any]:
    return {
        "range_m": [-89.6, -89.6, -3.0, 89.6, 89.6, 5.0],
        "pillar_m": [0.32, 0.32, 8.0],
        "max_pillars": pillars,
        "features": 9,
        "fourth": "time",
        "sensor_height_m": 0.0,
    }


def recorded_boxes(folder: Path, frames: list[np.ndarray]) -> Path:
    """NVIDIA TAO's form, points in and rows of boxes out, played from (N, 9) recorded rows a frame."""
    most = max(len(f) for f in frames)
    rows, numbers = np.zeros((len(frames), 1, most, 9), np.float32), np.zeros((len(frames), 1), np.int32)
    for i, frame in enumerate(frames):
        rows[i, 0, : len(frame)], numbers[i] = frame, len(frame)
    np.savez(folder / "outputs.npz", output_boxes=rows, num_boxes=numbers)
    tensors = {
        "inputs": [{"name": "points", "shape": [1, 204800, 4]}, {"name": "num_points", "shape": [1], "dtype": "int32"}],
        "outputs": [
            {"name": "output_boxes", "shape": [1, most, 9]},
            {"name": "num_boxes", "shape": [1], "dtype": "int32"},
        ],
    }
    (folder / "script.yaml").write_text(yaml.safe_dump({**tensors, "recording": "outputs.npz"}), encoding="utf-8")
    return write_model(
        folder,
        {
            "name": "pointpillars_tao",
            "classes": KITTI,
            "class_map": KITTI_MAP,
            "preprocess": {"kind": "points", "params": {}},
            "postprocess": {"kind": "boxes", "params": {"number_output": "num_boxes"}},
            **tensors,
            "artefacts": [{"file": "script.yaml", "format": "scripted"}],
        },
    )
