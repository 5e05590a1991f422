"""``percept train``: make the shipped models again, from the simulator alone."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any, ClassVar

import typer

from percept_ros.cli.lazy_group import LazyGroup
from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import SetupError

SIMULATION_SHARE = 0.25
CALIBRATION_SCANS = 40
HELD_OUT_SCANS, HELD_OUT_SEEDS = 120, 900
"""Scans that decide what a score means (at most), and how far their seed is from that of training."""


class _Group(LazyGroup):
    others: ClassVar[dict[str, str]] = {
        "bev-fusion": "percept_ros.cli.train_fusion",
        "predictor": "percept_ros.cli.train_predictor",
        "existence": "percept_ros.cli.train_existence",
        "heading": "percept_ros.cli.train_heading",
    }


app = typer.Typer(cls=_Group, no_args_is_help=True, help=__doc__, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Train the shipped models again. Networks need PyTorch (pip install torch); existence does not."""


def require_torch() -> None:
    """Raise SetupError unless PyTorch is installed."""
    if importlib.util.find_spec("torch") is None:
        raise SetupError("training needs PyTorch, which is not installed: run make torch (or pip install torch)")


@app.command("lidar-pillars")
def lidar_pillars(
    out: Path = typer.Option(..., "-o", "--out", help="folder of checkpoint, curve and model"),
    seed: int = typer.Option(0, min=0, help="seed of scans, weights and order"),
    minutes: float = typer.Option(0.0, min=0.0, help="choose --scans and --steps to fit this time; 0 = as given"),
    scans: int = typer.Option(6000, min=20, help="simulated scans"),
    steps: int = typer.Option(12000, min=1, help="optimiser steps of 8 windows"),
    cache: Path | None = typer.Option(None, help="folder of simulated scans, reused; else OUT/scans"),
    threads: int = typer.Option(0, min=0, help="threads of PyTorch; 0 = its default"),
    resume: bool = typer.Option(False, help="continue from OUT/checkpoint.pt"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train the LiDAR detector on simulated scans, and write it as a model folder.

    The same seed, scans and steps give the same weights on the same machine; OUT/recipe.json says which were used.

    Example: percept train lidar-pillars --minutes 20 --seed 1 -o /tmp/pillars --json
    """
    require_torch()
    from percept_ros.train.lidar_pillars import train
    from percept_ros.train.loop import Recipe
    from percept_ros.train.simulated import fill
    from percept_ros.train.threads import use_threads

    use_threads(threads)
    folder = cache or out / "scans"
    if minutes:
        scans, steps = _fit_into(minutes, folder, seed)
    fill(folder, scans, seed, note)
    metrics: dict[str, Any] = {"scans": scans, **train(folder, out, Recipe(seed=seed, steps=steps), note, resume)}
    metrics |= _export(out, folder, seed, min(scans, HELD_OUT_SCANS))
    result = {"checkpoint": str(out / "checkpoint.pt"), "model": str(out / "model"), "metrics": metrics}
    if as_json:
        emit_json(result)
    else:
        emit_table("lidar_pillars", ("metric", "value"), metrics.items())


def _fit_into(minutes: float, folder: Path, seed: int) -> tuple[int, int]:
    """Scans and steps that fit: a quarter of the time simulates, the rest trains."""
    from percept_ros.train.lidar_pillars import batches, make_trainer
    from percept_ros.train.loop import Recipe, seconds_per_step
    from percept_ros.train.simulated import fill

    started = time.monotonic()
    fill(folder, 20, seed, note)
    per_scan_s = max(0.01, (time.monotonic() - started) / 20)
    scans = max(20, int(SIMULATION_SHARE * minutes * 60.0 / per_scan_s))
    recipe = Recipe(seed=seed)
    per_step_s = seconds_per_step(make_trainer(recipe), batches(folder, recipe, 0))
    steps = max(1, int((1.0 - SIMULATION_SHARE) * minutes * 60.0 / per_step_s))
    note(f"{minutes:g} minutes: {scans} scans, {steps} steps")
    return scans, steps


def _export(out: Path, scans: Path, seed: int, held_out_scans: int) -> dict[str, Any]:
    """Find what scores mean on scans of another seed, and write the model folder."""
    from percept_ros.train.bird_eye_network import BirdEyeNetwork
    from percept_ros.train.calibrate import best_scores
    from percept_ros.train.export import LIDAR_HEADS, export_folder, lidar_order, load_averaged
    from percept_ros.train.simulated import fill

    checkpoint, held_out = out / "checkpoint.pt", out / "held_out"
    fill(held_out, held_out_scans, seed + HELD_OUT_SEEDS, note)
    scores = best_scores(load_averaged(BirdEyeNetwork(), checkpoint), sorted(held_out.glob("*.npz")), LIDAR_HEADS)
    files = sorted(scans.glob("*.npz"))[:CALIBRATION_SCANS]
    report = export_folder(lidar_order(checkpoint, files, working_scores=scores), out / "model")
    return {"working_scores": scores.tolist()} | {f"int8.{name}": value for name, value in report.items()}
