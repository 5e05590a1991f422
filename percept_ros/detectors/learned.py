"""Detector over a learned bird's-eye model, of the LiDAR alone or with cameras: fit the road, rasterise, infer, decode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from percept_ros.core.bev import BevGrid, BevRasteriser, GroundPlane, fit_ground
from percept_ros.core.decode import BOX_CHANNELS, CentreHeads, decode_centres
from percept_ros.core.heading import HeadingJudge, read_heading_judge
from percept_ros.core.lift import ImageInput, camera_inputs
from percept_ros.errors import EngineClosed, InferenceError, InputError, ManifestError
from percept_ros.inference.engine import InferenceEngine, Tensors
from percept_ros.inference.manifest import Manifest, find_model, load_manifest
from percept_ros.inference.model import attachment, open_model
from percept_ros.inference.options import EngineOptions
from percept_ros.settings import setting
from percept_ros.types import F32, F64, I64, LIDAR_BIT, NUM_CLASSES, Detections, ObjectClass, SensorSet

PREPROCESS = "bev_raster"
WITH_CAMERAS = "bev_raster_cameras"
POSTPROCESS = "centre_heads"
_LEAST_SHARE = 0.01
"""Every class of the model keeps at least this weight, so that later evidence can change the class."""

_JUDGED_SCORE = 0.2
"""Cars below it are left as they are: few of them exist, and judging costs time."""


@dataclass(frozen=True, slots=True)
class FusionInput:
    """Parameters of ``bev_raster_cameras``."""

    grid: BevGrid = setting(BevGrid(), "LiDAR image")
    images: ImageInput = setting(ImageInput(), "camera images")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a manifest asks for. images: None when the model takes no cameras. classes: (C,) ``ObjectClass``."""

    grid: BevGrid
    images: ImageInput | None
    heads: CentreHeads
    classes: I64


@dataclass(frozen=True, slots=True)
class _Open:
    """What exists between load and close. judge: of the headings of cars, None = the network's stand."""

    manifest: Manifest
    engine: InferenceEngine
    raster: BevRasteriser
    plan: Plan
    judge: HeadingJudge | None


class LearnedDetector:
    """Satisfies ``detectors.detector.Detector`` for models with ``bev_raster`` (inputs: ``bev``) or ``bev_raster_cameras``
    (inputs: ``bev``, ``images``, ``projections``) and ``centre_heads`` output.

    folder: model folder, or the name of a model in models/. engine, precision: only artefacts of that format or
    precision. score_threshold: overrides the manifest's. Without a sweep, and without a
    camera that the model takes, it detects nothing.
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

    @property
    def takes_cameras(self) -> bool:
        """Whether the loaded model has camera inputs."""
        return self._open is not None and self._open.plan.images is not None

    def load(self) -> None:
        """Check the manifest, open the best artefact and warm it. Raises ModelError."""
        self.close()
        folder = find_model(self._folder)
        plan = read_manifest(load_manifest(folder))
        if self._score_threshold is not None:
            plan = replace(plan, heads=replace(plan.heads, score_threshold=self._score_threshold))
        manifest, engine = open_model(folder, engine=self._format, precision=self._precision, options=self._options)
        try:
            judge = _read_judge(manifest, plan.heads.heading)
            engine.warm_up()
        except BaseException:
            engine.close()
            raise
        self._open = _Open(manifest, engine, BevRasteriser(plan.grid), plan, judge)

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. Raises InferenceError when the LiDAR's extrinsic is missing."""
        opened = self._open
        if opened is None:
            raise EngineClosed(f"detector '{self.model}' is used before load or after close")
        has_camera = opened.plan.images is not None and bool(sensors.views)
        if sensors.cloud is None and not has_camera:
            return Detections.empty(sensors.stamp_ns, self._frame_id)
        inputs, mask = {"bev": self._draw(opened, sensors)}, LIDAR_BIT if sensors.cloud is not None else 0
        if opened.plan.images is not None:
            images, projections, bits = camera_inputs(sensors.cameras, sensors.views, self.ground, opened.plan.images)
            inputs |= {"images": images, "projections": projections}
            mask |= bits
        outputs = opened.engine.infer(inputs, deadline_ns=deadline_ns)
        found = self._decode(opened.plan, outputs, sensors.stamp_ns, mask)
        return found if opened.judge is None else _judged(opened.judge, found, sensors)

    def _draw(self, opened: _Open, sensors: SensorSet) -> F32:
        cloud = sensors.cloud
        if cloud is None:
            self.ground = GroundPlane()
            return opened.raster.rasterise(np.zeros((0, 3), np.float32))
        if cloud.sensor not in sensors.base_SE3:
            raise InferenceError(f"sweep of '{cloud.sensor}' has no extrinsic: give base_SE3_lidar by TF or config")
        pose = sensors.base_SE3[cloud.sensor]
        self.ground = fit_ground(cloud.points, pose)
        return opened.raster.rasterise(cloud.points, pose, self.ground)

    def _decode(self, plan: Plan, outputs: Tensors, stamp_ns: int, mask: int) -> Detections:
        boxes, scores, shares = decode_centres(outputs["heat"][0], outputs["box"][0], plan.heads)
        boxes[:, 2] += self.ground.at(boxes[:, :2])
        return Detections(
            stamp_ns,
            self._frame_id,
            boxes,
            np.minimum(scores, 1.0),
            class_probabilities(shares, plan.classes),
            np.full((len(boxes), 2), np.nan),
            np.full(len(boxes), mask, np.uint32),
        )

    def close(self) -> None:
        """Free engine and buffers."""
        if self._open is not None:
            self._open.engine.close()
            self._open.raster.close()
            self._open = None


