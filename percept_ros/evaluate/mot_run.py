"""One evaluation of the tracker over KITTI tracking sequences: which model may judge which sequence, results, metrics.

A sequence that the shipped model was trained on is tracked with the model of a fold that never saw it (file
``without_NNNN.json``); any other sequence is tracked with the frozen model (``frozen.json``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import ExistenceModel, load_existence
from percept_ros.core.tracking import tracker_parameters
from percept_ros.core.tracking_kernel import innovation_table
from percept_ros.errors import RecordingError
from percept_ros.evaluate.hota import evaluate_hota
from percept_ros.evaluate.kitti_io import result_rows, write_results
from percept_ros.evaluate.kitti_tracking import CLASSES, Sequence3D, SequenceRun, list_sequences, read_sequence
from percept_ros.evaluate.mot import Scene, TrackRows, build_scene, evaluate_mot
from percept_ros.evaluate.reliability import judge, reliability
from percept_ros.types import F64, Bool

FOLDS = {True: "existence_kitti_camera", False: "existence_kitti_lidar"}
"""Model folder by whether camera boxes are used."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """Results of one sequence.

    rows: by label. seconds: of the tracking calls. consistency: (C, B, 5) innovations. model: name of the one used.
    live: label -> (existence, whether it is a true object) of every live track in every frame that the benchmark counts.
    """

    sequence: Sequence3D
    rows: Mapping[str, TrackRows]
    seconds: float
    consistency: F64
    model: str
    live: Mapping[str, tuple[F64, Bool]]


def choose_model(folder: Path | None, sequence: str) -> ExistenceModel | None:
    """Model that never saw ``sequence``; None (Bayes update) without a folder. Raises ManifestError."""
    if folder is None:
        return None
    frozen = load_existence(folder / "frozen.json")
    return load_existence(folder / f"without_{sequence}.json") if sequence in frozen.trained_on else frozen


def track_sequence(sequence: Sequence3D, model: ExistenceModel | None, seed: int = 0) -> Tracked:
    """Run the tracker over one sequence with the parameters that belong to the model."""
    parameters = tracker_parameters(TrackingConfig(), model)
    run = SequenceRun(sequence, parameters, model, seed)
    rows = run.results()
    live = _live(SequenceRun(sequence, parameters, model, seed)) if sequence.labels is not None else {}
    return Tracked(sequence, rows, run.seconds, run.kernel.consistency(), model.name if model else "bayes", live)


def _live(run: SequenceRun) -> dict[str, tuple[F64, Bool]]:
    evidence, found = run.evidence(), {}
    for label in CLASSES:
        judged = judge(evidence, run.sequence, label)
        found[label] = (evidence.existence[judged.rows][judged.counted], judged.truth[judged.counted])
    return found


def track_all(
    root: Path, names: Sequence[str], camera: str | None, folder: Path | None, seed: int = 0
) -> list[Tracked]:
    """Track every named sequence (empty: all). Raises RecordingError for a name without data."""
    known = list_sequences(root)
    if missing := [n for n in names if n not in known]:
        raise RecordingError(f"no detections for sequence {', '.join(missing)}; there are {', '.join(known)}")
    if camera and not (root / "detections" / camera).is_dir():
        raise RecordingError(f"'{root / 'detections' / camera}' does not exist: no camera boxes")
    chosen = names or known
    return [
        track_sequence(read_sequence(root, name, camera=camera), choose_model(folder, name), seed) for name in chosen
    ]


def score(tracked: Sequence[Tracked], label: str, iou: float) -> dict[str, Any]:
    """Metrics of one class, pooled and a sequence."""
    scenes = {t.sequence.name: _scene(t, label) for t in tracked if t.sequence.labels is not None}
    if not any(len(s.gt_track) for s in scenes.values()):
        return {"objects": 0}
    pooled = evaluate_mot(list(scenes.values()), iou)
    hota = evaluate_hota(list(scenes.values()), iou, pooled.threshold)
    single = {n: evaluate_mot([s], iou) for n, s in scenes.items() if len(s.gt_track)}
    per_sequence = {n: {k: getattr(m, k) for k in ("MOTA", "IDS", "FP", "FN")} for n, m in single.items()}
    honest = [t.live[label] for t in tracked if label in t.live]
    curve = reliability([p for p, _ in honest], [y for _, y in honest])
    return {**asdict(pooled), **asdict(hota), "per_sequence": per_sequence, "reliability": curve}


def innovation(tracked: Sequence[Tracked], label: str) -> dict[str, Any]:
    """Innovation consistency of one class, all and by range. See ``innovation_table``."""
    return innovation_table(np.sum([t.consistency[CLASSES[label]] for t in tracked], axis=0))


def speed(tracked: Sequence[Tracked]) -> float:
    """Frames a second of the tracking calls alone."""
    return sum(t.sequence.frames for t in tracked) / max(sum(t.seconds for t in tracked), 1e-9)


def write_kitti(tracked: Sequence[Tracked], folder: Path) -> None:
    """Write ``NNNN.txt`` in the benchmark's result format, 2D boxes being projections of the 3D boxes."""
    for t in tracked:
        rows = [
            row
            for label, r in t.rows.items()
            for row in result_rows(label, r.frames, r.numbers, r.boxes, r.boxes_px, r.scores)
        ]
        write_results(folder / f"{t.sequence.name}.txt", rows)


def _scene(tracked: Tracked, label: str) -> Scene:
    labels = tracked.sequence.labels
    if labels is None:
        raise RecordingError(f"sequence {tracked.sequence.name} has no labels")
    return build_scene(labels, tracked.rows[label], label.lower(), tracked.sequence.frames)
