"""Figures of the shipped path networks on KITTI sequences that they were not trained on, and their gates everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from percept_ros.detectors.path_model import PathModel
from percept_ros.evaluate.prediction_data import cases, kitti
from percept_ros.evaluate.prediction_folds import models_for
from percept_ros.evaluate.prediction_run import Predicted, predict, summarise

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PERCEPT_DATA", ROOT.parent / "shared" / "data")) / "kitti_mot"
FAST = ("0002", "0003", "0009", "0011")
"""Two of the five folds."""
FEW = 100
"""Of fewer cases (one rider) the best constant velocity in hindsight is nobody's to choose."""

pytestmark = pytest.mark.skipif(not (DATA / "label_02").is_dir(), reason=f"no KITTI tracking labels in {DATA}")


def predicted(folder: Path) -> dict[str, Predicted]:
    chosen = cases(kitti(DATA, FAST), 0.1, 20, 30)
    parts = {}
    for place, held in models_for(folder, [str(n) for n in chosen.sequences]).items():
        model = PathModel(place)
        model.load()
        parts["_".join(held)] = predict(model, chosen.take(np.isin(chosen.sequences, list(held))))
        model.close()
    return parts


def test_the_network_is_ahead_of_every_classical_baseline_on_vehicles() -> None:
    every = summarise(predicted(ROOT / "models" / "predictor_kitti"))
    vehicle = every["vehicle"]
    assert vehicle["cases"] == 2904
    assert vehicle["ratio_to_cv"] < 0.85
    assert vehicle["FDE_ratio_to_cv"] < 0.85
    assert vehicle["ratio_to_ridge"] < 0.97
    assert all(f["gated_worst_ratio_to_cv"] < 1.01 for f in every.values() if f["cases"] >= FEW)


def test_the_gated_shipped_network_is_no_worse_than_constant_velocity() -> None:
    for name, figures in summarise(predicted(ROOT / "models" / "predictor_sim")).items():
        if figures["cases"] >= FEW:
            assert figures["gated_worst_ratio_to_cv"] < 1.01, name
