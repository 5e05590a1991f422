"""Simulated drives as the tracker sees them: detections of the package's own detectors, and the truth, one file a drive."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.detectors.detector import Detector
from percept_ros.detectors.open import open_detector
from percept_ros.evaluate.kitti_io import CAMERA_SE3_BASE, Calibration
from percept_ros.evaluate.kitti_tracking import Sequence3D
from percept_ros.simulate.drive import SimulateConfig, simulate_drive
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, CameraView, Detections, Tracks

DETECTORS = ("lidar_pillars", "geometric")
SECONDS = 8.0
FAR_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Drive:
    """One drive with the detections of one detector.

    sequence: what the tracker gets, as a sequence without labels. truth_from: (frames + 1,) rows of each frame in ``truth``,
    (N, 9): box in the base frame, class, LiDAR returns inside.
    """

    sequence: Sequence3D
    truth_from: Any
    truth: Any


def record(folder: Path, count: int, seed: int, note: Callable[[str], None]) -> None:
    """Simulate the drives that are not in ``folder`` yet, and write what each of ``DETECTORS`` finds."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in range(seed, seed + count) if not (folder / f"{s:06d}.npz").exists()]
    if not missing:
        return
    detectors = {name: open_detector(name) for name in DETECTORS}
    for detector in detectors.values():
        detector.load()
    try:
        for drive_seed in missing:
            _record(folder / f"{drive_seed:06d}.npz", drive_seed, detectors)
            note(f"drive {drive_seed}")
    finally:
        for detector in detectors.values():
            detector.close()


def conditions(seed: int) -> SimulateConfig:
    """Traffic, speed and LiDAR of drive ``seed``."""
    rng = np.random.default_rng([seed, 11])
    beams = int(rng.choice([32, 64, 64, 128]))
    density, speed = float(rng.uniform(0.2, 0.9)), float(rng.uniform(3.0, 14.0))
    return SimulateConfig(seconds=SECONDS, cameras=0, beams=beams, density=density, speed_mps=speed, threads=1)


def _record(file: Path, seed: int, detectors: dict[str, Detector]) -> None:
    poses, truth, inside = [], [], []
    found: dict[str, list[Detections]] = {name: [] for name in detectors}
    for frame in simulate_drive(conditions(seed), seed):
        sensors = frame.sensors
        poses.append(sensors.fixed_SE3_base)
        truth.append(frame.truth)
        inside.append(frame.points_inside)
        for name, detector in detectors.items():
            found[name].append(detector.detect(sensors, deadline_ns=time.monotonic_ns() + FAR_NS))
    arrays = {"poses": np.array(poses), **_truth_arrays(poses, truth, inside)}
    for name, detections in found.items():
        arrays |= {f"{name}_{k}": v for k, v in _detection_arrays(detections).items()}
    np.savez_compressed(file.with_suffix(".partial.npz"), **arrays)
    file.with_suffix(".partial.npz").replace(file)


def _truth_arrays(poses: Sequence[Any], truth: Sequence[Tracks], inside: Sequence[Any]) -> dict[str, Any]:
    rows = [
        np.column_stack([transform_boxes(inverse(pose), t.boxes), t.class_ids, n])
        for pose, t, n in zip(poses, truth, inside, strict=True)
    ]
    return {"truth": np.concatenate(rows), "truth_from": np.concatenate([[0], np.cumsum([len(r) for r in rows])])}


def _detection_arrays(found: Sequence[Detections]) -> dict[str, Any]:
    return {
        "from": np.concatenate([[0], np.cumsum([len(d) for d in found])]),
        "boxes": np.concatenate([d.boxes for d in found]),
        "scores": np.concatenate([d.scores for d in found]),
        "class_probs": np.concatenate([d.class_probabilities for d in found]),
        "velocity": np.concatenate([d.velocity_mps for d in found]),
    }


def read_drives(folder: Path, detectors: Sequence[str] = DETECTORS) -> list[Drive]:
    """Every recorded drive once for each detector, by name."""
    return [
        _read(file, name)
        for file in sorted(folder.glob("[0-9]*.npz"))
        if ".partial" not in file.name
        for name in detectors
    ]


def _read(file: Path, detector: str) -> Drive:
    with np.load(file) as kept:
        poses, truth, truth_from = kept["poses"], kept["truth"], kept["truth_from"]
        rows = {
            k: np.ascontiguousarray(kept[f"{detector}_{k}"]) for k in ("boxes", "scores", "class_probs", "velocity")
        }
        row_from = kept[f"{detector}_from"].astype(np.int64)
    frames = len(poses)
    arrays = {**rows, "sensors": np.full(len(rows["scores"]), LIDAR_BIT, np.uint32), **_no_camera()}
    assert rows["class_probs"].shape[1] == NUM_CLASSES
    sequence = Sequence3D(
        f"{file.stem}_{detector}",
        frames,
        None,
        _nowhere(),
        np.ascontiguousarray(poses),
        True,
        arrays,
        row_from,
        np.zeros(frames + 1, np.int64),
    )
    return Drive(sequence, truth_from, truth)


def _no_camera() -> dict[str, Any]:
    return {"projections": np.zeros((3, 4)), "image_size": np.ones(2), "camera_bits": np.zeros(1, np.uint32)}


def _nowhere() -> Calibration:
    view = CameraView("", 0, np.eye(3, 4), inverse(CAMERA_SE3_BASE), 1, 1)
    return Calibration(view, np.eye(4))
