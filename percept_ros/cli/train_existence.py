"""``percept train existence``: train the tracker's existence models on labelled tracking sequences."""

from __future__ import annotations

from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, emit_table, note

app = typer.Typer(rich_markup_mode=None)


@app.command()
def existence(
    out: Path = typer.Option(..., "-o", "--out", help="folder of the models"),
    root: Path | None = typer.Option(None, help="KITTI tracking folder; else $PERCEPT_DATA/kitti_mot"),
    camera: str = typer.Option("", help="folder under detections/ with 2D boxes; empty = LiDAR alone"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train one model per held-out sequence (without_NNNN.json) and one on all (frozen.json), with card and reliability curves.

    Example: percept train existence --root ../shared/data/kitti_mot --camera rrc_2d -o /tmp/existence --json
    """
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
    metrics = {label.lower(): {k: s[k] for k in keys} for label, s in scores.items()}
    if as_json:
        emit_json({"checkpoint": str(out), "sha256": hashes, "metrics": metrics})
    else:
        emit_table("held-out sequences", ("class", *keys), [[k, *(m[n] for n in keys)] for k, m in metrics.items()])
