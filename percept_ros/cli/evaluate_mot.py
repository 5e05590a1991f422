"""``percept evaluate mot``: score the tracker on KITTI tracking sequences with stored detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note

if TYPE_CHECKING:
    from percept_ros.evaluate.mot_run import Tracked

app = typer.Typer(rich_markup_mode=None)

METRICS = ("sAMOTA", "AMOTA", "AMOTP", "MOTA", "MOTP", "IDS", "FRAG", "FP", "FN", "HOTA", "DetA", "AssA")


@app.command()
def mot(
    root: Path | None = typer.Option(
        None, help="folder with label_02, calib, oxts, detections; else $PERCEPT_DATA/kitti_mot"
    ),
    camera: str = typer.Option(
        "", help="folder under detections/ with 2D boxes, for example rrc_2d; empty = LiDAR alone"
    ),
    iou: float = typer.Option(0.25, min=0.01, max=1.0, help="3D IoU of a match"),
    sequences: str = typer.Option("", help="comma-separated names, for example 0000,0011; empty = all"),
    model: str = typer.Option("", help="folder of existence models; empty = the shipped one, 'bayes' = none"),
    write_kitti: Path | None = typer.Option(None, help="also write results in KITTI format into this folder"),
    report: Path | None = typer.Option(
        None, help="also write this HTML page: metrics, sequences, reliability, innovations"
    ),
    seed: int = typer.Option(0, min=0, help="seed of track ids"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Track KITTI sequences and score them: sAMOTA, MOTA, identity switches, HOTA, reliability of existence, innovations.

    A sequence that the shipped model was trained on is tracked by a model that never saw it (leave one sequence out);
    other sequences by the frozen model. The answer says which.

    Example: percept evaluate mot --root ../shared/data/kitti_mot --camera rrc_2d --json
    """
    from percept_ros.cli.evaluate import data_root
    from percept_ros.evaluate import mot_run

    folder = _model_folder(model, bool(camera))
    names = [n.strip() for n in sequences.split(",") if n.strip()]
    tracked = mot_run.track_all(data_root(root, "kitti_mot"), names, camera or None, folder, seed)
    note(f"{len(tracked)} sequences tracked at {mot_run.speed(tracked):.0f} frames/s")
    if write_kitti is not None:
        mot_run.write_kitti(tracked, write_kitti)
    result = _answer(tracked, camera, iou, folder)
    if report is not None:
        from percept_ros.evaluate.mot_report import render_mot

        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(render_mot(result), encoding="utf-8")
    if as_json:
        emit_json(result)
    else:
        _show(result)


def _model_folder(model: str, camera: bool) -> Path | None:
    from percept_ros.evaluate.mot_run import FOLDS
    from percept_ros.inference.manifest import find_model

    if model == "bayes":
        return None
    return Path(model) if model and Path(model).is_dir() else find_model(model or FOLDS[camera])


def _answer(tracked: Sequence[Tracked], camera: str, iou: float, folder: Path | None) -> dict[str, Any]:
    from percept_ros.evaluate import mot_run
    from percept_ros.evaluate.kitti_tracking import CLASSES
    from percept_ros.evaluate.tracking_speed import crowd_ms

    models = {t.sequence.name: t.model for t in tracked}
    held_out = all(name.startswith("without_") for name in models.values())
    frozen = all(name == "frozen" for name in models.values())
    protocol = "bayes" if folder is None else "leave-one-sequence-out" if held_out else "frozen" if frozen else "mixed"
    scores = {label.lower(): mot_run.score(tracked, label, iou) for label in CLASSES}
    return {
        "iou": iou,
        "camera": camera,
        "frames": sum(t.sequence.frames for t in tracked),
        "fps": mot_run.speed(tracked),
        "crowd": crowd_ms(),
        "protocol": protocol,
        "models": models,
        "ego_motion": {t.sequence.name: t.sequence.with_pose for t in tracked},
        **scores,
        "innovation": {label.lower(): mot_run.innovation(tracked, label) for label in CLASSES},
    }


def _show(result: dict[str, Any]) -> None:
    title = f"KITTI 3D MOT, IoU {result['iou']}, camera {result['camera'] or 'none'}, {result['protocol']}, {result['fps']:.0f} frames/s"
    rows = [[k, *(result[k].get(m, "") for m in METRICS)] for k in ("car", "pedestrian")]
    emit_table(title, ("class", *METRICS), rows)
