from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import percept_ros
from percept_ros.errors import ManifestError
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import FORMATS, availability, create, format_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.onnx", "onnx"), ("a.plan", "tensorrt"), ("a.engine", "tensorrt"), ("a.so", "kernel"), ("a.yaml", "scripted")],
)
def test_format_by_suffix(name: str, expected: str) -> None:
    assert format_of(Path(name)) == expected


def test_unknown_suffix_and_format() -> None:
    with pytest.raises(ManifestError, match=r"none of \.onnx"):
        format_of(Path("a.pb"))
    with pytest.raises(ManifestError, match="expected one of onnx"):
        create("caffe", Path("a"), EngineOptions())


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_makes_an_engine_without_opening_anything(name: str) -> None:
    engine = create(name, Path("/nonexistent/model"), EngineOptions())
    assert isinstance(engine, InferenceEngine)
    engine.close()
    engine.close()


def test_availability_names_a_reason() -> None:
    for name, found in availability().items():
        assert found.available or found.reason, name


def test_vendors_are_not_imported_before_an_engine_is_asked_for() -> None:
    code = (
        "import sys\n"
        "import percept_ros.inference.model, percept_ros.inference.registry\n"
        "print([m for m in ('onnx', 'onnxruntime', 'tensorrt', 'pycuda') if m in sys.modules])\n"
    )
    root = str(Path(percept_ros.__file__).resolve().parents[1])
    env = {"PYTHONPATH": root, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
