"""Detectors that obey the number of points of the cloud: what a model run-time can do to its process."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from percept_ros.errors import ArtefactRefused, TensorMismatch
from percept_ros.types import Detections, Detections2D, SensorSet

CRASH, HANG, DEFECT, MISMATCH, LEAK = 1, 2, 3, 4, 5


class FaultyDetector:
    """Answers one box: x = sum of the cloud, y = sum of the images, z = number of cameras."""

    model = "faulty@test"
    artefact_sha256 = "00ff"

    def __init__(self, refuse: bool = False) -> None:
        self._refuse = refuse
        self._leak: list[bytes] = []

    def load(self) -> None:
        if self._refuse:
            raise ArtefactRefused("artefact 'faulty' has sha256 00, expected ff")

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        points = None if sensors.cloud is None else sensors.cloud.points
        self._obey(0 if points is None else len(points))
        box = np.zeros((1, 7))
        box[0, 0] = 0.0 if points is None else points.sum(dtype=np.float64)
        box[0, 1] = sum(int(frame.image.sum()) for frame in sensors.cameras.values())
        box[0, 2] = len(sensors.views)
        classes = np.eye(8)[:1]
        stamp_ns, mask = sensors.stamp_ns, np.ones(1, np.uint32)
        return Detections(stamp_ns, "base_link", box, np.ones(1), classes, np.full((1, 2), np.nan), mask)

    def close(self) -> None:
        self._leak.clear()

    def _obey(self, count: int) -> None:
        if count == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif count == HANG:
            time.sleep(60.0)
        elif count == DEFECT:
            raise ValueError("a defect in the detector")
        elif count == MISMATCH:
            raise TensorMismatch("tensor 'x' is too small")
        elif count == LEAK:
            self._leak.append(os.urandom(200_000_000))


class FaultyImageDetector(FaultyDetector):
    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:  # type: ignore[override]
        found = {}
        for name, frame in sensors.cameras.items():
            box = np.array([[0.0, 0.0, frame.image.shape[1], frame.image.shape[0]]])
            found[name] = Detections2D(name, frame.stamp_ns, box, np.ones(1), np.ones(1, np.int64))
        return found


def make(refuse: bool = False) -> FaultyDetector:
    return FaultyDetector(refuse)


def make_image(refuse: bool = False) -> FaultyImageDetector:
    return FaultyImageDetector(refuse)
