"""``percept train bev-fusion``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.train import SIMULATION_SHARE, require_torch

CALIBRATION_MOMENTS = 48

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def bev_fusion(
    out: Path = typer.Option(..., "-o", "--out", help="folder of checkpoint, curve and model"),
    seed: int = typer.Option(0, min=0, help="seed of moments, weights and order"),
    minutes: float = typer.Option(0.0, min=0.0, help="choose --moments and --steps to fit this time; 0 = as given"),
    moments: int = typer.Option(6000, min=20, help="simulated moments, each with its own cameras"),
    steps: int = typer.Option(20000, min=1, help="optimiser steps of 8 windows"),
    lidar: Path | None = typer.Option(None, help="checkpoint of lidar-pillars that the LiDAR part starts from"),
    cache: Path | None = typer.Option(None, help="folder of simulated moments, reused; else OUT/moments"),
    threads: int = typer.Option(0, min=0, help="threads of PyTorch; 0 = its default"),
    resume: bool = typer.Option(False, help="continue from OUT/checkpoint.pt"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train the camera + LiDAR detector on simulated moments, and write it as a model folder.

    The same seed, moments, steps and first weights give the same result on the same machine.

    Example: percept train bev-fusion --minutes 120 --lidar /tmp/pillars/checkpoint.pt -o /tmp/fusion --json
    """
    require_torch()
    from percept_ros.train.bev_fusion import train
    from percept_ros.train.fusion_scans import fill_moments
    from percept_ros.train.loop import Recipe
    from percept_ros.train.threads import use_threads

    use_threads(threads)
    folder = cache or out / "moments"
    if minutes:
        moments, steps = _fit_into(minutes, folder, seed)
    fill_moments(folder, moments, seed, note)
    recipe = Recipe(seed=seed, steps=steps)
    metrics: dict[str, Any] = {"moments": moments, **train(folder, out, recipe, note, resume, lidar)}
    metrics |= _export(out, folder)
    result = {"checkpoint": str(out / "checkpoint.pt"), "model": str(out / "model"), "metrics": metrics}
    if as_json:
        emit_json(result)
    else:
        emit_table("bev_fusion", ("metric", "value"), metrics.items())


def _fit_into(minutes: float, folder: Path, seed: int) -> tuple[int, int]:
    """Moments and steps that fit: a quarter of the time simulates, the rest trains."""
    from percept_ros.train.bev_fusion import batches, make_trainer
    from percept_ros.train.fusion_scans import fill_moments
    from percept_ros.train.loop import Recipe, seconds_per_step

    started = time.monotonic()
    fill_moments(folder, 10, seed, note)
    per_moment_s = max(0.02, (time.monotonic() - started) / 10)
    moments = max(20, int(SIMULATION_SHARE * minutes * 60.0 / per_moment_s))
    recipe = Recipe(seed=seed)
    per_step_s = seconds_per_step(make_trainer(recipe), batches(folder, recipe, 0))
    steps = max(1, int((1.0 - SIMULATION_SHARE) * minutes * 60.0 / per_step_s))
    note(f"{minutes:g} minutes: {moments} moments, {steps} steps")
    return moments, steps


def _export(out: Path, moments: Path) -> dict[str, Any]:
    from percept_ros.train.export import export_folder
    from percept_ros.train.fusion_export import fusion_order

    files = sorted(moments.glob("*.npz"))[:CALIBRATION_MOMENTS]
    report = export_folder(fusion_order(out / "checkpoint.pt", files), out / "model")
    return {f"int8.{name}": value for name, value in report.items()}
