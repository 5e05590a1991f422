"""Detection scores on simulated drives, with every sensor, the LiDAR alone and the cameras alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.detectors.detector import Detector
from percept_ros.evaluate.detection import CLASS_NAMES, Found, Reference, mean_ap
from percept_ros.types import F64, I64, Bool, ObjectClass, SensorSet

RANGE_M = 50.0
LEAST_RETURNS = 5
LEAST_PX = 150
LIDAR_ONLY, CAMERA_ONLY, FUSION = "lidar_only", "camera_only", "fusion"
_AS = {
    ObjectClass.BUS: ObjectClass.TRUCK,
    ObjectClass.TRAILER: ObjectClass.TRUCK,
    ObjectClass.MOTORCYCLE: ObjectClass.BICYCLE,
}


def merged_classes(class_ids: I64) -> I64:
    """Lorries, buses and trailers are one class; bicycles and motorcycles are one class."""
    return np.array([int(_AS.get(ObjectClass(int(c)), ObjectClass(int(c)))) for c in class_ids], np.int64)


def only(sensors: SensorSet, mode: str) -> SensorSet:
    """The set with the sensors of ``mode``."""
    if mode == LIDAR_ONLY:
        return replace(sensors, cameras={})
    return replace(sensors, cloud=None) if mode == CAMERA_ONLY else sensors


def within_range(boxes: F64) -> Bool:
    """(N,) whether the centre is nearer than ``RANGE_M``."""
    inside: Bool = np.hypot(boxes[:, 0], boxes[:, 1]) < RANGE_M
    return inside


def score_drives(
    detector: Detector, seed: int, drives: int, cameras: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """nuScenes-style AP by mode over one moment of each of ``drives`` drives; without cameras only ``lidar_only``.

    Objects within 50 m count that returned 5 points or cover 150 pixels of all images; the same in every mode.
    """
    modes = (FUSION, LIDAR_ONLY, CAMERA_ONLY) if cameras else (LIDAR_ONLY,)
    frames: dict[str, list[tuple[Found, Reference]]] = {mode: [] for mode in modes}
    for index in range(drives):
        sensors, reference = moment(seed * 1_000_000 + index, cameras)
        for mode in modes:
            found = detector.detect(only(sensors, mode))
            region = within_range(found.boxes) if len(found) else np.zeros(0, bool)
            frames[mode].append((Found(found.boxes, found.class_ids, found.scores, region), reference))
        if index % 10 == 9:
            report(f"{index + 1}/{drives} drives")
    return {"frames": drives, "seed": seed, "cameras": cameras, **{m: mean_ap(f) for m, f in frames.items()}}


def moment(drive_seed: int, cameras: int) -> tuple[SensorSet, Reference]:
    """One tenth of a second of a drive, and what is there in the base frame."""
    from percept_ros.simulate.drive import SimulateConfig, simulate_drive

    (frame,) = simulate_drive(SimulateConfig(seconds=0.1, cameras=cameras, threads=1), drive_seed)
    pose = frame.sensors.fixed_SE3_base
    boxes = transform_boxes(inverse(np.eye(4) if pose is None else pose), frame.truth.boxes)
    kinds = merged_classes(frame.truth.class_ids)
    known = np.isin(kinds, [int(c) for c in CLASS_NAMES.values()])
    evident = (frame.points_inside >= LEAST_RETURNS) | (frame.visible_px >= LEAST_PX)
    return frame.sensors, Reference(boxes, kinds, within_range(boxes) & evident & known)
