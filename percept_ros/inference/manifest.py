"""model.yaml: what a model is, what goes in and out, how to prepare and read it, and which artefacts hold it.

A folder without a model.yaml whose artefact is one of ``known_models/`` (by sha256) gets that model's manifest.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from percept_ros.errors import ConfigError, ManifestError
from percept_ros.inference.engine import TensorSpec
from percept_ros.inference.options import ShapeRange
from percept_ros.settings import parse, setting, to_dict
from percept_ros.types import ObjectClass

T = TypeVar("T")

FILE_NAME = "model.yaml"
KNOWN_MODELS = Path(__file__).with_name("known_models")
KINDS = ("detector3d", "detector2d", "predictor", "existence")
PRECISIONS = ("fp32", "fp16", "int8")
FORMAT_NAMES = ("onnx", "tensorrt", "kernel", "scripted", "pathstep", "tracker")
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of the model."""

    name: str = setting("", "name in the artefact")
    shape: tuple[int, ...] = setting((), "dimensions; -1 is dynamic", low=-1)
    dtype: str = setting("float32", "element type", choices=DTYPES)
    part: str = setting("", "part of the model that has it, for models of several graphs")

    @property
    def spec(self) -> TensorSpec:
        """As engines describe it."""
        return TensorSpec(self.name, self.shape, np.dtype(self.dtype))


