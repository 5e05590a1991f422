"""Real engines from ONNX by TensorRT-RTX, which needs no GPU to build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_graphs
import vendor_cache
from test_tensorrt_bindings import child

from percept_ros.inference.manifest import load_manifest, models_roots

BATCH = [{"x": [[1, 4], [2, 4], [8, 4]]}]
SHIPPED = sorted(p.parent for root in models_roots()[:1] for p in root.glob("*/model.yaml"))


def build(tmp_path: Path, onnx: Path, **order: Any) -> dict[str, Any]:
    order = {"precision": "fp32", "profiles": BATCH, **order}
    return child("rtx", str(vendor_cache.rtx()), str(onnx), str(tmp_path / "made.plan"), json.dumps(order))


def test_builds_with_progress_and_sidecar(tmp_path: Path) -> None:
    answer = build(tmp_path, small_graphs.affine(tmp_path / "a.onnx"))
    assert answer["error"] == "no error"
    assert answer["phases"] > 1
    assert answer["sidecar"] == "fp32"
    assert answer["missing"] == []


def test_builds_fp16(tmp_path: Path) -> None:
    assert build(tmp_path, small_graphs.affine(tmp_path / "a.onnx"), precision="fp16")["sidecar"] == "fp16"


def test_cancelled_build_leaves_nothing(tmp_path: Path) -> None:
    answer = build(tmp_path, small_graphs.affine(tmp_path / "a.onnx"), cancel=True)
    assert answer["error"].startswith("ArtefactRefused")
    assert not (tmp_path / "made.plan").exists()


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"profiles": []}, "InputError: input 'x' has the dynamic shape"),
        ({"profiles": [{"x": [[1, 4]] * 3, "z": [[1]] * 3}]}, "profile names 'z'"),
        ({"profiles": [{"x": [[1, 3], [2, 3], [8, 3]]}]}, "tensor has 4"),
        ({"precision": "int8"}, "no Q/DQ nodes"),
    ],
)
def test_refusals_say_why(tmp_path: Path, order: dict[str, Any], text: str) -> None:
    assert text in build(tmp_path, small_graphs.affine(tmp_path / "a.onnx"), **order)["error"]


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    answer = build(tmp_path, small_graphs.unknown_operator(tmp_path / "u.onnx"))
    assert answer["error"].startswith("ArtefactRefused")
    assert "NoSuchOperator" in answer["error"]


@pytest.mark.parametrize("folder", SHIPPED or [None], ids=lambda f: f.name if f else "none")
def test_builds_every_shipped_onnx(tmp_path: Path, folder: Path | None) -> None:
    if folder is None:
        pytest.skip("no models are shipped")
    manifest = load_manifest(folder)
    onnx = [a for a in manifest.artefacts if a.format == "onnx" and a.precision == "fp32"]
    if not onnx:
        pytest.skip(f"{folder.name} ships no fp32 ONNX")
    dynamic = any(-1 in t.shape for t in manifest.inputs)
    profiles = [{n: [r.min, r.usual, r.max] for n, r in p.items()} for p in manifest.profiles] if dynamic else []
    for artefact in onnx:
        answer = build(tmp_path, folder / artefact.file, profiles=profiles)
        assert answer["error"] == "no error"
