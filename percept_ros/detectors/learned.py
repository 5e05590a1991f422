"""Detector over a learned bird's-eye model: fit the road, rasterise into a reused image, infer, decode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from percept_ros.core.bev import BevGrid, BevRasteriser, GroundPlane, fit_ground
from percept_ros.core.decode import BOX_CHANNELS, CentreHeads, decode_centres
from percept_ros.errors import EngineClosed, InferenceError, ManifestError
from percept_ros.inference.engine import InferenceEngine, Tensors
from percept_ros.inference.manifest import Manifest, find_model, load_manifest
from percept_ros.inference.model import open_model
from percept_ros.inference.options import EngineOptions
from percept_ros.types import F64, I64, LIDAR_BIT, NUM_CLASSES, Detections, SensorSet

PREPROCESS = "bev_raster"
POSTPROCESS = "centre_heads"
_LEAST_SHARE = 0.01
"""Every class of the model keeps at least this weight, so that later evidence can change the class."""


@dataclass(frozen=True, slots=True)
class _Open:
    """What exists between load and close."""

    manifest: Manifest
    engine: InferenceEngine
    raster: BevRasteriser
    heads: CentreHeads
    classes: I64


class LearnedDetector:
    """Satisfies ``detectors.detector.Detector`` for models with ``bev_raster`` input and ``centre_heads`` output.

    folder: model folder, or the name of a model in models/. engine, precision: only artefacts of that format or
    precision. score_threshold: overrides the manifest's. Without a sweep it detects nothing.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        engine: str | None = None,
        precision: str | None = None,
        score_threshold: float | None = None,
        frame_id: str = "base_link",
        options: EngineOptions | None = None,
    ) -> None:
        self._folder, self._format, self._precision = folder, engine, precision
        self._score_threshold, self._frame_id, self._options = score_threshold, frame_id, options
        self._open: _Open | None = None
        self.ground = GroundPlane()

    @property
    def model(self) -> str:
        """Name and precision of what runs."""
        return self._open.manifest.model_id if self._open else Path(self._folder).name

    @property
    def artefact_sha256(self) -> str:
        """Hash of what runs, "" before ``load``."""
        return self._open.manifest.artefact_sha256 if self._open else ""

    def load(self) -> None:
        """Check the manifest, open the best artefact and warm it. Raises ModelError."""
        self.close()
        folder = find_model(self._folder)
        grid, heads, classes = read_manifest(load_manifest(folder))
        if self._score_threshold is not None:
            heads = replace(heads, score_threshold=self._score_threshold)
        manifest, engine = open_model(folder, engine=self._format, precision=self._precision, options=self._options)
        engine.warm_up()
        self._open = _Open(manifest, engine, BevRasteriser(grid), heads, classes)

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. Raises InferenceError when the LiDAR's extrinsic is missing."""
        opened = self._open
        if opened is None:
            raise EngineClosed(f"detector '{self.model}' is used before load or after close")
        cloud = sensors.cloud
        if cloud is None:
            return Detections.empty(sensors.stamp_ns, self._frame_id)
        if cloud.sensor not in sensors.base_SE3:
            raise InferenceError(f"sweep of '{cloud.sensor}' has no extrinsic: give base_SE3_lidar by TF or config")
        pose = sensors.base_SE3[cloud.sensor]
        self.ground = fit_ground(cloud.points, pose)
        image = opened.raster.rasterise(cloud.points, pose, self.ground)
        outputs = opened.engine.infer({opened.manifest.inputs[0].name: image}, deadline_ns=deadline_ns)
        return self._decode(opened, outputs, sensors.stamp_ns)

    def _decode(self, opened: _Open, outputs: Tensors, stamp_ns: int) -> Detections:
        boxes, scores, shares = decode_centres(outputs["heat"][0], outputs["box"][0], opened.heads)
        boxes[:, 2] += self.ground.at(boxes[:, :2])
        return Detections(
            stamp_ns,
            self._frame_id,
            boxes,
            np.minimum(scores, 1.0),
            class_probabilities(shares, opened.classes),
            np.full((len(boxes), 2), np.nan),
            np.full(len(boxes), LIDAR_BIT, np.uint32),
        )

    def close(self) -> None:
        """Free engine and buffers."""
        if self._open is not None:
            self._open.engine.close()
            self._open.raster.close()
            self._open = None


def read_manifest(manifest: Manifest) -> tuple[BevGrid, CentreHeads, I64]:
    """Grid, decoding and (C,) ``ObjectClass`` of a bird's-eye model. Raises ManifestError when it is none."""
    kinds = (manifest.preprocess.kind, manifest.postprocess.kind)
    if manifest.kind != "detector3d" or kinds != (PREPROCESS, POSTPROCESS):
        raise ManifestError(
            f"model '{manifest.name}' ({manifest.kind}) has pre- and post-processing {kinds}, expected a detector3d with"
            f" {(PREPROCESS, POSTPROCESS)}"
        )
    grid, heads = manifest.preprocess.read(BevGrid), manifest.postprocess.read(CentreHeads)
    if None in manifest.object_classes:
        raise ManifestError(f"model '{manifest.name}': every class of {manifest.classes} must map to an ObjectClass")
    expected = {"heat": (1, len(manifest.classes)), "box": (1, len(BOX_CHANNELS))}
    for name, leading in expected.items():
        shapes = [t.shape[:2] for t in manifest.outputs if t.name == name]
        if shapes != [leading]:
            raise ManifestError(f"model '{manifest.name}': output '{name}' must have shape {[*leading, 'H', 'W']}")
    return grid, heads, np.array([int(c) for c in manifest.object_classes if c is not None], np.int64)


def class_probabilities(scores: F64, classes: I64) -> F64:
    """(N, C) rows that sum to 1 over all classes, from the model's (N, own classes) scores."""
    shares = np.maximum(scores, 0.0) + _LEAST_SHARE
    shares /= shares.sum(axis=1, keepdims=True)
    probabilities = np.zeros((len(scores), NUM_CLASSES))
    for column, class_id in enumerate(classes):
        probabilities[:, class_id] += shares[:, column]
    return probabilities
