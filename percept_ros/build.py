"""Composition root: Config -> Pipeline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from percept_ros.config import Config
from percept_ros.core.existence import ExistenceModel, load_existence
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.detector import Detector, ImageDetector
from percept_ros.detectors.open import GEOMETRIC
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.errors import ManifestError, ModelError
from percept_ros.inference.breaker import BreakerSettings
from percept_ros.inference.experiment import GroupPlan, Plan
from percept_ros.inference.manifest import find_model, load_manifest
from percept_ros.pipeline import Pipeline

ISOLATED = "process"
AUTO, FROZEN = "auto", "frozen.json"


def build_pipeline(
    config: Config, *, seed: int | None = None, isolation: str | None = None, from_rank: int = 0
) -> Pipeline:
    """Load every model and join the stages. Close the pipeline to release them.

    seed: makes track ids repeatable (replay). isolation: overrides ``detector.isolation``. from_rank: rank of the first
    model, when the chain is the tail of a longer one.
    Raises ModelError when no detector of the chain can be used.
    """
    where = isolation or config.detector.isolation
    with ExitStack() as stack:
        chain = build_chain(config, isolation=where, from_rank=from_rank)
        stack.callback(chain.close)
        images = _image_detector(config, where, stack)
        existence, learned_for = existence_of(config)
        tracker = Tracker(config.tracking, seed=seed, fixed_frame=config.frames.fixed, model=existence)
        return Pipeline(
            chain,
            images,
            tracker,
            predictor=_predictor(config, stack),
            base_frame=config.frames.base,
            detect_ms=config.budget.detect_ms,
            health=config.health,
            breaker=breaker_of(config),
            resources=stack.pop_all(),
            learned_for=learned_for,
        )
    raise AssertionError("unreachable")


def existence_of(config: Config) -> tuple[ExistenceModel | None, str]:
    """The tracker's existence model, and the name of the detector whose answers it judges ("" = whatever answers).

    ``auto`` is the model that is shipped for the first detector of the chain, if any. Raises ManifestError.
    """
    named = config.tracking.existence_model
    if named != AUTO:
        file = Path(named)
        return (load_existence(file if file.is_file() else find_model(named) / FROZEN), "") if named else (None, "")
    try:
        detector = load_manifest(find_model(config.detector.chain[0])).name
        return load_existence(find_model(f"existence_{detector}") / FROZEN), detector
    except ManifestError:
        return None, ""


def build_chain(config: Config, *, isolation: str | None = None, from_rank: int = 0) -> DetectorChain:
    """The detectors of ``config``, loaded; see ``build_pipeline``. Raises ModelError when none can be used."""
    where = isolation or config.detector.isolation
    chain: DetectorChain
    if config.experiment.plan and not from_rank:
        chain = _experiment(config, where, wait=isolation is not None and isolation != config.detector.isolation)
    else:
        members = [make_detector(name, config, where) for name in config.detector.chain]
        chain = DetectorChain(members, breaker_of(config), from_rank=from_rank)
    try:
        chain.load()
    except ModelError:
        chain.close()
        raise
    return chain


def _experiment(config: Config, isolation: str, *, wait: bool) -> DetectorChain:
    from percept_ros.detectors.experiment import ExperimentDetector

    settings = config.experiment
    return ExperimentDetector(settings, group_opener(config, isolation), wait=wait, shadow_ms=settings.shadow_ms)


def group_opener(config: Config, isolation: str) -> Callable[[str, GroupPlan, Plan], DetectorChain]:
    """Makes the chain of an experiment's group, not loaded; without a chain of its own its folder of artefacts, then the
    last of the configured detectors. Folders may be given relative to the plan."""

    def open_group(name: str, group: GroupPlan, plan: Plan) -> DetectorChain:
        given = group.chain or (str(plan.root / name), *config.detector.chain[-1:])
        names = [str(plan.folder / one) if (plan.folder / one).is_dir() else one for one in given]
        chosen = {"engine": group.engine or None, "precision": group.precision or None}
        return DetectorChain([make_detector(one, config, isolation, **chosen) for one in names], breaker_of(config))

    return open_group


def breaker_of(config: Config) -> BreakerSettings:
    """Circuit breakers as configured; a call is slow when it takes longer than the detectors' budget."""
    health = config.health
    return BreakerSettings(
        window=health.breaker_window,
        failure_share=health.breaker_failure_share,
        slow_share=health.breaker_slow_share,
        slow_ns=int(config.budget.detect_ms * 1e6),
        open_ns=int(health.breaker_open_ms * 1e6),
        longest_open_ns=int(health.breaker_max_open_ms * 1e6),
    )


def make_detector(
    name: str, config: Config, isolation: str, *, engine: str | None = None, precision: str | None = None
) -> Detector:
    """The detector called ``name`` (or in that folder), in its own process when ``isolation`` says so; not loaded.

    engine: instead of the configured one. precision: of the artefact; None = as the model prefers.
    """
    engine = engine or config.detector.engine or None
    arguments: dict[str, Any] = {"name": name, "frame_id": config.frames.base, "engine": engine}
    if precision and name != GEOMETRIC:
        arguments["precision"] = precision
    if isolation == ISOLATED:
        from percept_ros.detectors.process import DetectorSpec, ProcessDetector
        from percept_ros.runtime.standby import WorkerLimits

        spec = DetectorSpec(
            "percept_ros.detectors.open:open_detector",
            arguments,
            cameras=looks_at_images(name),
            priority=config.realtime.priority,
        )
        return ProcessDetector(spec, WorkerLimits(rss_mb=int(config.detector.worker_memory_mb)))
    from percept_ros.detectors.open import open_detector

    return open_detector(**arguments)


def looks_at_images(name: str) -> bool:
    """Whether the model called ``name`` takes camera images (False for one that cannot be read: loading will say why)."""
    if name == GEOMETRIC:
        return False
    from percept_ros.detectors.learned import WITH_CAMERAS  # OpenCV, which a chain without networks does without

    try:
        return load_manifest(find_model(name)).preprocess.kind == WITH_CAMERAS
    except ModelError:
        return False


def _image_detector(config: Config, isolation: str, stack: ExitStack) -> ImageDetector | None:
    folder = config.detector.camera_model
    if not folder:
        return None
    detector: ImageDetector
    engine = config.detector.engine or None
    if isolation == ISOLATED:
        from percept_ros.detectors.process import DetectorSpec, ProcessImageDetector

        spec = DetectorSpec(
            "percept_ros.detectors.image:ImageDetector",
            {"folder": folder, "engine": engine},
            cloud=False,
            priority=config.realtime.priority,
        )
        detector = ProcessImageDetector(spec)
    else:
        from percept_ros.detectors.image import ImageDetector as InThread

        detector = InThread(folder, engine=engine)
    stack.callback(detector.close)
    detector.load()
    return detector


def _predictor(config: Config, stack: ExitStack) -> PathPredictor:
    """Runs in this process: a call of its small network takes about a millisecond."""
    predictor = PathPredictor(config.prediction, config.prediction.model, budget_ms=config.budget.predict_ms)
    stack.callback(predictor.close)
    predictor.load()
    return predictor
