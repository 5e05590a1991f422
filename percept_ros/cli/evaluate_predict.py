"""``percept evaluate predict``: score path prediction on recorded or simulated trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import RecordingError

if TYPE_CHECKING:
    from percept_ros.evaluate.prediction_data import Cases
    from percept_ros.evaluate.prediction_run import Predicted

app = typer.Typer(rich_markup_mode=None)

FOLDERS = {"kitti": "kitti_mot", "eth_ucy": "eth_ucy", "av2": "av2_log", "sim": ""}
OWN_WEIGHTS = {"kitti": "predictor_kitti", "eth_ucy": "predictor_eth_ucy"}
SHIPPED = "predictor_sim"
SHOWN = ("cases", "ADE", "FDE", "cv_ADE", "ridge_ADE", "ratio_to_cv", "ratio_to_ridge", "gated_worst_ratio_to_cv")


@app.command()
def predict(
    dataset: str = typer.Option(..., help="kitti, eth_ucy, av2 or sim"),
    root: Path | None = typer.Option(None, help="folder of the data set; else its usual name under PERCEPT_DATA"),
    weights: str = typer.Option(
        "", help="model folder, folder of folds, or name in models/; empty = the data set's folds"
    ),
    sequences: str = typer.Option("", help="comma-separated sequences or scenes; empty = all"),
    seed: int = typer.Option(9000, min=0, help="first seed of simulated drives; training uses lower ones"),
    drives: int = typer.Option(12, min=1, help="simulated drives"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Score path prediction: ADE, FDE, miss rate and calibration beside constant velocity, CTRV and ridge filter.

    KITTI and Argoverse 2: 2 s to 3 s at 10 Hz. ETH/UCY: 8 to 12 positions at 2.5 Hz, files as given. The named weights
    answer under the classes; the shipped ones, where they fit the clock, under "shipped".

    Example: percept evaluate predict --dataset kitti --root ../shared/data/kitti_mot --json
    """
    names = [n.strip() for n in sequences.split(",") if n.strip()]
    chosen = _cases(dataset, root, names, seed, drives)
    if not len(chosen):
        raise RecordingError(f"data set '{dataset}' gives no window long enough to predict from", "empty")
    used = weights or OWN_WEIGHTS.get(dataset, SHIPPED)
    result: dict[str, Any] = {"dataset": dataset, "weights": used, **_score(dataset, used, chosen)}
    if dataset != "eth_ucy" and used != SHIPPED:
        result["shipped"] = {"weights": SHIPPED, **_score(dataset, SHIPPED, chosen)}
    if as_json:
        emit_json(result)
        return
    for title, part in (("", result), ("shipped ", result.get("shipped", {}))):
        rows = [
            [k, *(v.get(c, "") for c in SHOWN)] for k, v in part.items() if isinstance(v, dict) and "ratio_to_cv" in v
        ]
        if rows:
            emit_table(f"{title}{part['weights']} on {dataset}", ("class", *SHOWN), rows)


def _cases(dataset: str, root: Path | None, names: Sequence[str], seed: int, drives: int) -> Cases:
    from percept_ros.cli.evaluate import data_root
    from percept_ros.evaluate import prediction_data as data

    if dataset not in FOLDERS:
        raise RecordingError(f"data set '{dataset}' is unknown: one of {', '.join(FOLDERS)}", "unknown")
    if dataset == "sim":
        from percept_ros.evaluate.prediction_sim import drives as simulate

        return data.cases(simulate(seed, drives), data.KITTI_STEP_S, 20, 30, stride=2)
    folder = data_root(root, FOLDERS[dataset])
    if dataset == "eth_ucy":
        found = data.eth_ucy(folder, "test", names or data.SCENES)
        return data.cases([t for part in found.values() for t in part], data.ETH_STEP_S, 8, 12)
    read = data.kitti(folder, names) if dataset == "kitti" else data.av2(folder)
    return data.cases(read, data.KITTI_STEP_S, 20, 30)


def _score(dataset: str, weights: str, chosen: Cases) -> dict[str, Any]:
    from percept_ros.evaluate.prediction_run import scene_figures, summarise

    parts = _predict_all(dataset, weights, chosen)
    return {**summarise(parts), **(scene_figures(parts) if dataset == "eth_ucy" else {})}


def _predict_all(dataset: str, weights: str, chosen: Cases) -> dict[str, Predicted]:
    """Part (fold, scene, or the whole) -> predictions by the model that never saw it."""
    import numpy as np

    from percept_ros.detectors.path_model import PathModel
    from percept_ros.evaluate.prediction_data import SCENE_OF_FILE
    from percept_ros.evaluate.prediction_folds import models_for
    from percept_ros.evaluate.prediction_run import predict
    from percept_ros.inference.manifest import find_model

    owner = chosen.sequences
    if dataset == "eth_ucy":
        owner = np.array([SCENE_OF_FILE.get(str(n), str(n)) for n in owner], dtype=np.str_)
    parts = {}
    for folder, held in models_for(find_model(weights), [str(n) for n in owner]).items():
        model = PathModel(folder)
        model.load()
        note(f"{folder.name} answers for {', '.join(held)}")
        for name in held if dataset == "eth_ucy" else ("_".join(held),):
            rows = np.isin(owner, [name] if dataset == "eth_ucy" else list(held))
            parts[name] = predict(model, chosen.take(rows))
        model.close()
    return parts
