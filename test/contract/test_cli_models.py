"""The verbs of ``percept models``, run as users run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_graphs
from onnx import TensorProto, helper

from percept_ros.cli.main import main
from percept_ros.inference.manifest import Artefact, Manifest, Tensor, load_manifest, sha256_of, write_manifest

SHAPE = (1, 3, 16, 16)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed model 'toy' of one convolution."""
    folder = tmp_path / "share" / "percept_ros" / "models" / "toy"
    folder.mkdir(parents=True)
    weights = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    weights["v"] = np.random.default_rng(1).normal(size=(4, 4, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "v"], ["y"], name="last"),
    ]
    io = {"inputs": {"x": (TensorProto.FLOAT, list(SHAPE))}, "outputs": {"y": (TensorProto.FLOAT, [1, 4, 16, 16])}}
    file = small_graphs.save(folder / "toy.onnx", nodes, weights, **io)  # type: ignore[arg-type]
    tensors = (Tensor("x", SHAPE),), (Tensor("y", (1, 4, 16, 16)),)
    artefact = Artefact("toy.onnx", "onnx", "fp32", sha256_of(file))
    kind = Manifest(name="toy", kind="predictor", inputs=tensors[0], outputs=tensors[1], artefacts=(artefact,))
    write_manifest(kind, folder)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return folder


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON of ``percept models ARGS --json``."""
    status = main(["models", *args, "--json"])
    out = capsys.readouterr().out.strip()
    return status, json.loads(out.splitlines()[-1]) if out else {}


def test_list_and_show(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, listed = answer(capsys, "list")
    assert status == 0
    (toy,) = [m for m in listed["models"] if m["name"] == "toy"]
    assert toy["precisions"] == ["onnx fp32"]
    assert answer(capsys, "show", "toy")[1]["artefacts"][0]["file"] == "toy.onnx"
    assert answer(capsys, "show", "tyo")[0] == 2


def test_verify_says_no_with_exit_status_1(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = answer(capsys, "verify", "toy", "--open")
    assert status == 0
    assert report["models"][0]["artefacts"][0]["engine"].startswith("onnxruntime:")
    (model / "toy.onnx").write_bytes(b"changed")
    status, report = answer(capsys, "verify", "toy")
    assert status == 1
    assert "the manifest says" in report["models"][0]["artefacts"][0]["reason"]
    assert answer(capsys, "verify", "nothing")[0] == 1


def test_quantize_puts_int8_first(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "frames").mkdir()
    for i in range(8):
        np.savez(tmp_path / "frames" / f"{i}.npz", x=rng.normal(size=SHAPE).astype(np.float32))
    status, report = answer(capsys, "quantize", "toy", "--calibration", str(tmp_path / "frames"))
    assert status == 0
    assert 0 < report["loss"] < report["bound"] == 0.02
    assert [a.precision for a in load_manifest(model).artefacts] == ["int8", "fp32"]
    assert answer(capsys, "verify", "toy", "--open")[0] == 0
    assert answer(capsys, "quantize", "toy", "--calibration", str(tmp_path / "frames"), "--bound", "0.000001")[0] == 2


def test_pull_into_a_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, done = answer(capsys, "pull", model.as_uri(), "--into", str(tmp_path / "mine"))
    assert status == 0
    assert done["fetched"] == ["toy.onnx"]
    assert answer(capsys, "pull", "nowhere", "--into", str(tmp_path / "mine"))[0] == 2


def test_build_without_a_gpu_says_so(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from percept_ros.inference import cuda_probe

    def none() -> tuple[cuda_probe.Gpu, ...]:
        raise cuda_probe.NoGpu("no CUDA device: the NVIDIA driver is not installed")

    monkeypatch.setattr(cuda_probe, "gpus", none)
    assert main(["models", "build", "toy"]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert main(["models", "build", "toy", "--precision", "int8"]) == 2
    assert "has no int8 ONNX" in capsys.readouterr().err
    assert main(["models", "build", "toy", "--precision", "int7"]) == 2


@pytest.mark.parametrize("verb", ["list", "show", "verify", "pull", "build", "quantize", "bench"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", verb, "--help"]) == 0
    assert "Example: percept models" in capsys.readouterr().out


def test_bench_times_every_artefact(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = answer(capsys, "bench", "toy", "--repeats", "3", "--no-kernels")
    assert status == 0
    assert result["toy_fp32"]["median_ms"] > 0
    assert result["toy_fp32"]["engine"].startswith("onnxruntime:")
