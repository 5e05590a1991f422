"""Artefacts of groups: ``models/{group}/{model}_{runtime}_{precision}.{ext}``, beside the ``model.yaml`` that vouches for them.

The folder of a group is a model folder like any other, so its artefacts are verified, opened in order and refused as
everywhere; the names only say to people what they are, and are held to it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from percept_ros.errors import ManifestError, ModelError
from percept_ros.inference.manifest import (
    Artefact,
    Manifest,
    Step,
    find_model,
    load_manifest,
    sha256_of,
    write_manifest,
)
from percept_ros.inference.model import verified

PATTERN = re.compile(
    r"(?P<model>[A-Za-z0-9_-]+?)_(?P<runtime>(?:onnx|tensorrt|kernel|scripted|pathstep)[0-9.]*)_(?P<precision>fp32|fp16|int8)\.(?P<ext>\w+)"
)


@dataclass(frozen=True, slots=True)
class ArtefactName:
    """What the name of an artefact says. runtime: format, with a version where that is what is tried (tensorrt10.16)."""

    model: str
    runtime: str
    precision: str
    ext: str

    def __str__(self) -> str:
        return f"{self.model}_{self.runtime}_{self.precision}.{self.ext}"


def parse_name(name: str) -> ArtefactName | None:
    """The parts of an artefact's name, None for a name of another kind."""
    found = PATTERN.fullmatch(name)
    return ArtefactName(**found.groupdict()) if found else None


def group_manifest(folder: Path) -> Manifest:
    """Manifest of a group's folder. Raises ManifestError when a name is not as it should be, or says something else."""
    manifest = load_manifest(folder)
    for artefact in manifest.artefacts:
        named = parse_name(artefact.file)
        if named is None:
            raise ManifestError(f"artefact '{folder / artefact.file}' must be named model_runtime_precision.ext")
        says = (named.model, re.sub(r"[0-9.]+$", "", named.runtime), named.precision)
        if says != (manifest.name, artefact.format, artefact.precision):
            real = f"{manifest.name}, {artefact.format}, {artefact.precision}"
            raise ManifestError(f"artefact '{folder / artefact.file}' is {real}: its name says {', '.join(says)}")
    return manifest


def fallback_note(folder: Path, running_sha256: str) -> str:
    """Why another than the first artefact of a group runs, "" when the first does."""
    manifest = load_manifest(folder)
    first = manifest.artefacts[0] if manifest.artefacts else None
    if first is None or first.sha256 == running_sha256:
        return ""
    running = next((a.file for a in manifest.artefacts if a.sha256 == running_sha256), "another model")
    try:
        verified(folder, first.file, first.sha256)
        why = f"'{first.file}' could not be opened"
    except ModelError as exc:
        why = str(exc)
    return f"{running} runs in its place: {why}"


def stage(
    model: str | Path,
    group: Path,
    precisions: Sequence[str] = (),
    *,
    runtime: str = "",
    postprocess: Mapping[str, Any] | None = None,
) -> Manifest:
    """Make the folder of a group from a model: artefacts copied under their new names, in the order of ``precisions``.

    precisions: empty = all, as the model prefers. runtime: what the names say instead of the format. postprocess:
    parameters to change. Raises ModelError for a model without such artefacts.
    """
    source = load_manifest(find_model(model))
    chosen = [a for p in precisions for a in source.artefacts if a.precision == p] if precisions else source.artefacts
    if not chosen:
        raise ManifestError(f"model '{source.name}' has no artefact of precision {', '.join(precisions) or 'any'}")
    group.mkdir(parents=True, exist_ok=True)
    artefacts = tuple(_copy(source, artefact, group, runtime) for artefact in chosen)
    for name, _, digest in (item.rpartition(":") for item in source.attachments):
        shutil.copyfile(verified(source.folder, name, digest), group / name)
    step = Step(source.postprocess.kind, {**source.postprocess.params, **(postprocess or {})})
    write_manifest(replace(source, artefacts=artefacts, postprocess=step, card=""), group)
    return group_manifest(group)


def _copy(source: Manifest, artefact: Artefact, group: Path, runtime: str) -> Artefact:
    file = verified(source.folder, artefact.file, artefact.sha256)
    name = ArtefactName(source.name, runtime or artefact.format, artefact.precision, file.suffix[1:])
    shutil.copyfile(file, group / str(name))
    return replace(artefact, file=str(name), sha256=sha256_of(group / str(name)))
