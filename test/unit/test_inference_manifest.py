from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from percept_ros.errors import ManifestError
from percept_ros.inference.manifest import (
    find_model,
    load_manifest,
    parse_manifest,
    sha256_of,
    write_manifest,
)
from percept_ros.settings import setting
from percept_ros.types import ObjectClass

HASH = "ab" * 32
GOOD: dict[str, Any] = {
    "name": "toy",
    "kind": "detector3d",
    "classes": ["car", "lorry", "sign"],
    "class_map": {"lorry": "truck"},
    "inputs": [{"name": "bev", "shape": [-1, 13, 8, 8]}],
    "outputs": [{"name": "heat", "shape": [-1, 3, 2, 2], "dtype": "float32"}],
    "preprocess": {"kind": "bev", "params": {"cell_m": 0.2}},
    "artefacts": [{"file": "a.onnx", "format": "onnx", "precision": "int8", "sha256": HASH}],
    "profiles": [{"bev": {"min": [1, 13, 8, 8], "usual": [1, 13, 8, 8], "max": [4, 13, 8, 8]}}],
    "card": "CARD.md",
}


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    manifest = parse_manifest(GOOD, tmp_path, "test")
    write_manifest(manifest, tmp_path)
    assert load_manifest(tmp_path) == manifest


def test_own_classes_become_object_classes() -> None:
    classes = parse_manifest(GOOD, Path(), "test").object_classes
    assert classes == (ObjectClass.CAR, ObjectClass.TRUCK, None)


def test_tensors_as_engines_describe_them() -> None:
    inputs, outputs = parse_manifest(GOOD, Path(), "test").tensors()
    assert inputs[0].shape == (-1, 13, 8, 8)
    assert outputs[0].dtype == "float32"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"nmae": "x"}, "unknown config key 'nmae': did you mean 'name'"),
        ({"name": ""}, "'name' is required"),
        ({"kind": "detector4d"}, "expected one of detector3d"),
        ({"inputs": []}, "'inputs' is required"),
        ({"inputs": [{"name": "x", "shape": [1], "dtype": "complex"}]}, "expected one of float32"),
        ({"inputs": [{"name": "x", "shape": [-2]}]}, "-2, expected -1"),
        ({"artefacts": [{"file": "../a.onnx", "format": "onnx", "sha256": HASH}]}, "inside the model's folder"),
        ({"artefacts": [{"file": "/a.onnx", "format": "onnx", "sha256": HASH}]}, "inside the model's folder"),
        ({"artefacts": [{"file": "a.onnx", "sha256": HASH}]}, "needs a 'format'"),
        ({"artefacts": [{"file": "a.onnx", "format": "onnx", "sha256": "12"}]}, "64 hexadecimal digits"),
        ({"artefacts": [{"file": "a", "format": "caffe", "sha256": HASH}]}, "expected one of onnx"),
        ({"class_map": {"plane": "car"}}, "names 'plane', which is none of classes"),
        ({"class_map": {"sign": "traffic sign"}}, "maps 'sign' to 'traffic sign'"),
        ({"card": "../CARD.md"}, "must be a file in the model's folder"),
        ({"running": None}, "unknown key 'running'"),
    ],
)
def test_wrong_manifests_are_refused_by_name(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ManifestError, match=text) as caught:
        parse_manifest({**GOOD, **change}, Path(), "toy/model.yaml")
    assert "toy/model.yaml" in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", ""])
def test_unreadable_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.yaml").write_text(content)
    with pytest.raises(ManifestError, match=r"model\.yaml"):
        load_manifest(tmp_path)


@dataclass(frozen=True, slots=True)
class Params:
    cell_m: float = setting(0.1, "cell", low=0.0)


def test_step_parameters_are_parsed_strictly() -> None:
    manifest = parse_manifest(GOOD, Path(), "test")
    assert manifest.preprocess.read(Params) == Params(0.2)
    wrong = parse_manifest({**GOOD, "preprocess": {"kind": "bev", "params": {"cell": 1.0}}}, Path(), "test")
    with pytest.raises(ManifestError, match=r"bev.params.cell'.*'cell_m'"):
        wrong.preprocess.read(Params)


def test_find_model_by_path_name_and_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "share" / "percept_ros" / "models" / "toy"
    installed.mkdir(parents=True)
    (installed / "model.yaml").write_text(yaml.safe_dump(GOOD))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_model("toy") == installed
    assert find_model(installed) == installed
    for wrong in ("tyo", "../toy", "", "/nonexistent/toy"):
        with pytest.raises(ManifestError, match="toy"):
            find_model(wrong)


def test_unknown_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"1")
    with pytest.raises(ManifestError, match=r"holds net\.onnx, which this version does not know"):
        load_manifest(tmp_path)
    with pytest.raises(ManifestError, match="does not exist"):
        load_manifest(tmp_path / "none")


@pytest.mark.data
def test_yolox_nano_is_known_by_its_hash(tmp_path: Path) -> None:
    data = Path(os.environ.get("PERCEPT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    source = data / "models" / "yolox_nano" / "yolox_nano_416.onnx"
    if not source.exists():
        pytest.skip(f"no recorded data: {source} is not there (PERCEPT_DATA)")
    shutil.copy(source, tmp_path / "renamed.onnx")
    manifest = load_manifest(tmp_path)
    assert manifest.name == "yolox_nano"
    assert manifest.artefacts[0].file == "renamed.onnx"
    assert manifest.artefacts[0].sha256 == sha256_of(source)
    assert len(manifest.classes) == 80
    assert manifest.object_classes[2] == ObjectClass.CAR
    assert manifest.licence == "Apache-2.0"
