"""A folder of hostile models: each is refused or isolated with its own message, and the next artefact is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import host_machine
import numpy as np
import pytest
import small_graphs
from engine_cases import KERNELS, compiled
from onnx import TensorProto

from percept_ros.errors import ArtefactRefused, EngineUnavailable, ManifestError
from percept_ros.inference.manifest import Artefact, Manifest, Tensor, sha256_of, write_manifest
from percept_ros.inference.model import open_model

FLOAT = TensorProto.FLOAT
BODY = (KERNELS / "engines" / "affine.cpp").read_text()


def crashing(folder: Path, where: str) -> Path:
    """The affine engine with a segmentation fault in ``run`` or ``create_engine``, or at dlopen."""
    crash = "raise(SIGSEGV);"
    text = {
        "run": BODY.replace("Affine *affine = self(engine);", f"{crash} Affine *affine = self(engine);"),
        "create_engine": BODY.replace("if (!made) return nullptr;", crash),
        "opening": BODY + f"\n__attribute__((constructor)) static void start() {{ {crash} }}\n",
    }[where]
    return variant(folder, f"#include <csignal>\n{text}", f"crash_{where}.so")


def variant(folder: Path, text: str, name: str) -> Path:
    source = folder / f"{name}.cpp"
    source.write_text(text)
    return compiled(source, folder / name, f"-I{KERNELS / 'engines'}", "-w")


def model(folder: Path, *artefacts: Artefact) -> Path:
    """A model over x (N, 4) -> y (N, 4) with these artefacts, then a good ONNX."""
    good = small_graphs.affine(folder / "good.onnx")
    last = Artefact(good.name, "onnx", "fp32", sha256_of(good))
    tensors = (Tensor("x", (-1, 4)),), (Tensor("y", (-1, 4)),)
    made = Manifest(
        name="hostile", kind="predictor", inputs=tensors[0], outputs=tensors[1], artefacts=(*artefacts, last)
    )
    write_manifest(made, folder)
    return folder


def artefact(file: Path, form: str) -> Artefact:
    return Artefact(file.name, form, "fp32", sha256_of(file))


def truncated(folder: Path) -> Artefact:
    whole = small_graphs.affine(folder / "whole.onnx").read_bytes()
    (folder / "bad.onnx").write_bytes(whole[: len(whole) // 2])
    return artefact(folder / "bad.onnx", "onnx")


def wrong_hash(folder: Path) -> Artefact:
    return replace(artefact(small_graphs.affine(folder / "bad.onnx"), "onnx"), sha256="0" * 64)


def wrong_dtype(folder: Path) -> Artefact:
    shape = ["N", 4]
    io = {"inputs": {"x": (TensorProto.DOUBLE, shape)}, "outputs": {"y": (TensorProto.DOUBLE, shape)}}
    return artefact(
        small_graphs.save(folder / "bad.onnx", [small_graphs.helper.make_node("Neg", ["x"], ["y"])], **io), "onnx"
    )


def missing_tensor(folder: Path) -> Artefact:
    node = small_graphs.helper.make_node("Neg", ["x"], ["z"])
    return artefact(small_graphs.save(folder / "bad.onnx", [node], outputs={"z": (FLOAT, ["N", 4])}), "onnx")


def nan_weights(folder: Path) -> Artefact:
    return artefact(small_graphs.affine(folder / "bad.onnx", a=float("nan")), "onnx")


def other_version(folder: Path) -> Artefact:
    return artefact(host_machine.engine_file(folder / "bad.plan", sidecar={"version": "8.6.1"}), "tensorrt")


def empty(folder: Path) -> Artefact:
    (folder / "bad.onnx").write_bytes(b"")
    return artefact(folder / "bad.onnx", "onnx")


def wrong_abi(folder: Path) -> Artefact:
    text = BODY.replace("{ return PERCEPT_ENGINE_ABI; }", "{ return 99; }")
    return artefact(variant(folder, text, "bad.so"), "kernel")


def wrong_size(folder: Path) -> Artefact:
    text = BODY.replace("sizeof(percept_engine), made", "8, made")
    return artefact(variant(folder, text, "bad.so"), "kernel")


def no_engine(folder: Path) -> Artefact:
    return artefact(variant(folder, "int nothing;", "bad.so"), "kernel")


def hanging(folder: Path) -> Artefact:
    text = BODY.replace(
        "Affine *affine = self(engine);", "for (volatile int i = 0;; ++i) {} Affine *affine = self(engine);"
    )
    return artefact(variant(folder, text, "bad.so"), "kernel")


def leaving(folder: Path) -> Artefact:
    text = "#include <cstdlib>\n" + BODY.replace("if (!made) return nullptr;", "std::_Exit(0);")
    return artefact(variant(folder, text, "bad.so"), "kernel")


def refusing(folder: Path) -> Artefact:
    (folder / "affine.txt").write_text("two one")
    return artefact(variant(folder, BODY, "bad.so"), "kernel")


HOSTILE: dict[str, tuple[Callable[[Path], Artefact], str]] = {
    "truncated": (truncated, "not a readable ONNX file"),
    "empty": (empty, "holds no graph"),
    "wrong_hash": (wrong_hash, "the manifest says 0000"),
    "wrong_dtype": (wrong_dtype, "is float64, the manifest says float32"),
    "missing_tensor": (missing_tensor, "has no output 'y'"),
    "nan_weights": (nan_weights, "weights 'a' of"),
    "other_version": (other_version, "built with tensorrt 8.6.1, needs it exactly, installed is 10.16.1.11"),
    "crash_in_run": (lambda f: artefact(crashing(f, "run"), "kernel"), "crashed with SIGSEGV in run"),
    "crash_in_create": (
        lambda f: artefact(crashing(f, "create_engine"), "kernel"),
        "crashed with SIGSEGV in create_engine",
    ),
    "crash_at_dlopen": (lambda f: artefact(crashing(f, "opening"), "kernel"), "crashed with SIGSEGV in opening"),
    "wrong_abi": (wrong_abi, "engine ABI 99, expected 1"),
    "wrong_size": (wrong_size, "8 bytes, expected"),
    "no_engine": (no_engine, "does not export percept_engine_abi"),
    "hanging": (hanging, "hangs in run"),
    "leaving": (leaving, "ended its process with exit status 0 in create_engine"),
    "refusing": (refusing, "must hold two numbers"),
}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of host memory, and a short trial of kernels."""
    from percept_ros.inference import kernel, tensorrt

    monkeypatch.setattr(tensorrt, "Machine", host_machine.machine)
    monkeypatch.setattr(kernel, "TRIAL_TIMEOUT_S", 2.0)


