"""Trains existence models with the tracker parameters that go with them: one per held-out sequence, and a frozen one.

Everything learned or chosen for a fold (networks, publication thresholds) comes from its other sequences alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import FEATURES, ExistenceModel, save_existence
from percept_ros.core.tracking import tracker_parameters
from percept_ros.evaluate.kitti_tracking import CLASSES, Sequence3D, SequenceRun
from percept_ros.evaluate.mot import build_scene, quick_scores
from percept_ros.train.existence import Recipe, Samples, collect, fit, label_evidence

LIFE = {
    "Car": {"min_hits": 1.0, "forget": 0.003, "max_coast_s": 4.0, "max_lidar_coast_s": 5.0},
    "Pedestrian": {
        "min_hits": 1.0,
        "forget": 0.003,
        "max_coast_s": 2.0,
        "max_lidar_coast_s": 3.0,
    },
}
"""Life cycle where existence is learned: it decides, the limits are only a last resort."""

GATES = (
    {"confirm": 0.2, "publish": 0.1, "publish_coast": 0.2},
    {"confirm": 0.3, "publish": 0.2, "publish_coast": 0.3},
    {"confirm": 0.5, "publish": 0.3, "publish_coast": 0.4},
)
"""Publication thresholds to choose from, by the sum of sAMOTA and MOTA on the training sequences, each
tracked by networks fitted to the other half of them."""

_JITTER = ("yaw_jitter", "size_jitter")
_OVERLAP = ("camera_overlap", "border")
_CAMERA_BORN = ("camera_born", "camera_scale", "camera_scale_off", "camera_score_mean")


def recipes(camera: bool) -> dict[str, Recipe]:
    """How each class is fitted: fewer inputs and more averaging where there are few tracks."""
    used = tuple(f for f in FEATURES if f not in _CAMERA_BORN)
    seen = tuple(f for f in used if camera or not f.startswith(("camera", "coast_unseen")))
    few = tuple(f for f in seen if f not in _JITTER + _OVERLAP)
    return {
        "Car": Recipe(seen, hidden=8, members=3, decay=1e-3),
        "Pedestrian": Recipe(few, hidden=8, members=8, decay=1e-3),
    }


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Sequences with their labelled evidence: sequence name -> label -> samples."""

    sequences: Mapping[str, Sequence3D]
    samples: Mapping[str, Mapping[str, Samples]]
    camera: bool


def prepare(sequences: Sequence[Sequence3D], camera: bool) -> TrainingSet:
    """Run the patient tracker (Bayes existence) over all sequences and label its tracks."""
    how = recipes(camera)
    parameters = tracker_parameters(TrackingConfig(), ExistenceModel({}, _by_class(LIFE)))
    samples = {}
    for sequence in sequences:
        evidence = collect(sequence, parameters, None)
        samples[sequence.name] = {k: label_evidence(evidence, sequence, k, how[k].ignored_weight) for k in CLASSES}
    return TrainingSet({s.name: s for s in sequences}, samples, camera)


def train_model(data: TrainingSet, names: Sequence[str], name: str, seed: int = 0) -> ExistenceModel:
    """Networks and thresholds from the sequences ``names`` alone."""
    model = _fitted(data, names, name, seed)
    halves = [names[0::2], names[1::2]]
    judges = {n: _fitted(data, halves[1 - k], name, seed) for k, half in enumerate(halves) for n in half}
    return replace(model, parameters=choose_gates(judges, data.sequences))


def _fitted(data: TrainingSet, names: Sequence[str], name: str, seed: int) -> ExistenceModel:
    how = recipes(data.camera)
    layers = {
        (CLASSES[k], data.camera): fit(Samples.join([data.samples[n][k] for n in names]), how[k], seed) for k in CLASSES
    }
    return ExistenceModel(layers, {}, name, tuple(names))


def choose_gates(
    judges: Mapping[str, ExistenceModel], sequences: Mapping[str, Sequence3D]
) -> dict[str, dict[str, float]]:
    """Class name -> parameters: ``LIFE`` with the best of ``GATES``; ``judges``: sequence -> model that never saw it."""
    best: dict[str, tuple[float, dict[str, float]]] = {}
    for gates in GATES:
        trial = {label: {**LIFE[label], **gates} for label in CLASSES}
        parameters = tracker_parameters(TrackingConfig(), ExistenceModel({}, _by_class(trial)))
        rows = {n: SequenceRun(sequences[n], parameters, judge, 0).results() for n, judge in judges.items()}
        for label in CLASSES:
            scenes = [
                build_scene(labels, r[label], label.lower(), sequences[n].frames)
                for n, r in rows.items()
                if (labels := sequences[n].labels) is not None
            ]
            value = sum(quick_scores(scenes, 0.25))
            if label not in best or value > best[label][0]:
                best[label] = (value, trial[label])
    return _by_class({label: chosen for label, (_, chosen) in best.items()})


def train_folds(
    sequences: Sequence[Sequence3D], camera: bool, out: Path, note: Callable[[str], None]
) -> dict[str, str]:
    """Write ``without_NNNN.json`` for every sequence and ``frozen.json``; returns file name -> sha256."""
    data = prepare(sequences, camera)
    names = list(data.sequences)
    hashes = {}
    for held_out in [*names, None]:
        name = "frozen" if held_out is None else f"without_{held_out}"
        model = train_model(data, [n for n in names if n != held_out], name)
        hashes[f"{name}.json"] = save_existence(model, out / f"{name}.json")
        note(f"{name}: {dict(model.parameters)}")
    return hashes


def _by_class(labelled: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {CLASSES[label].name: dict(values) for label, values in labelled.items()}
