"""Composition root: Config -> Pipeline."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from percept_ros.config import Config
from percept_ros.core.prediction import predict_classical
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.detector import Detector, ImageDetector
from percept_ros.pipeline import Pipeline
from percept_ros.types import Tracks

ISOLATED = "process"


def build_pipeline(config: Config, *, seed: int | None = None, isolation: str | None = None) -> Pipeline:
    """Load every model and join the stages. Close the pipeline to release them.

    seed: makes track ids repeatable (replay). isolation: overrides ``detector.isolation``.
    Raises ModelError when no detector of the chain can be used.
    """
    where = isolation or config.detector.isolation
    with ExitStack() as stack:
        chain = DetectorChain([make_detector(name, config, where) for name in config.detector.chain])
        stack.callback(chain.close)
        chain.load()
        images = _image_detector(config, where, stack)
        tracker = Tracker(config.tracking, seed=seed, fixed_frame=config.frames.fixed)
        return Pipeline(
            chain,
            images,
            tracker,
            predict=lambda tracks: _predict(tracks, config),
            base_frame=config.frames.base,
            detect_ms=config.budget.detect_ms,
            resources=stack.pop_all(),
        )
    raise AssertionError("unreachable")


def make_detector(name: str, config: Config, isolation: str) -> Detector:
    """The detector called ``name`` (or in that folder), in its own process when ``isolation`` says so; not loaded."""
    engine = config.detector.engine or None
    arguments: dict[str, Any] = {"name": name, "frame_id": config.frames.base, "engine": engine}
    if isolation == ISOLATED:
        from percept_ros.detectors.process import DetectorSpec, ProcessDetector

        spec = DetectorSpec("percept_ros.detectors.open:open_detector", arguments, cameras=False)
        return ProcessDetector(spec)
    from percept_ros.detectors.open import open_detector

    return open_detector(**arguments)


def _image_detector(config: Config, isolation: str, stack: ExitStack) -> ImageDetector | None:
    folder = config.detector.camera_model
    if not folder:
        return None
    detector: ImageDetector
    engine = config.detector.engine or None
    if isolation == ISOLATED:
        from percept_ros.detectors.process import DetectorSpec, ProcessImageDetector

        spec = DetectorSpec(
            "percept_ros.detectors.image:ImageDetector", {"folder": folder, "engine": engine}, cloud=False
        )
        detector = ProcessImageDetector(spec)
    else:
        from percept_ros.detectors.image import ImageDetector as InThread

        detector = InThread(folder, engine=engine)
    stack.callback(detector.close)
    detector.load()
    return detector


def _predict(tracks: Tracks, config: Config) -> Any:
    return predict_classical(tracks, config.prediction)
