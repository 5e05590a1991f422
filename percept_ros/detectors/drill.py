"""A detector around a real one that plays faults on command, for drills: hang, slow, NaN, exception, memory growth.

The command is a small file beside the model, so that the fault strikes inside the worker process, in the middle of the
call. Every call is written down, so that an observer knows which sensor sets a model really answered.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.detectors.detector import Detector
from percept_ros.errors import InferenceError
from percept_ros.inference.manifest import load_manifest
from percept_ros.settings import setting
from percept_ros.types import LIDAR_BIT, NUM_CLASSES, Detections, SensorSet

COMMAND, CALLS = "drill.command", "drill.calls"
FAULTS = ("hang", "slow", "nan", "exception", "memory")
CALL = struct.Struct("<qqIi")
"""One line of the calls file: sensor stamp ns, monotonic ns at the end, pid, 1 = answered well."""
_SLOW_S = 0.3
_GROWTH_BYTES = 60_000_000


@dataclass(frozen=True, slots=True)
class DrillParams:
    """Parameters of preprocess kind ``drill``."""

    model: str = setting("lidar_pillars", "model that really answers")


class DrilledDetector:
    """Satisfies Detector. A command ``FAULT UNTIL_NS`` holds until that monotonic time; ``hang 0`` strikes one call."""

    def __init__(self, folder: Path, *, frame_id: str = "base_link", engine: str | None = None) -> None:
        from percept_ros.detectors.open import open_detector

        name = load_manifest(folder).preprocess.read(DrillParams).model
        self._folder, self._grown = folder, list[bytes]()
        self._detector: Detector = open_detector(name, frame_id=frame_id, engine=engine)

    @property
    def model(self) -> str:
        """Id of the real model."""
        return self._detector.model

    @property
    def artefact_sha256(self) -> str:
        """Hash of the real artefact."""
        return self._detector.artefact_sha256

    @property
    def takes_cameras(self) -> bool:
        """As the real model."""
        return bool(getattr(self._detector, "takes_cameras", False))

    def load(self) -> None:
        """Load the real model."""
        self._detector.load()
        self._calls = (self._folder / CALLS).open("ab", buffering=0)

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """The real answer, unless a fault is commanded."""
        fault = self._commanded()
        self._before(fault)
        found = self._detector.detect(sensors, deadline_ns=deadline_ns)
        if fault == "nan":
            found = _not_a_number(found)
        done = CALL.pack(sensors.stamp_ns, time.monotonic_ns(), os.getpid(), int(fault != "nan"))
        self._calls.write(done)
        return found

    def close(self) -> None:
        """Close the real model."""
        self._grown.clear()
        self._detector.close()
        if hasattr(self, "_calls"):
            self._calls.close()

    def _commanded(self) -> str:
        try:
            fault, until = (self._folder / COMMAND).read_text().split()
        except (OSError, ValueError):
            return ""
        if fault == "hang":
            return fault if self._claimed() else ""
        return fault if time.monotonic_ns() < int(until) else ""

    def _claimed(self) -> bool:
        """Take the command away, so that exactly one call of one worker hangs."""
        try:
            (self._folder / COMMAND).unlink()
        except FileNotFoundError:
            return False
        return True

    def _before(self, fault: str) -> None:
        if fault == "hang":
            while True:
                time.sleep(60.0)
        elif fault == "slow":
            time.sleep(_SLOW_S)
        elif fault == "exception":
            raise InferenceError("an exception that a drill asked for")
        elif fault == "memory":
            self._grown.append(os.urandom(_GROWTH_BYTES // 60) * 60)


def _not_a_number(found: Detections) -> Detections:
    """One box of NaN."""
    sensors = np.full(1, LIDAR_BIT, np.uint32)
    probabilities, velocity = np.eye(NUM_CLASSES)[:1], np.full((1, 2), np.nan)
    return Detections(
        found.stamp_ns, found.frame_id, np.full((1, 7), np.nan), np.ones(1), probabilities, velocity, sensors
    )