@dataclass(frozen=True, slots=True)
class Step:
    """Pre- or post-processing: its kind, and parameters that belong to that kind."""

    kind: str = setting("", "name of the step")
    params: Mapping[str, Any] = setting({}, "parameters of the step")

    def read(self, cls: type[T]) -> T:
        """Parameters as the settings dataclass ``cls``. Raises ManifestError for unknown or wrong ones."""
        try:
            return parse(cls, self.params, f"{self.kind}.params.")
        except ConfigError as exc:
            raise ManifestError(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file that holds the model (or a part of it) in one format and precision."""

    file: str = setting("", "file name in the model's folder")
    format: str = setting("", "which engine opens it", choices=FORMAT_NAMES)
    precision: str = setting("fp32", "precision", choices=PRECISIONS)
    sha256: str = setting("", "hash of the file, 64 hexadecimal digits")
    providers: tuple[str, ...] = setting((), "execution providers in order of preference; empty = the best installed")
    plugins: tuple[str, ...] = setting((), "custom-op or plug-in libraries in the folder, as file:sha256")
    part: str = setting("", "part of the model, for models of several graphs")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model.

    classes: the model's own classes in the order of its outputs. class_map: own name -> name of an ObjectClass.
    artefacts: in order of preference. folder, running, refusals: set by loading, not by the file.
    """

    name: str = setting("", "name of the model")
    version: str = setting("1", "version of the model")
    kind: str = setting("", "what it does", choices=KINDS)
    classes: tuple[str, ...] = setting((), "own classes in the order of the outputs")
    class_map: Mapping[str, str] = setting({}, "own class -> class of percept_ros; classes of equal name need none")
    inputs: tuple[Tensor, ...] = setting((), "input tensors")
    outputs: tuple[Tensor, ...] = setting((), "output tensors")
    preprocess: Step = setting(Step(), "how sensor data becomes the inputs")
    postprocess: Step = setting(Step(), "how the outputs become objects")
    artefacts: tuple[Artefact, ...] = setting((), "files in order of preference")
    profiles: tuple[Mapping[str, ShapeRange], ...] = setting((), "ranges of dynamic shapes")
    attachments: tuple[str, ...] = setting((), "further files that the model needs, as file:sha256")
    licence: str = setting("", "licence of the weights")
    source_url: str = setting("", "where the weights come from")
    card: str = setting("", "model card, a file in the folder")
    folder: Path = Path()
    running: Artefact | None = None
    refusals: tuple[str, ...] = ()

    @property
    def model_id(self) -> str:
        """For example ``lidar_pillars@int8``; without a running artefact the bare name."""
        return f"{self.name}@{self.running.precision}" if self.running else self.name

    @property
    def artefact_sha256(self) -> str:
        """Hash of the running artefact, "" when none runs."""
        return self.running.sha256 if self.running else ""

    @property
    def object_classes(self) -> tuple[ObjectClass | None, ...]:
        """Class of this package for each entry of ``classes``; None for those that it does not know."""
        return tuple(_object_class(self.class_map.get(name, name)) for name in self.classes)

    def tensors(self, part: str = "") -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """(inputs, outputs) of ``part`` as engines describe them."""
        ins = tuple(t.spec for t in self.inputs if t.part == part)
        return ins, tuple(t.spec for t in self.outputs if t.part == part)


LOADED_FIELDS = ("folder", "running", "refusals")


def load_manifest(folder: Path) -> Manifest:
    """Manifest of a model folder. Raises ManifestError."""
    if not folder.is_dir():
        raise ManifestError(f"model folder '{folder}' does not exist")
    file = folder / FILE_NAME
    if not file.exists():
        return _known_manifest(folder)
    return read_manifest(file, folder)


def read_manifest(file: Path, folder: Path) -> Manifest:
    """Manifest in ``file`` for a model whose artefacts are in ``folder``. Raises ManifestError."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ManifestError(f"manifest '{file}' cannot be read: {exc}") from exc
    return parse_manifest(tree, folder, str(file))


def parse_manifest(tree: object, folder: Path, where: str) -> Manifest:
    """Manifest of a nested mapping; ``where`` names it in errors. Raises ManifestError."""
    if not isinstance(tree, Mapping):
        raise ManifestError(f"manifest '{where}' must hold a mapping, got {type(tree).__name__}")
    if forbidden := sorted(set(tree) & set(LOADED_FIELDS)):
        raise ManifestError(f"manifest '{where}': unknown key '{forbidden[0]}'")
    try:
        manifest = replace(parse(Manifest, tree), folder=folder)
    except ConfigError as exc:
        raise ManifestError(f"manifest '{where}': {exc}") from exc
    for problem in problems(manifest):
        raise ManifestError(f"manifest '{where}': {problem}")
    return manifest


def problems(manifest: Manifest) -> list[str]:
    """What is wrong with a manifest beyond the types of its fields."""
    found = [f"'{name}' is required" for name in ("name", "kind", "inputs", "outputs") if not getattr(manifest, name)]
    if any(not tensor.name for tensor in (*manifest.inputs, *manifest.outputs)):
        found.append("every tensor needs a 'name'")
    for artefact in manifest.artefacts:
        found += _artefact_problems(artefact)
    for own, target in manifest.class_map.items():
        if own not in manifest.classes:
            found.append(f"class_map names '{own}', which is none of classes")
        if _object_class(target) is None:
            known = ", ".join(c.name.lower() for c in ObjectClass)
            found.append(f"class_map maps '{own}' to '{target}', expected one of {known}")
    for name, _, digest in (item.rpartition(":") for item in manifest.attachments):
        if not _inside(name) or not _is_hash(digest):
            found.append(f"attachment '{name}' must be a file in the model's folder, as file:sha256")
    if manifest.card and not _inside(manifest.card):
        found.append(f"card '{manifest.card}' must be a file in the model's folder")
    return found


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write model.yaml into ``folder``; returns its path."""
    tree = {k: v for k, v in to_dict(manifest_settings(manifest)).items() if v not in ("", [], {})}
    target = folder / FILE_NAME
    partial = target.with_name(f".{FILE_NAME}.{os.getpid()}")
    partial.write_text(yaml.safe_dump(tree, sort_keys=False, width=110), encoding="utf-8")
    partial.replace(target)
    return target


def manifest_settings(manifest: Manifest) -> dict[str, Any]:
    """The fields that model.yaml holds."""
    return {f.name: getattr(manifest, f.name) for f in fields(manifest) if f.name not in LOADED_FIELDS}


def sha256_of(file: Path) -> str:
    """Hash of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def models_roots() -> tuple[Path, ...]:
    """Folders that hold models: models/ of the source tree, then of each install prefix. Only those that exist."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots = [Path(__file__).resolve().parents[2] / "models"]
    roots += [Path(prefix) / "share" / "percept_ros" / "models" for prefix in (*prefixes, sys.prefix)]
    unique = dict.fromkeys(root for root in roots if root.is_dir())
    return tuple(unique)


def find_model(name_or_path: str | Path) -> Path:
    """Folder of a model given by path, or by its name in one of ``models_roots``. Raises ManifestError."""
    if str(name_or_path) and (given := Path(name_or_path).expanduser()).is_dir():
        return given
    for root in models_roots():
        if str(name_or_path) and _inside(str(name_or_path)) and (root / name_or_path).is_dir():
            return root / name_or_path
    known = sorted({p.name for root in models_roots() for p in root.iterdir() if (p / FILE_NAME).exists()})
    have = f"models here: {', '.join(known)}" if known else "no models are installed"
    raise ManifestError(f"model '{name_or_path}' is neither a folder nor an installed model; {have}")


def _artefact_problems(artefact: Artefact) -> list[str]:
    found = []
    if not _inside(artefact.file):
        found.append(f"artefact file '{artefact.file}' must be a file name inside the model's folder")
    if not artefact.format:
        found.append(f"artefact '{artefact.file}' needs a 'format', one of {', '.join(FORMAT_NAMES)}")
    hashes = [artefact.sha256, *(plugin.rpartition(":")[2] for plugin in artefact.plugins)]
    if not all(map(_is_hash, hashes)):
        found.append(f"artefact '{artefact.file}' needs a 'sha256' of 64 hexadecimal digits (percept models verify)")
    return found


def _is_hash(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def _inside(name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _object_class(name: str) -> ObjectClass | None:
    try:
        return ObjectClass[name.upper()]
    except KeyError:
        return None


@functools.cache
def _known_hashes() -> dict[str, Path]:
    """sha256 of an artefact -> manifest that this package brings for it."""
    known = {}
    for file in sorted(KNOWN_MODELS.glob("*.yaml")):
        for artefact in read_manifest(file, KNOWN_MODELS).artefacts:
            known[artefact.sha256] = file
    return known


def _known_manifest(folder: Path) -> Manifest:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".onnx", ".plan", ".engine", ".so") and p.is_file())
    for file in files:
        if (template := _known_hashes().get(digest := sha256_of(file))) is not None:
            manifest = read_manifest(template, folder)
            found = tuple(replace(a, file=file.name) for a in manifest.artefacts if a.sha256 == digest)
            return replace(manifest, artefacts=found)
    names = ", ".join(p.name for p in files) or "no artefact"
    raise ManifestError(
        f"model folder '{folder}' has no {FILE_NAME} and holds {names}, which this version does not know:"
        f" write a {FILE_NAME} (see docs/models.md)"
    )
