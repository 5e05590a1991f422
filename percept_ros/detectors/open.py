"""From a name or a model folder to the detector that runs it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from percept_ros.detectors.detector import Detector
from percept_ros.detectors.geometric import GeometricConfig, GeometricDetector
from percept_ros.errors import ManifestError
from percept_ros.inference.manifest import find_model, load_manifest

GEOMETRIC = "geometric"

DETECTORS = {
    "bev_raster": "percept_ros.detectors.learned:LearnedDetector",
    "bev_raster_cameras": "percept_ros.detectors.learned:LearnedDetector",
    "pillars": "percept_ros.detectors.pointpillars:PointPillarsDetector",
    "points": "percept_ros.detectors.pointpillars:PointPillarsDetector",
    "centerpoint": "percept_ros.detectors.centerpoint:CenterPointDetector",
    "drill": "percept_ros.detectors.drill:DrilledDetector",
}
"""Kind of the manifest's preprocessing -> "module:Class", imported when a model asks for it. Constructors take the folder and
``frame_id``."""


def open_detector(
    name: str | Path,
    *,
    frame_id: str = "base_link",
    geometric: GeometricConfig | None = None,
    engine: str | None = None,
    precision: str | None = None,
) -> Detector:
    """The detector called ``name`` (``geometric``, a model in models/, or a folder), not loaded.

    engine: artefact format that must be used; None = as the model prefers. ``geometric`` has none. precision: of the artefact that must be used
    (models whose detector can choose).
    Raises ManifestError for models that are no 3D detector or whose preprocessing no detector knows.
    """
    if str(name) == GEOMETRIC:
        return GeometricDetector(geometric, frame_id=frame_id)
    folder = find_model(name)
    manifest = load_manifest(folder)
    if manifest.kind != "detector3d":
        raise ManifestError(f"model '{manifest.name}' in '{folder}' is a {manifest.kind}, expected a detector3d")
    if manifest.preprocess.kind not in DETECTORS:
        raise ManifestError(
            f"model '{manifest.name}': preprocessing '{manifest.preprocess.kind}' is unknown,"
            f" expected one of {', '.join(DETECTORS)}"
        )
    module, _, cls = DETECTORS[manifest.preprocess.kind].partition(":")
    choice = {"precision": precision} if precision else {}
    detector: Detector = getattr(import_module(module), cls)(folder, frame_id=frame_id, engine=engine, **choice)
    return detector
