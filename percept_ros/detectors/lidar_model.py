"""What detectors over foreign LiDAR models share: their life, the sweep, detections in the base frame."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from percept_ros.detectors.learned import class_probabilities
from percept_ros.errors import EngineClosed, InferenceError, InputError, ManifestError
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.manifest import Manifest, find_model, load_manifest
from percept_ros.inference.model import open_model
from percept_ros.inference.options import EngineOptions
from percept_ros.types import F64, I64, LIDAR_BIT, Detections, PointCloud, SensorSet

Found = tuple[F64, F64, F64]
"""(N, 7) boxes in the model's frame, (N, own classes) scores, (N, 2) velocities (NaN where unknown)."""


class LidarModelDetector:
    """Base of detectors that run one model on one sweep. Subclasses say ``prepare`` (once) and ``run`` (each sweep)."""

    parts: tuple[str, ...] = ("",)
    """Parts of the manifest that are opened, each its own engine."""

    def __init__(
        self,
        folder: Path | str,
        *,
        engine: str | None = None,
        precision: str | None = None,
        frame_id: str = "base_link",
        threads: int = 1,
    ) -> None:
        self._folder, self._format, self._precision = folder, engine, precision
        self._frame_id, self._threads = frame_id, threads
        self._manifest: Manifest | None = None
        self._resources = ExitStack()
        self.engines: dict[str, InferenceEngine] = {}

    @property
    def model(self) -> str:
        """Name and precision of what runs."""
        return self._manifest.model_id if self._manifest else Path(self._folder).name

    @property
    def artefact_sha256(self) -> str:
        """Hash of the last part's artefact, "" before ``load``."""
        return self._manifest.artefact_sha256 if self._manifest else ""

    @property
    def takes_cameras(self) -> bool:
        """It reads the LiDAR only."""
        return False

    def load(self) -> None:
        """Verify, open and warm every part. Raises ModelError."""
        self.close()
        folder = find_model(self._folder)
        manifest = load_manifest(folder)
        if manifest.kind != "detector3d":
            raise ManifestError(f"model '{manifest.name}' in '{folder}' is a {manifest.kind}, expected a detector3d")
        self.prepare(manifest)
        self._classes, self._columns = _known_classes(manifest)
        with ExitStack() as stack:
            options = EngineOptions(threads=self._threads)
            for part in self.parts:
                manifest, opened = open_model(
                    folder, engine=self._format, precision=self._precision, part=part, options=options
                )
                stack.callback(opened.close)
                opened.warm_up()
                self.engines[part] = opened
            self._resources = stack.pop_all()
        self._manifest = manifest

    def prepare(self, manifest: Manifest) -> None:
        """Read pre- and post-processing and make buffers. Raises ManifestError."""
        raise NotImplementedError

    def run(self, cloud: PointCloud, base_SE3_lidar: F64, deadline_ns: int | None) -> Found:
        """One sweep. Raises InferenceError."""
        raise NotImplementedError

    @property
    def sensor_height_m(self) -> float:
        """Height of the model's frame above the base frame."""
        raise NotImplementedError

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. Raises InferenceError when the LiDAR's extrinsic is missing."""
        if self._manifest is None:
            raise EngineClosed(f"detector '{self.model}' is used before load or after close")
        cloud = sensors.cloud
        if cloud is None:
            return Detections.empty(sensors.stamp_ns, self._frame_id)
        if cloud.sensor not in sensors.base_SE3:
            raise InferenceError(f"sweep of '{cloud.sensor}' has no extrinsic: give base_SE3_lidar by TF or config")
        try:
            boxes, scores, velocity = self.run(cloud, sensors.base_SE3[cloud.sensor], deadline_ns)
        except InputError as exc:
            raise InferenceError(f"model '{self.model}': {exc}") from exc
        known = np.isin(scores.argmax(axis=1), self._columns) if len(scores) else np.zeros(0, np.bool_)
        boxes, scores, velocity = boxes[known], scores[known][:, self._columns], velocity[known]
        boxes[:, 2] += self.sensor_height_m
        return Detections(
            sensors.stamp_ns,
            self._frame_id,
            boxes,
            np.clip(scores.max(axis=1, initial=0.0), 0.0, 1.0),
            class_probabilities(scores, self._classes),
            velocity,
            np.full(len(boxes), LIDAR_BIT, np.uint32),
        )

    def close(self) -> None:
        """Close every engine. Safe to call twice."""
        self._resources.close()
        self.engines.clear()
        self._manifest = None


def _known_classes(manifest: Manifest) -> tuple[I64, I64]:
    """Classes of this package that the model has, and their columns in its scores. Raises ManifestError for none."""
    known = [(int(c), i) for i, c in enumerate(manifest.object_classes) if c is not None]
    if not known:
        raise ManifestError(f"model '{manifest.name}': none of its classes {manifest.classes} is known, give class_map")
    return np.array([c for c, _ in known], np.int64), np.array([i for _, i in known], np.int64)
