"""Trains existence models with the tracker parameters that go with them: one per held-out sequence, and a frozen one.

Networks of a fold come from its other sequences alone. Its publication thresholds are those that do best on the other
sequences, each tracked by the fold that had not seen that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import FEATURES, ExistenceModel, save_existence
from percept_ros.core.tracking import tracker_parameters
from percept_ros.evaluate.kitti_tracking import CLASSES, Sequence3D, SequenceRun
from percept_ros.evaluate.mot import Scene, TrackRows, build_scene, quick_scores
from percept_ros.train.existence import Recipe, Samples, collect, fit, label_evidence

LIFE = {
    "Car": {
        "min_hits": 1.0,
        "forget": 0.003,
        "max_coast_s": 4.0,
        "max_lidar_coast_s": 5.0,
        "position_m": 0.048,
        "position_per_m": 0.0027,
        "weak_factor": 2.8,
        "camera_birth": 0.3,
        "camera_height_m": 1.57,
    },
    "Pedestrian": {
        "min_hits": 1.0,
        "forget": 0.003,
        "max_coast_s": 2.0,
        "max_lidar_coast_s": 3.0,
        "position_m": 0.04,
        "position_per_m": 0.0007,
        "accel_mps2": 0.5,
    },
}
"""Life cycle where existence is learned: it decides, the limits are only a last resort. Cars are also born from camera boxes,
their depth guessed by the height that boxes of cars at 50 m and more show; for people that guess is too rough. The noise makes
normalised innovations of this detector honest; it was set once, looking at all sequences.
"""

GATES = {
    "Car": (
        {"confirm": 0.2, "publish": 0.15, "publish_coast": 0.45},
        {"confirm": 0.3, "publish": 0.2, "publish_coast": 0.45},
    ),
    "Pedestrian": ({"confirm": 0.1, "publish": 0.1, "publish_coast": 0.1},),
}
"""Publication thresholds to choose from, by the sum of sAMOTA and MOTA. There are too few pedestrians to choose by: theirs were
set once, looking at all sequences.
"""

_JITTER = ("yaw_jitter", "size_jitter")
_OVERLAP = ("camera_overlap", "border")
_CAMERA_BORN = ("camera_born", "camera_scale", "camera_scale_off", "camera_score_mean")


def recipes(camera: bool) -> dict[str, Recipe]:
    """How each class is fitted: fewer inputs and more averaging where there are few tracks."""
    seen = tuple(f for f in FEATURES if camera or not f.startswith(("camera", "coast_unseen")))
    few = tuple(f for f in seen if f not in _JITTER + _OVERLAP + _CAMERA_BORN)
    return {
        "Car": Recipe(seen, hidden=8, members=3, decay=1e-3),
        "Pedestrian": Recipe(few, hidden=8, members=4, decay=1e-3),
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


def fit_networks(data: TrainingSet, names: Sequence[str], name: str, seed: int = 0) -> ExistenceModel:
    """Networks from the sequences ``names`` alone, without thresholds."""
    how = recipes(data.camera)
    layers = {
        (CLASSES[k], data.camera): fit(Samples.join([data.samples[n][k] for n in names]), how[k], seed) for k in CLASSES
    }
    return ExistenceModel(layers, {}, name, tuple(names))


def score_gates(data: TrainingSet, judges: Mapping[str, ExistenceModel]) -> dict[str, list[dict[str, Scene]]]:
    """Label -> for each of its ``GATES`` -> sequence -> results, each sequence tracked by the model that never saw it."""
    found: dict[str, list[dict[str, Scene]]] = {label: [] for label in CLASSES}
    for k in range(max(map(len, GATES.values()))):
        trial = {label: {**LIFE[label], **GATES[label][min(k, len(GATES[label]) - 1)]} for label in CLASSES}
        parameters = tracker_parameters(TrackingConfig(), ExistenceModel({}, _by_class(trial)))
        rows = {n: SequenceRun(data.sequences[n], parameters, judge, 0).results() for n, judge in judges.items()}
        for label in [name for name in CLASSES if k < len(GATES[name])]:
            scenes = {n: _scene(data.sequences[n], r[label], label) for n, r in rows.items()}
            found[label].append({n: scene for n, scene in scenes.items() if len(scene.gt_track)})
    return found


def choose_gates(
    found: Mapping[str, Sequence[Mapping[str, Scene]]], held_out: str | None
) -> dict[str, dict[str, float]]:
    """Class name -> parameters: ``LIFE`` with those of ``GATES`` with the best sum of sAMOTA and MOTA on all sequences but ``held_out``."""
    chosen = {}
    for label in CLASSES:
        values = [sum(quick_scores([s for n, s in by.items() if n != held_out], 0.25)) for by in found[label]]
        chosen[label] = {**LIFE[label], **GATES[label][values.index(max(values))]}
    return _by_class(chosen)


def _scene(sequence: Sequence3D, rows: TrackRows, label: str) -> Scene:
    if sequence.labels is None:
        raise ValueError(f"sequence {sequence.name} has no labels")
    return build_scene(sequence.labels, rows, label.lower(), sequence.frames)


def train_folds(
    sequences: Sequence[Sequence3D], camera: bool, out: Path, note: Callable[[str], None]
) -> dict[str, str]:
    """Write ``without_NNNN.json`` for every sequence and ``frozen.json``; returns file name -> sha256."""
    data = prepare(sequences, camera)
    names = list(data.sequences)
    folds: dict[str | None, ExistenceModel] = {}
    for held_out in [*names, None]:
        name = "frozen" if held_out is None else f"without_{held_out}"
        folds[held_out] = fit_networks(data, [n for n in names if n != held_out], name)
        note(f"{name}: networks fitted")
    found = score_gates(data, {n: folds[n] for n in names})
    hashes = {}
    for held_out, model in folds.items():
        whole = replace(model, parameters=choose_gates(found, held_out))
        hashes[f"{model.name}.json"] = save_existence(whole, out / f"{model.name}.json")
        note(f"{model.name}: {dict(whole.parameters)}")
    return hashes


def _by_class(labelled: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {CLASSES[label].name: dict(values) for label, values in labelled.items()}
