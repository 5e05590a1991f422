"""``percept evaluate``: score detection, tracking or prediction."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import typer

from percept_ros.cli.lazy_group import LazyGroup
from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import RecordingError


class _Group(LazyGroup):
    others: ClassVar[dict[str, str]] = {
        "mot": "percept_ros.cli.evaluate_mot",
        "predict": "percept_ros.cli.evaluate_predict",
    }


app = typer.Typer(cls=_Group, no_args_is_help=True, help=__doc__, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Score detection, tracking or prediction on recorded or simulated data."""


def data_root(root: Path | None, folder: str) -> Path:
    """``root``, or ``folder`` under PERCEPT_DATA. Raises RecordingError when it is not there."""
    base = os.environ.get("PERCEPT_DATA")
    chosen = root or (Path(base) / folder if base else None)
    if chosen is None:
        raise RecordingError("no data set: give --root DIR, or set PERCEPT_DATA", "missing")
    if not chosen.is_dir():
        raise RecordingError(f"data set folder '{chosen}' does not exist", "missing")
    return chosen


@app.command()
def detect(
    dataset: str = typer.Option(..., help="sim, kitti, recorded, av2, kitti-drive or nuscenes"),
    root: Path | None = typer.Option(None, help="folder of the data set; else its usual name under PERCEPT_DATA"),
    model: str = typer.Option(
        "",
        help="geometric, model folder, or name of a model in models/; else bev_fusion with cameras, lidar_pillars without",
    ),
    precision: str = typer.Option("", help="only artefacts of this precision: fp32, fp16 or int8"),
    camera_model: Path | None = typer.Option(None, help="2D model whose boxes are the reference (kitti-drive)"),
    score: float = typer.Option(0.3, min=0.0, max=1.0, help="working point of recall and false boxes"),
    seed: int = typer.Option(1000, min=0, help="seed of simulated drives; training uses other seeds"),
    drives: int = typer.Option(60, min=1, help="simulated drives, one moment of each"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Score a 3D detector.

    Example: percept evaluate detect --dataset av2 --root ../shared/data/av2_log --json
    """
    scorer = _scorer(dataset, root, camera_model, score, seed, drives)
    detector = _detector(model or default_model(dataset), precision)
    detector.load()
    try:
        result = {"dataset": dataset, "model": detector.model, **scorer(detector)}
    finally:
        detector.close()
    if as_json:
        emit_json(result)
    else:
        _show(result)


def default_model(dataset: str) -> str:
    """The shipped model for a data set: the one with cameras where it has calibrated ones."""
    return "bev_fusion" if dataset in ("sim", "nuscenes") else "lidar_pillars"


def _detector(model: str, precision: str) -> Any:
    """The detector called ``model``, not loaded; learned ones give weak boxes too, for the whole precision-recall curve."""
    from percept_ros.detectors.learned import LearnedDetector
    from percept_ros.detectors.open import open_detector

    found = open_detector(model)
    if isinstance(found, LearnedDetector):
        return LearnedDetector(model, precision=precision or None, score_threshold=0.05)
    return found


def _scorer(
    dataset: str, root: Path | None, camera_model: Path | None, score: float, seed: int, drives: int
) -> Callable[[Any], dict[str, Any]]:
    from percept_ros.evaluate import detection_run as run

    if dataset == "sim":
        return lambda detector: _simulated(detector, seed, drives)
    if dataset == "kitti-drive":
        folder = data_root(root, run.DRIVE_FOLDER)
        camera = _camera(camera_model)
        return lambda detector: run.score_drive(folder, detector, camera, score, note)
    if dataset == "nuscenes":
        from percept_ros.evaluate.detection_nuscenes import FOLDER, score_key_frames

        sample = data_root(root, FOLDER)
        return lambda detector: score_key_frames(sample, detector, note)
    if dataset in run.READERS:
        name, read = run.READERS[dataset]
        folder = data_root(root, name)
        return lambda detector: run.score_sweeps(read(folder), detector, score, note)
    raise RecordingError(f"data set '{dataset}' is unknown: one of {', '.join(run.known_datasets())}", "unknown")


def _simulated(detector: Any, seed: int, drives: int) -> dict[str, Any]:
    from percept_ros.evaluate.detection_sim import score_drives

    return score_drives(detector, seed, drives, 6 if detector.takes_cameras else 0, note)


def _camera(folder: Path | None) -> Any:
    from percept_ros.detectors.image import ImageDetector

    chosen = folder or data_root(None, "models/yolox_nano")
    camera = ImageDetector(chosen)
    camera.load()
    return camera


def _show(result: dict[str, Any]) -> None:
    columns = ("AP", "count", "found", "recall_40m", "false", "false_per_frame", "heading_right")
    groups = {k: v for k, v in result.items() if isinstance(v, dict)}
    nested = {f"{k}.{c}": v for k, g in groups.items() for c, v in g.items() if isinstance(v, dict) and "AP" in v}
    rows = {k: g for k, g in groups.items() if "AP" in g} | nested
    cells = [[name, *("" if row.get(c) is None else row[c] for c in columns)] for name, row in rows.items()]
    emit_table(f"{result['dataset']}: {result['model']}, {result['frames']} frames", ("class", *columns), cells)
