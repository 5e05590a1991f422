"""Trains the existence model of one of our detectors on simulated drives; see existence.py for the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import FEATURES, ExistenceModel, Layer
from percept_ros.core.tracking import tracker_parameters
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.evaluate.reliability import reliability
from percept_ros.train.existence import Recipe, Samples, fit, patient
from percept_ros.train.existence_drives import Drive, Lived, live, score
from percept_ros.types import VEHICLE_CLASSES, ObjectClass

GROUPS: dict[str, tuple[ObjectClass, ...]] = {
    "vehicles": VEHICLE_CLASSES,
    "pedestrians": (ObjectClass.PEDESTRIAN,),
    "cycles": (ObjectClass.BICYCLE, ObjectClass.MOTORCYCLE),
}
"""One network each."""
CAMERA_ONLY = ("camera", "coast_unseen", "coast_occluded", "occluded", "visible", "in_view", "log_pixel", "border")
RECIPE = Recipe(tuple(f for f in FEATURES if not f.startswith(CAMERA_ONLY)), hidden=8, members=3, decay=1e-3)
LIFE = {"min_hits": 1.0, "forget": 0.003}
"""Existence decides; the limits of the configuration are only a last resort."""
GATES = tuple(
    {"confirm": confirm, "publish": keep, "publish_coast": coast}
    for confirm, keep, coast in (
        (0.5, 0.3, 0.3),
        (0.6, 0.3, 0.3),
        (0.7, 0.3, 0.3),
        (0.7, 0.4, 0.3),
        (0.7, 0.5, 0.5),
        (0.8, 0.4, 0.3),
        (0.8, 0.5, 0.5),
    )
)
"""Publication thresholds to choose from, by MOTA."""


def base_parameters() -> TrackerParameters:
    """The tracker as it is without a model."""
    return tracker_parameters(TrackingConfig(), None)


def learn(drives: Sequence[Drive], choosers: Sequence[Drive], name: str, note: Callable[[str], None]) -> ExistenceModel:
    """Networks from ``drives``, thresholds from ``choosers``."""
    loose = patient(base_parameters())
    lived = Lived.join([live(one, loose, None) for one in drives])
    layers: dict[tuple[ObjectClass, bool], Layer] = {}
    for label, kinds in GROUPS.items():
        rows = np.isin(lived.classes, [int(kind) for kind in kinds])
        samples = Samples(
            lived.features[rows], lived.real[rows].astype(np.float64), lived.counts[rows].astype(np.float64)
        )
        if not samples.weights.any():
            note(f"{label}: none seen, left to the Bayes update")
            continue
        layer = fit(samples, RECIPE)
        layers |= {(kind, False): layer for kind in kinds}
        note(f"{label}: {int(rows.sum())} rows, {100 * lived.real[rows].mean():.0f} % real")
    bare = ExistenceModel(layers, {}, name)
    best = max(GATES, key=lambda gates: score(choosers, gated(gates), bare)["mota"])
    note(f"thresholds: {best}")
    known = [kind for kinds in GROUPS.values() for kind in kinds]
    return replace(bare, parameters={kind.name: {**LIFE, **best} for kind in known})


def gated(gates: dict[str, float]) -> TrackerParameters:
    """Parameters of every class with these thresholds."""
    base = base_parameters()
    return replace(base, classes=tuple(replace(c, **LIFE, **gates) for c in base.classes))


def judged(drives: Sequence[Drive], model: ExistenceModel) -> dict[str, Any]:
    """On drives not used so far: ``tracks`` with the model, ``bayes`` without, ``reliability`` by group."""
    parameters = tracker_parameters(TrackingConfig(), model)
    lived = Lived.join([live(one, parameters, model) for one in drives])
    curves = {}
    for label, kinds in GROUPS.items():
        rows = np.isin(lived.classes, [int(kind) for kind in kinds]) & lived.counts
        curves[label] = reliability([lived.existence[rows]], [lived.real[rows]])
    return {
        "tracks": score(drives, parameters, model),
        "bayes": score(drives, base_parameters(), None),
        "reliability": curves,
    }
