"""Labelled scans as training reads them: quantised files on disk, heights above the fitted road."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from percept_ros.core.bev import fit_ground
from percept_ros.core.geometry import points_in_box
from percept_ros.errors import RecordingError
from percept_ros.types import F32, F64, I64, ObjectClass

CLASSES = (ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE)
"""Classes of the networks, in the order of their heat maps; lorries, buses and trailers are one class."""

_NETWORK_CLASS = {
    ObjectClass.CAR: 0,
    ObjectClass.TRUCK: 1,
    ObjectClass.BUS: 1,
    ObjectClass.TRAILER: 1,
    ObjectClass.PEDESTRIAN: 2,
    ObjectClass.BICYCLE: 3,
    ObjectClass.MOTORCYCLE: 3,
}
_UNIT_M = 0.005


@dataclass(frozen=True, slots=True)
class Scan:
    """One sweep with its objects; the origin is the base frame's, z is height above the fitted road.

    points: (P, 3) float32, metres. boxes: (N, 7) float64. classes: (N,) int64, index into ``CLASSES`` (-1: none of
    them). inside: (N,) int64 points within each box.
    """

    points: F32
    boxes: F64
    classes: I64
    inside: I64


def network_class(object_class: int) -> int:
    """Index into ``CLASSES`` of an ``ObjectClass``; -1 for what the networks do not know."""
    return _NETWORK_CLASS.get(ObjectClass(object_class), -1)


def above_road(points: F32, boxes: F64, object_classes: I64, inside: I64 | None = None) -> Scan:
    """A scan of the base frame with its road fitted and taken off, as it is at inference.

    inside: (N,) points that each object returned; None counts the points within the boxes.
    """
    ground = fit_ground(points)
    flat, raised = points.copy(), boxes.copy()
    flat[:, 2] -= ground.at(points[:, :2]).astype(np.float32)
    raised[:, 2] -= ground.at(boxes[:, :2])
    classes = np.array([network_class(int(c)) for c in object_classes], np.int64)
    return Scan(flat, raised, classes, _count(flat, raised) if inside is None else inside)


def _count(points: F32, boxes: F64) -> I64:
    return np.array([int(points_in_box(points, box, 0.05).sum()) for box in boxes], np.int64)


def save_scan(scan: Scan, file: Path) -> None:
    """Write one scan (points to 5 mm); readers never see half a file."""
    units = np.clip(np.round(scan.points / _UNIT_M), -32767, 32767).astype(np.int16)
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez(stream, points=units, boxes=scan.boxes, classes=scan.classes, inside=scan.inside)
    os.replace(unfinished, file)


def load_scan(file: Path) -> Scan:
    """Read what ``save_scan`` wrote. Raises RecordingError."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            points = stored["points"].astype(np.float32) * np.float32(_UNIT_M)
            return Scan(points, stored["boxes"], stored["classes"], stored["inside"])
    except (OSError, ValueError, KeyError, BadZipFile) as exc:
        raise RecordingError(f"scan file '{file}' cannot be read: {exc}") from exc