def _read_judge(manifest: Manifest, name: str) -> HeadingJudge | None:
    try:
        return read_heading_judge(attachment(manifest, name)) if name else None
    except InputError as exc:
        raise ManifestError(f"model '{manifest.name}', file '{name}': {exc}") from exc


def _judged(judge: HeadingJudge, found: Detections, sensors: SensorSet) -> Detections:
    """Cars turned around where their points say so."""
    cloud = sensors.cloud
    cars = np.flatnonzero((found.class_ids == ObjectClass.CAR) & (found.scores >= _JUDGED_SCORE))
    if cloud is not None and len(cars):
        found.boxes[cars] = judge.turn(cloud.points, found.boxes[cars], sensors.base_SE3[cloud.sensor])
    return found


def read_manifest(manifest: Manifest) -> Plan:
    """How to run a bird's-eye model. Raises ManifestError when it is none."""
    before, after = manifest.preprocess.kind, manifest.postprocess.kind
    if manifest.kind != "detector3d" or before not in (PREPROCESS, WITH_CAMERAS) or after != POSTPROCESS:
        raise ManifestError(
            f"model '{manifest.name}' ({manifest.kind}) has pre- and post-processing {(before, after)}, expected a"
            f" detector3d with {PREPROCESS} or {WITH_CAMERAS}, and {POSTPROCESS}"
        )
    if before == WITH_CAMERAS:
        fusion = manifest.preprocess.read(FusionInput)
        grid, images = fusion.grid, fusion.images
    else:
        grid, images = manifest.preprocess.read(BevGrid), None
    heads = manifest.postprocess.read(CentreHeads)
    if None in manifest.object_classes:
        raise ManifestError(f"model '{manifest.name}': every class of {manifest.classes} must map to an ObjectClass")
    expected = {"heat": (1, len(manifest.classes)), "box": (1, len(BOX_CHANNELS))}
    for name, leading in expected.items():
        shapes = [t.shape[:2] for t in manifest.outputs if t.name == name]
        if shapes != [leading]:
            raise ManifestError(f"model '{manifest.name}': output '{name}' must have shape {[*leading, 'H', 'W']}")
    classes = np.array([int(c) for c in manifest.object_classes if c is not None], np.int64)
    return Plan(grid, images, heads, classes)


def class_probabilities(scores: F64, classes: I64) -> F64:
    """(N, C) rows that sum to 1 over all classes, from the model's (N, own classes) scores."""
    shares = np.maximum(scores, 0.0) + _LEAST_SHARE
    shares /= shares.sum(axis=1, keepdims=True)
    probabilities = np.zeros((len(scores), NUM_CLASSES))
    for column, class_id in enumerate(classes):
        probabilities[:, class_id] += shares[:, column]
    return probabilities
