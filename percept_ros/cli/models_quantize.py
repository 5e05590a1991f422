"""``percept models quantize``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import InputError
from percept_ros.inference.manifest import Artefact, find_model, load_manifest, sha256_of, write_manifest

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def quantize(
    model: str = typer.Argument(help="folder of a model, or name of an installed one"),
    calibration: Path = typer.Option(..., help="folder of .npz files, one a frame, with an array for each input"),
    bound: float = typer.Option(0.02, min=0.0, max=1.0, help="largest loss accepted (1 - cosine similarity)"),
    method: str = typer.Option("minmax", help="how ranges are found: minmax, entropy or percentile"),
    target: str = typer.Option("cpu", help="cpu, or tensorrt (signed and symmetric)"),
    exclude: list[str] = typer.Option([], help="node that stays in fp32; may be given often"),
    keep_last: bool = typer.Option(True, help="leave the convolutions that make the outputs in fp32"),
    frames: int = typer.Option(200, min=4, help="most frames that are used, half to calibrate, half to judge"),
    part: str = typer.Option("", help="part of a model of several graphs"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Make an int8 ONNX and put it first in the manifest, unless it loses more than the bound.

    Example: percept models quantize lidar_pillars --calibration frames/ --bound 0.01
    """
    from percept_ros.cli.models_build import onnx_source
    from percept_ros.inference.quantize import METHODS, TARGETS, QuantizeOrder, load_frames
    from percept_ros.inference.quantize import quantize as run

    for value, known in ((method, tuple(METHODS)), (target, TARGETS)):
        if value not in known:
            raise InputError(f"'{value}' is none of {', '.join(known)}")
    manifest = load_manifest(find_model(model))
    source = onnx_source(manifest, "fp32", part)
    suffix = "int8" if target == "cpu" else "int8_tensorrt"
    file = manifest.folder / f"{Path(source.file).stem}_{suffix}.onnx"
    order = QuantizeOrder(target, method, bound, tuple(exclude), keep_last)
    note(f"calibrating {file.name}, this can take minutes")
    report = run(manifest.folder / source.file, file, load_frames(calibration, frames), order)
    made = Artefact(file.name, "onnx", "int8", sha256_of(file), source.providers, source.plugins, part)
    others = tuple(a for a in manifest.artefacts if a.file != file.name)
    write_manifest(replace(manifest, artefacts=(made, *others)), manifest.folder)
    if as_json:
        emit_json({"file": str(file), "ok": True, **asdict(report)})
        return
    rows = [[o.name, f"{o.loss:.5f}", f"{o.worst_loss:.5f}", f"{o.largest_error:.4g}"] for o in report.outputs]
    emit_table(
        f"{file.name}: loss {report.loss:.5f} of {bound}", ["output", "loss", "worst frame", "largest error"], rows
    )
    note(f"fp32 {report.fp32_ms:.1f} ms, int8 {report.int8_ms:.1f} ms a run on one core")
