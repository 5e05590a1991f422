"""A model folder in, a loaded engine out: verifies hashes and walks the artefacts in order of preference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from percept_ros.errors import ArtefactRefused, EngineUnavailable, ManifestError, ModelError
from percept_ros.inference import registry
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.manifest import Artefact, Manifest, load_manifest, sha256_of
from percept_ros.inference.options import EngineOptions


def open_model(
    folder: Path | str,
    *,
    engine: str | None = None,
    precision: str | None = None,
    part: str = "",
    options: EngineOptions | None = None,
) -> tuple[Manifest, InferenceEngine]:
    """The model's manifest (``running`` and ``refusals`` set) and an engine, loaded but not warmed.

    engine: only artefacts of this format. precision: only of this precision. Raises ManifestError; EngineUnavailable
    when every artefact lacks its back end; else ArtefactRefused with the reason of each.
    """
    manifest = load_manifest(Path(folder))
    reasons: list[str] = []
    errors: list[ModelError] = []
    for artefact in candidates(manifest, engine=engine, precision=precision, part=part):
        try:
            opened = open_artefact(manifest, artefact, options)
        except ModelError as exc:
            reasons.append(f"{artefact.file}: {exc}")
            errors.append(exc)
            continue
        return replace(manifest, running=artefact, refusals=tuple(reasons)), opened
    if not errors:
        raise ManifestError(_nothing(manifest, engine, precision, part))
    kind = EngineUnavailable if all(isinstance(e, EngineUnavailable) for e in errors) else ArtefactRefused
    raise kind(f"model '{manifest.name}' in '{folder}': no artefact can be used: {'; '.join(reasons)}") from errors[-1]


def candidates(
    manifest: Manifest, *, engine: str | None = None, precision: str | None = None, part: str = ""
) -> tuple[Artefact, ...]:
    """Artefacts of ``part`` in order of preference, of the given format and precision."""
    return tuple(
        a
        for a in manifest.artefacts
        if a.part == part and engine in (None, a.format) and precision in (None, a.precision)
    )


def open_artefact(manifest: Manifest, artefact: Artefact, options: EngineOptions | None = None) -> InferenceEngine:
    """A loaded engine for one artefact. Raises ArtefactRefused (hash, content) or EngineUnavailable."""
    file = verified(manifest.folder, artefact.file, artefact.sha256)
    plugins = [p.rpartition(":") for p in artefact.plugins]
    inputs, outputs = manifest.tensors(artefact.part)
    given = options or EngineOptions()
    engine = registry.create(
        artefact.format,
        file,
        replace(
            given,
            providers=given.providers or artefact.providers,
            plugins=given.plugins + tuple(verified(manifest.folder, name, digest) for name, _, digest in plugins),
            expect_inputs=inputs,
            expect_outputs=outputs,
            profiles=given.profiles or manifest.profiles,
        ),
    )
    engine.load()
    return engine


def verified(folder: Path, name: str, sha256: str) -> Path:
    """Path of a file of the model whose hash is right. Raises ArtefactRefused."""
    file = folder / name
    if not file.is_file():
        raise ArtefactRefused(f"'{file}' does not exist (percept models pull fetches it)")
    if (found := sha256_of(file)) != sha256:
        raise ArtefactRefused(f"'{file}' has sha256 {found}, the manifest says {sha256}: it was changed or damaged")
    return file


def attachment(manifest: Manifest, name: str) -> bytes:
    """Bytes of a further file of the model. Raises ArtefactRefused (absent, changed) or ManifestError (not listed)."""
    hashes = {file: digest for file, _, digest in (item.rpartition(":") for item in manifest.attachments)}
    if name not in hashes:
        raise ManifestError(f"model '{manifest.name}' needs '{name}', which is none of its attachments")
    return verified(manifest.folder, name, hashes[name]).read_bytes()


def _nothing(manifest: Manifest, engine: str | None, precision: str | None, part: str) -> str:
    wanted = {"format": engine, "precision": precision, "part": part or None}
    asked = ", ".join(f"{k} {v}" for k, v in wanted.items() if v) or "any format"
    have = ", ".join(f"{a.file} ({a.format}, {a.precision})" for a in manifest.artefacts) or "none"
    return f"model '{manifest.name}' has no artefact of {asked}; it has {have}"
