"""``percept models pull``."""

from __future__ import annotations

from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, note
from percept_ros.errors import InputError
from percept_ros.inference.manifest import models_roots

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def pull(
    source: str = typer.Argument(help="folder or URL (file://, https://) of a model: where its model.yaml is"),
    into: Path | None = typer.Option(None, help="folder of models; by default the first of the models folders"),
    mirror: str = typer.Option("", help="folder or URL that the artefacts are fetched from instead"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Fetch a model: resumes what was cut off, verifies every file, then puts it in place.

    Example: percept models pull file:///media/usb/lidar_pillars --into ~/models
    """
    from percept_ros.inference import pull as fetching

    target = into or next(iter(models_roots()), None)
    if target is None:
        raise InputError("there is no models folder here: give --into DIR")
    last: dict[str, int] = {}

    def say(name: str, done: int, whole: int) -> None:
        tenth = 10 * done // whole if whole else done >> 24
        if last.get(name) != tenth:
            last[name] = tenth
            note(f"{name}: {done / 1e6:.1f} of {whole / 1e6:.1f} MB" if whole else f"{name}: {done / 1e6:.1f} MB")

    done = fetching.pull(source, target.expanduser(), say, mirror)
    if as_json:
        emit_json({"folder": str(done.folder), "fetched": list(done.fetched), "kept": list(done.kept), "ok": True})
    else:
        note(f"{done.manifest.name} is in {done.folder}: {len(done.fetched)} fetched, {len(done.kept)} were there")