@pytest.mark.parametrize("name", list(HOSTILE))
def test_refused_with_its_own_message_and_the_next_is_used(tmp_path: Path, name: str) -> None:
    make, text = HOSTILE[name]
    manifest, engine = open_model(model(tmp_path, make(tmp_path)))
    assert len(manifest.refusals) == 1
    assert text in manifest.refusals[0]
    assert manifest.running is not None
    assert manifest.running.file == "good.onnx"
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(engine.infer({"x": x})["y"], 2 * x + 1)
    engine.close()


def test_all_refused_names_every_reason(tmp_path: Path) -> None:
    folder = model(tmp_path, wrong_hash(tmp_path))
    (tmp_path / "good.onnx").unlink()
    with pytest.raises(ArtefactRefused, match=r"the manifest says 0000.*does not exist"):
        open_model(folder)


def test_no_back_end_is_unavailable_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from percept_ros.inference import cuda_probe, tensorrt

    def none() -> tuple[cuda_probe.Gpu, ...]:
        raise cuda_probe.NoGpu("no CUDA device: none here")

    monkeypatch.setattr(tensorrt, "Machine", lambda: replace(host_machine.machine(), gpus=none))
    folder = model(tmp_path, artefact(host_machine.engine_file(tmp_path / "a.plan"), "tensorrt"))
    with pytest.raises(EngineUnavailable, match="no CUDA device"):
        open_model(folder, engine="tensorrt")
    manifest, engine = open_model(folder)
    assert "no CUDA device" in manifest.refusals[0]
    engine.close()


def test_nothing_of_that_precision(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no artefact of precision int8; it has good.onnx \(onnx, fp32\)"):
        open_model(model(tmp_path), precision="int8")


def test_plugin_with_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ops.so").write_bytes(b"changed")
    bad = replace(artefact(small_graphs.affine(tmp_path / "b.onnx"), "onnx"), plugins=(f"ops.so:{'1' * 64}",))
    manifest, engine = open_model(model(tmp_path, bad))
    engine.close()
    assert "ops.so' has sha256" in manifest.refusals[0]


def test_plan_of_another_machine_is_never_opened(tmp_path: Path) -> None:
    plan = host_machine.engine_file(tmp_path / "a.plan", sidecar={"compute_capability": "9.0"})
    plan.write_bytes(json.dumps({"a": 3}).encode())
    manifest, engine = open_model(model(tmp_path, artefact(plan, "tensorrt")))
    engine.close()
    assert "is not the one that" in manifest.refusals[0]
