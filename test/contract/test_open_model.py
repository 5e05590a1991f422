"""Opening model folders: preference, parts, and what the manifest says afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_graphs

from percept_ros.errors import ManifestError
from percept_ros.inference.manifest import Artefact, Manifest, Tensor, sha256_of, write_manifest
from percept_ros.inference.model import candidates, open_model

X, Y = Tensor("x", (-1, 4)), Tensor("y", (-1, 4))


def artefact(folder: Path, name: str, a: float, precision: str = "fp32", part: str = "") -> Artefact:
    file = small_graphs.affine(folder / name, a=a)
    return Artefact(name, "onnx", precision, sha256_of(file), part=part)


def folder_of(folder: Path, *artefacts: Artefact, parts: tuple[str, ...] = ("",)) -> Path:
    inputs = tuple(Tensor(X.name, X.shape, part=p) for p in parts)
    outputs = tuple(Tensor(Y.name, Y.shape, part=p) for p in parts)
    write_manifest(Manifest(name="toy", kind="predictor", inputs=inputs, outputs=outputs, artefacts=artefacts), folder)
    return folder


def slope(folder: Path, **wanted: str) -> float:
    """What the opened engine multiplies by."""
    _, engine = open_model(folder, **wanted)  # type: ignore[arg-type]
    answer = engine.infer({"x": np.ones((1, 4), np.float32)})["y"][0, 0] - 1
    engine.close()
    return float(answer)


def test_first_artefact_unless_another_precision_is_asked_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, artefact(tmp_path, "a.onnx", 3, "int8"), artefact(tmp_path, "b.onnx", 4))
    assert slope(folder) == 3
    assert slope(folder, precision="fp32") == 4
    manifest, engine = open_model(folder)
    engine.close()
    assert manifest.model_id == "toy@int8"
    assert manifest.artefact_sha256 == sha256_of(tmp_path / "a.onnx")
    assert manifest.refusals == ()


def test_parts_are_opened_one_by_one(tmp_path: Path) -> None:
    encoder, head = artefact(tmp_path, "e.onnx", 5, part="encoder"), artefact(tmp_path, "h.onnx", 6, part="head")
    folder = folder_of(tmp_path, encoder, head, parts=("encoder", "head"))
    assert slope(folder, part="encoder") == 5
    assert slope(folder, part="head") == 6
    with pytest.raises(ManifestError, match="no artefact of any format"):
        open_model(folder)


def test_candidates_keep_the_order(tmp_path: Path) -> None:
    kinds = [
        Artefact(f"{i}", f, p) for i, (f, p) in enumerate([("tensorrt", "fp16"), ("onnx", "int8"), ("onnx", "fp32")])
    ]
    manifest = Manifest(name="toy", artefacts=tuple(kinds))
    assert [a.file for a in candidates(manifest)] == ["0", "1", "2"]
    assert [a.file for a in candidates(manifest, engine="onnx")] == ["1", "2"]
    assert [a.file for a in candidates(manifest, precision="fp16")] == ["0"]
