"""``percept models``: list, check, fetch, build, quantise and time models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import typer

from percept_ros.cli.lazy_group import LazyGroup
from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import EngineUnavailable, ManifestError, PerceptError
from percept_ros.inference.manifest import (
    FILE_NAME,
    Manifest,
    find_model,
    load_manifest,
    manifest_settings,
    models_roots,
    sha256_of,
)
from percept_ros.settings import to_dict

JSON = typer.Option(False, "--json", help="print one JSON object")


class _Group(LazyGroup):
    others: ClassVar[dict[str, str]] = {
        "pull": "percept_ros.cli.models_pull",
        "build": "percept_ros.cli.models_build",
        "quantize": "percept_ros.cli.models_quantize",
        "bench": "percept_ros.cli.models_bench",
    }


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, help=__doc__, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """List, check, fetch, build, quantise and time models."""


def installed() -> dict[str, Path]:
    """Name -> folder of every model in the models folders; the source tree goes before install prefixes."""
    found: dict[str, Path] = {}
    for root in models_roots():
        for folder in sorted(root.iterdir()):
            if (folder / FILE_NAME).is_file():
                found.setdefault(folder.name, folder)
    return found


@app.command("list")
def list_models(as_json: bool = JSON) -> None:
    """List the models that are installed.

    Example: percept models list --json
    """
    models, broken = [], []
    for name, folder in installed().items():
        try:
            models.append(_summary(load_manifest(folder)))
        except ManifestError as exc:
            broken.append({"name": name, "folder": str(folder), "reason": str(exc)})
    if as_json:
        emit_json({"models": models, "broken": broken, "folders": [str(root) for root in models_roots()]})
        return
    rows = [
        [m["name"], m["kind"], m["version"], ", ".join(m["precisions"]), f"{m['mbytes']:.1f}", m["licence"]]
        for m in models
    ]
    emit_table("models", ["name", "kind", "version", "artefacts", "MB", "licence"], rows)
    for model in broken:
        note(f"{model['name']}: {model['reason']}")


@app.command()
def show(
    model: str = typer.Argument(help="folder of a model, or name of an installed one"), as_json: bool = JSON
) -> None:
    """Show a model's manifest: tensors, classes, processing, artefacts, licence, source.

    Example: percept models show lidar_pillars
    """
    manifest = load_manifest(find_model(model))
    tree = to_dict(manifest_settings(manifest)) | {"folder": str(manifest.folder)}
    if as_json:
        emit_json(tree)
        return
    emit_table(f"{manifest.name} {manifest.version}", ["field", "value"], [[k, _short(v)] for k, v in tree.items()])
    card = manifest.folder / manifest.card
    if manifest.card and card.is_file():
        note(card.read_text(encoding="utf-8"))


@app.command()
def verify(
    models: list[str] | None = typer.Argument(None, help="folders or names; without any, all installed models"),
    open_them: bool = typer.Option(False, "--open", help="also open every artefact in its engine and run it on zeros"),
    as_json: bool = JSON,
) -> None:
    """Check the hash of every artefact against the manifest; exit status 1 when one is wrong.

    Example: percept models verify lidar_pillars --open
    """
    report = [_verified(name, open_them) for name in models or list(installed())]
    ok = all(artefact["ok"] for model in report for artefact in model["artefacts"]) and not any(
        m["reason"] for m in report
    )
    if as_json:
        emit_json({"ok": ok, "models": report})
    else:
        rows = [
            [m["name"], a["file"], "right" if a["ok"] else "WRONG", a["reason"]] for m in report for a in m["artefacts"]
        ]
        rows += [[m["name"], FILE_NAME, "WRONG", m["reason"]] for m in report if m["reason"]]
        emit_table("verify", ["model", "artefact", "", "reason"], rows)
    if not ok:
        raise typer.Exit(1)


def _verified(name: str, open_them: bool) -> dict[str, Any]:
    try:
        manifest = load_manifest(find_model(name))
    except ManifestError as exc:
        return {"name": name, "artefacts": [], "reason": str(exc)}
    artefacts = [_artefact_answer(manifest, index, open_them) for index in range(len(manifest.artefacts))]
    return {"name": manifest.name, "artefacts": [*artefacts, *_attached(manifest)], "reason": ""}


def _attached(manifest: Manifest) -> list[dict[str, Any]]:
    rows = []
    for name, _, digest in (item.rpartition(":") for item in manifest.attachments):
        reason = _wrong(manifest.folder / name, digest)
        rows.append({"file": name, "precision": "", "ok": not reason, "reason": reason, "engine": ""})
    return rows


def _wrong(file: Path, sha256: str) -> str:
    """What is wrong with a file of a model, "" for nothing."""
    if not file.is_file():
        return "is missing (percept models pull fetches it)"
    found = sha256_of(file)
    return "" if found == sha256 else f"sha256 is {found}, the manifest says {sha256}"


def _artefact_answer(manifest: Manifest, index: int, open_it: bool) -> dict[str, Any]:
    artefact = manifest.artefacts[index]
    engine = skipped = ""
    reason = _wrong(manifest.folder / artefact.file, artefact.sha256)
    if not reason and open_it and artefact.format != "tracker":  # read by the tracker itself
        engine, skipped, reason = _opened(manifest, index)
    return {
        "file": artefact.file,
        "precision": artefact.precision,
        "ok": not reason,
        "reason": reason or skipped,
        "engine": engine,
    }


def _opened(manifest: Manifest, index: int) -> tuple[str, str, str]:
    """(engine that ran it, why it cannot be tried on this machine, what is wrong with it)."""
    from percept_ros.inference.model import open_artefact

    try:
        engine = open_artefact(manifest, manifest.artefacts[index])
        try:
            engine.warm_up()
            return engine.name, "", ""
        finally:
            engine.close()
    except EngineUnavailable as exc:
        return "", f"not tried: {exc}", ""
    except PerceptError as exc:
        return "", "", str(exc)


def _summary(manifest: Manifest) -> dict[str, Any]:
    files = [manifest.folder / a.file for a in manifest.artefacts]
    return {
        "name": manifest.name,
        "kind": manifest.kind,
        "version": manifest.version,
        "classes": list(manifest.classes),
        "precisions": [f"{a.format} {a.precision}" for a in manifest.artefacts],
        "mbytes": sum(f.stat().st_size for f in files if f.is_file()) / 1e6,
        "licence": manifest.licence,
        "source_url": manifest.source_url,
        "folder": str(manifest.folder),
    }


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
