"""Model folders of a 3D detector that must not be used: one broken artefact each, nothing behind it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from percept_ros.core.bev import BevGrid
from percept_ros.core.decode import CentreHeads
from percept_ros.inference import tensorrt_sidecar
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, sha256_of, write_manifest
from percept_ros.inference.tensorrt_sidecar import Sidecar
from percept_ros.settings import to_dict

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
GRID = BevGrid(half_m=12.8, cell_m=0.4)
HEADS = CentreHeads(origin_m=-12.8, cell_m=0.8)
BEV, HEAT, BOX = (1, GRID.channels, 64, 64), (1, 1, 32, 32), (1, 10, 32, 32)
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def detector(file: Path, *, dtype: int = FLOAT, box: str = "box", weight: float = 0.01) -> Path:
    """A graph that a bird's-eye detector could have: strided convolutions to heat and boxes."""
    kind = np.float32 if dtype == FLOAT else np.float16
    weights = {n: np.full((c, BEV[1], 2, 2), weight, kind) for n, c in (("wh", 1), ("wb", 10))}
    nodes = [
        helper.make_node("Conv", ["bev", "wh"], ["logits"], strides=[2, 2]),
        helper.make_node("Sigmoid", ["logits"], ["heat"]),
        helper.make_node("Conv", ["bev", "wb"], [box], strides=[2, 2]),
    ]
    made = [helper.make_tensor_value_info(n, dtype, s) for n, s in (("heat", HEAT), (box, BOX))]
    given = [helper.make_tensor_value_info("bev", dtype, BEV)]
    graph = helper.make_graph(
        nodes, "detector", given, made, [numpy_helper.from_array(a, n) for n, a in weights.items()]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    return file


def artefact(file: Path, form: str = "onnx") -> Artefact:
    return Artefact(file.name, form, "fp32", sha256_of(file))


def truncated(folder: Path) -> Artefact:
    file = detector(folder / "truncated.onnx")
    file.write_bytes(file.read_bytes()[:300])
    return artefact(file)


def wrong_hash(folder: Path) -> Artefact:
    return replace(artefact(detector(folder / "changed.onnx")), sha256="0" * 64)


def segfaulting(folder: Path) -> Artefact:
    """The example kernel with a crash where it makes its engine."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("no C++ compiler (g++) to build the test's kernel with")
    body = (KERNELS / "engines" / "affine.cpp").read_text()
    source, target = folder / "crash.cpp", folder / "crash.so"
    source.write_text("#include <csignal>\n" + body.replace("if (!made) return nullptr;", "raise(SIGSEGV);"))
    command = [compiler, "-O0", "-std=c++17", "-shared", "-fPIC", "-w", f"-I{KERNELS}", "-o", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return artefact(target, "kernel")


def other_version(folder: Path) -> Artefact:
    """An engine file with the sidecar of an installation that is not this one."""
    plan = folder / "old.plan"
    plan.write_bytes(b"ftrt")
    tensorrt_sidecar.write(plan, Sidecar(version="8.6.1", device="A", engine_sha256=sha256_of(plan)))
    return artefact(plan, "tensorrt")


HOSTILE: dict[str, tuple[Callable[[Path], Artefact], str]] = {
    "truncated": (truncated, "truncated.onnx' is not a readable ONNX file"),
    "wrong_hash": (wrong_hash, "the manifest says 0000"),
    "wrong_dtype": (
        lambda f: artefact(detector(f / "d.onnx", dtype=HALF)),
        "is float16, the manifest says",
    ),
    "missing_tensor": (lambda f: artefact(detector(f / "m.onnx", box="boxes")), "has no output 'box'"),
    "nan_weights": (lambda f: artefact(detector(f / "n.onnx", weight=float("nan"))), "weights 'wh' of"),
    "segfaulting": (segfaulting, "crashed with SIGSEGV in create_engine"),
    "other_version": (other_version, "old.plan"),
}
"""Kind -> maker of the artefact, and what its refusal says."""


def hostile_model(folder: Path, name: str) -> Path:
    """The model folder of that kind."""
    folder.mkdir(parents=True)
    made = Manifest(
        name=name,
        kind="detector3d",
        classes=("car",),
        inputs=(Tensor("bev", BEV, "float32"),),
        outputs=(Tensor("heat", HEAT, "float32"), Tensor("box", BOX, "float32")),
        preprocess=Step("bev_raster", to_dict(GRID)),
        postprocess=Step("centre_heads", to_dict(HEADS)),
        artefacts=(HOSTILE[name][0](folder),),
    )
    write_manifest(made, folder)
    return folder
