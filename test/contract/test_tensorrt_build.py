"""Real engines from ONNX by TensorRT-RTX, which needs no GPU to build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_graphs
import vendor_cache
from test_quantize import frames, network
from test_tensorrt_bindings import child

from percept_ros.inference.manifest import Manifest, load_manifest, models_roots
from percept_ros.inference.quantize import QuantizeOrder, quantize

BATCH = [{"x": [[1, 4], [2, 4], [8, 4]]}]
SHIPPED = {p.parent.name: p.parent for root in models_roots()[:1] for p in sorted(root.glob("*/model.yaml"))}


def orders(folder: Path) -> dict[str, dict[str, Any]]:
    """Everything the tests build, in one process: loading the libraries is the slow part."""
    affine = {"onnx": str(small_graphs.affine(folder / "affine.onnx")), "precision": "fp32", "profiles": BATCH}
    unknown = str(small_graphs.unknown_operator(folder / "unknown.onnx"))
    made = {
        "good": affine,
        "fp16": {**affine, "precision": "fp16"},
        "cancelled": {**affine, "cancel": True},
        "no_profile": {**affine, "profiles": []},
        "unknown_input": {**affine, "profiles": [{**BATCH[0], "z": [[1]] * 3}]},
        "wrong_shape": {**affine, "profiles": [{"x": [[1, 3], [2, 3], [8, 3]]}]},
        "not_quantised": {**affine, "precision": "int8"},
        "unknown_operator": {**affine, "onnx": unknown},
        "int8": {"onnx": str(quantised(folder)), "precision": "int8", "profiles": []},
        "int8_as_fp32": {"onnx": str(quantised(folder)), "precision": "fp32", "profiles": []},
    }
    for name, model in SHIPPED.items():
        made |= shipped_orders(name, load_manifest(model))
    return {name: {**order, "target": str(folder / f"{name}.plan")} for name, order in made.items()}


def quantised(folder: Path) -> Path:
    """A small network with the Q/DQ nodes that ``percept models quantize --target tensorrt`` writes."""
    if not (file := folder / "int8.onnx").exists():
        order = QuantizeOrder(target="tensorrt", bound=0.1, keep_last=False)
        quantize(network(folder / "net.onnx", 0.8), file, frames(8), order)
    return file


def shipped_orders(name: str, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """fp32 and fp16 from each fp32 ONNX."""
    dynamic = any(-1 in t.shape for t in manifest.inputs)
    profiles = [{n: [r.min, r.usual, r.max] for n, r in p.items()} for p in manifest.profiles] if dynamic else []
    return {
        f"{name}_{precision}{a.part}": {
            "onnx": str(manifest.folder / a.file),
            "precision": precision,
            "profiles": profiles,
            "level": 0,
        }
        for a in manifest.artefacts
        if (a.format, a.precision) == ("onnx", "fp32")
        for precision in ("fp32", "fp16")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rtx")


@pytest.fixture(scope="module")
def built(folder: Path) -> dict[str, Any]:
    site = vendor_cache.rtx()
    (folder / "orders.json").write_text(json.dumps(orders(folder)))
    return child("rtx", str(site), str(folder / "orders.json"))


def test_version_and_attributes(built: dict[str, Any]) -> None:
    assert built["version"] == vendor_cache.RTX
    assert built["missing"] == []


def test_builds_with_progress_and_sidecar(built: dict[str, Any]) -> None:
    assert built["good"]["error"] == "no error"
    assert built["good"]["phases"] > 1
    assert built["good"]["sidecar"] == "fp32"
    assert built["fp16"]["sidecar"] == "fp16"


def test_builds_int8_from_our_own_quantiser(built: dict[str, Any]) -> None:
    assert built["int8"]["error"] == "no error"
    assert built["int8"]["sidecar"] == "int8"


def test_cancelled_build_leaves_nothing(built: dict[str, Any], folder: Path) -> None:
    assert built["cancelled"]["error"].startswith("ArtefactRefused")
    assert not (folder / "cancelled.plan").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_profile", "InputError: input 'x' has the dynamic shape"),
        ("unknown_input", "profile names 'z'"),
        ("wrong_shape", "tensor has 4"),
        ("not_quantised", "no Q/DQ nodes"),
        ("unknown_operator", "NoSuchOperator"),
        ("int8_as_fp32", "has Q/DQ nodes and is int8"),
    ],
)
def test_refusals_say_why(built: dict[str, Any], name: str, text: str) -> None:
    assert text in built[name]["error"]


@pytest.mark.parametrize("name", SHIPPED or ["none"])
def test_builds_every_shipped_onnx(built: dict[str, Any], name: str) -> None:
    answers = {n: a for n, a in built.items() if name in SHIPPED and n.startswith(f"{name}_")}
    if not answers:
        pytest.skip("no models are shipped" if not SHIPPED else f"{name} ships no fp32 ONNX")
    errors = {n: a["error"] for n, a in answers.items() if a["error"] != "no error"}
    if errors and all("fp32" in n and "FP32 GEMM is not supported" in text for n, text in errors.items()):
        pytest.skip(f"TensorRT-RTX has no fp32 matrix product for Turing; built in fp16, not in fp32: {sorted(errors)}")
    assert not errors
