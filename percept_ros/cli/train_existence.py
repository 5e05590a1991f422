"""``percept train existence``: train the tracker's existence models on labelled or simulated drives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note

app = typer.Typer(rich_markup_mode=None)


@app.command()
def existence(
    out: Path = typer.Option(..., "-o", "--out", help="folder of the models"),
    data: str = typer.Option("kitti", help="kitti, or sim: simulated drives through --detector"),
    root: Path | None = typer.Option(None, help="KITTI tracking folder; else $PERCEPT_DATA/kitti_mot"),
    camera: str = typer.Option("", help="kitti: folder under detections/ with 2D boxes; empty = LiDAR alone"),
    detector: str = typer.Option("lidar_pillars", help="sim: model whose detections are tracked"),
    drives: int = typer.Option(12, min=4, help="sim: drives; a quarter chooses thresholds, a quarter judges"),
    seconds: float = typer.Option(15.0, min=2.0, help="sim: length of a drive"),
    seed: int = typer.Option(7, min=0, help="sim: seed of the drives"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train what says how likely a track is a real object, with its card and reliability curves.

    kitti: one model per held-out sequence (without_NNNN.json) and one on all (frozen.json). sim: one model (frozen.json) for
    one of our own detectors, free of non-commercial data.

    Example: percept train existence --root ../shared/data/kitti_mot --camera rrc_2d -o /tmp/existence --json
    """
    if data == "sim":
        from percept_ros.train.existence_sim_card import train_folder

        found = train_folder(detector, out, drives=drives, seconds=seconds, seed=seed, note=note)
        metrics = {name: found[name] for name in ("tracks", "bayes")}
    elif data == "kitti":
        found, metrics = _kitti(out, root, camera)
    else:
        raise typer.BadParameter("expected kitti or sim", param_hint="--data")
    if as_json:
        emit_json({"checkpoint": str(out), "sha256": found["sha256"], "metrics": metrics})
    else:
        keys = list(next(iter(metrics.values())))
        emit_table("on what was held out", ("", *keys), [[k, *(m[n] for n in keys)] for k, m in metrics.items()])


def _kitti(out: Path, root: Path | None, camera: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from percept_ros.cli.evaluate import data_root
    from percept_ros.evaluate.kitti_tracking import list_sequences, read_sequence
    from percept_ros.train.existence_card import write_card
    from percept_ros.train.existence_folds import train_folds

    folder = data_root(root, "kitti_mot")
    sequences = [read_sequence(folder, name, camera=camera or None) for name in list_sequences(folder)]
    hashes = train_folds(sequences, bool(camera), out, note)
    note("scoring each sequence with the model that never saw it")
    scores = write_card(out, folder, camera, hashes)
    keys = ("sAMOTA", "sAMOTA_unrounded", "MOTA", "IDS", "FRAG", "FP", "FN")
    return {"sha256": hashes}, {label.lower(): {k: s[k] for k in keys} for label, s in scores.items()}
