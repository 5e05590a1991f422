"""``percept train predictor``: train path networks on trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.train import require_torch
from percept_ros.errors import RecordingError

DATA_SETS = ("kitti", "eth_ucy", "sim")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def predictor(
    data: list[str] = typer.Option(..., help="kitti, eth_ucy, sim, or a bag with tracks; bags: once for each"),
    out: Path = typer.Option(..., "-o", "--out", help="folder of the model, or of the folds' models"),
    root: Path | None = typer.Option(None, help="folder of the data set; else its usual name under PERCEPT_DATA"),
    held_out: bool = typer.Option(True, help="kitti, eth_ucy: also a model for every fold, without its sequences"),
    drives: int = typer.Option(60, min=3, help="simulated drives of 40 s (sim)"),
    seed: int = typer.Option(0, min=0, help="seed of drives, weights and order"),
    steps: int = typer.Option(0, min=0, help="most optimiser steps of each network; 0 = the recipe's"),
    threads: int = typer.Option(1, min=1, help="threads of PyTorch"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train the path predictor, stopped early on held-out sequences, and write it as a model folder.

    Bags are those that percept replay writes (DIR/tracks.mcap), or recordings of the tracks topic.

    Example: percept train predictor --data kitti --root ../shared/data/kitti_mot -o /tmp/predictor --json
    """
    require_torch()
    from percept_ros.train.predictor_sets import train_set
    from percept_ros.train.threads import use_threads

    use_threads(threads)
    name, bags = _name_and_bags(data)
    where = Path() if bags else _root(name, root)
    metrics: dict[str, Any] = train_set(name, where, out, held_out, drives, seed, steps, note, bags)
    if as_json:
        emit_json({"checkpoint": str(out), "metrics": metrics})
    else:
        emit_table("predictor", ("metric", "value"), metrics.items())


def _name_and_bags(data: list[str]) -> tuple[str, list[Path]]:
    """Name of the data set, and the bags where it is the user's own."""
    if len(data) == 1 and (data[0] in DATA_SETS or not Path(data[0]).exists()):
        return data[0], []
    for item in data:
        if not Path(item).exists():
            raise RecordingError(
                f"bag '{item}' does not exist; data sets ({', '.join(DATA_SETS)}) stand alone", "missing"
            )
    return "bags", [Path(item) for item in data]


def _root(data: str, root: Path | None) -> Path:
    from percept_ros.cli.evaluate import data_root

    folders = {"kitti": "kitti_mot", "eth_ucy": "eth_ucy"}
    if data == "sim":
        return Path()
    if data not in folders:
        raise RecordingError(
            f"training data '{data}' is unknown: one of kitti, eth_ucy, sim, or bags that exist", "unknown"
        )
    return data_root(root, folders[data])
