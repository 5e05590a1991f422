"""``percept models bench``."""

from __future__ import annotations

from typing import Any

import typer

from percept_ros.cli.bench import load, rows_of
from percept_ros.cli.models import installed
from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import PerceptError
from percept_ros.inference.manifest import Manifest, find_model, load_manifest

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def bench(
    models: list[str] | None = typer.Argument(None, help="folders or names; without any, all installed models"),
    repeats: int = typer.Option(50, min=3, help="timed runs of each"),
    seed: int = typer.Option(0, min=0, help="seed of the simulated sweep"),
    kernels: bool = typer.Option(True, help="time the kernels beside numpy too"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Time every artefact (median and P99, one thread), and the kernels beside numpy in the same run.

    Example: percept models bench lidar_pillars --json
    """
    module, engines = load("models"), load("engines")
    result: dict[str, Any] = {}
    if kernels:
        note("kernels")
        result = {"pillarise": module.pillarise(repeats, seed), "nms_400": module.nms_400(repeats, seed)}
        result["scatter_quantize"] = engines.scatter_quantize(repeats, seed)
    for name in models or list(installed()):
        manifest = load_manifest(find_model(name))
        note(f"{manifest.name}: {', '.join(a.precision for a in manifest.artefacts)}")
        result |= _timed(manifest, name, module, engines, repeats, seed)
    if as_json:
        emit_json(result)
    else:
        emit_table("models bench", *rows_of(module, result))


def _timed(manifest: Manifest, name: str, module: Any, engines: Any, repeats: int, seed: int) -> dict[str, Any]:
    """The whole detector where the model is a LiDAR detector, else the engine alone on seeded inputs."""
    if manifest.kind == "detector3d" and hasattr(module, "detector_times"):
        try:
            times: dict[str, Any] = module.detector_times(name, repeats, seed)
            return times
        except PerceptError as exc:
            note(f"{manifest.name}: timed as a bare engine ({exc})")
    alone: dict[str, Any] = engines.engine_times(manifest, repeats, seed)
    return alone
