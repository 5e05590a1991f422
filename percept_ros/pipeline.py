"""The corridor: one sensor set goes in, tracks and their predicted paths come out, one line a stage.

The same object runs in the live node and in replay. Health and telemetry stand around it: they wrap ``process`` or read
the FrameResult; stages never call them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from percept_ros.config import HealthConfig, PredictionConfig
from percept_ros.core.agreement import camera_agreement
from percept_ros.core.fusion import fuse
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.detector import ImageDetector
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.detectors.shadow import ShadowTest, Subject, known_call
from percept_ros.errors import InferenceError, ModelError, WorkerDied
from percept_ros.health.ladder import GEOMETRIC_MODEL, Ladder, Standing, observe
from percept_ros.health.semantic import SemanticHealth, Verdict
from percept_ros.inference.breaker import Breaker, BreakerSettings
from percept_ros.types import F32, Detections, Detections2D, Forecasts, FrameResult, Mode, SensorSet, Tracks, WorkerCall


class Pipeline:
    """Detect, fuse, track, predict. All calls come from one thread; ``close`` may be called twice."""

    def __init__(
        self,
        detector: DetectorChain,
        image_detector: ImageDetector | None,
        tracker: Tracker,
        *,
        base_frame: str,
        predictor: PathPredictor | None = None,
        detect_ms: float = 80.0,
        health: HealthConfig | None = None,
        breaker: BreakerSettings | None = None,
        resources: ExitStack | None = None,
        learned_for: str = "",
    ) -> None:
        """learned_for: the one detector whose answers the tracker's existence model knows, "" = all."""
        self.detector = detector
        self.image_detector = image_detector
        self.tracker = tracker
        self._base_frame = base_frame
        self.predictor = predictor or PathPredictor(PredictionConfig())
        self._detect_ns = int(detect_ms * 1e6)
        self._resources = resources or ExitStack()
        self._learned_for = learned_for
        self._beside = ThreadPoolExecutor(1, "detect_2d") if image_detector else None
        self._image_breaker = Breaker(breaker)
        self._images_suspect = False
        self._best = Mode.FULL
        self._owed: Callable[[], None] | None = None
        self.shadow = ShadowTest([*detector.subjects(), *self._image_subjects()])
        self.ladder = Ladder(health)
        self.semantic = SemanticHealth(health)
        self.on_fault: Callable[[str, Exception], None] = lambda stage, exc: None
        """Called with the stage and the error whenever a stage fails; the frame goes on without it."""

    def begin(self, sensors: SensorSet, deadline_ns: int | None = None) -> None:
        """Have the sweep of a set looked at already, as far as that needs nothing else of the set (see DetectorChain.begin)."""
        if sensors.cloud is not None and self.semantic.believes(sensors.cloud):
            self.detector.begin(sensors, deadline_ns=deadline_ns or time.monotonic_ns() + self._detect_ns)

    def process(self, sensors: SensorSet, now_ns: int, *, deadline_ns: int | None = None) -> FrameResult:
        """Run every stage on one sensor set. ``now_ns`` is the caller's clock (simulated in replay).

        deadline_ns: when detection must be over (monotonic clock), if sooner than its budget says.
        """
        self.settle()
        watch = _StageWatch()
        budget_ns = time.monotonic_ns() + self._detect_ns
        deadline_ns = budget_ns if deadline_ns is None else min(budget_ns, deadline_ns)
        self.begin(sensors, deadline_ns)  # unless it was begun when the sweep came: images are screened meanwhile
        sensors = self.semantic.screen(sensors)
        watch.lap("screen")
        images = self._start_images(sensors, deadline_ns)
        detections = self._detect(sensors, deadline_ns)
        watch.lap("detect")
        boxes_2d = self._finish_images(images)
        watch.lap("detect_2d")
        if self._blind(sensors, boxes_2d):
            detections = None
        fused = self._fuse(sensors, detections, boxes_2d)
        watch.lap("fuse")
        tracks = self._track(sensors, fused, boxes_2d)
        watch.lap("track")
        forecasts = self.predictor.predict(tracks, cut=any(c.is_keyframe for c in sensors.cameras.values()))
        watch.lap("predict")
        failed = self.image_detector is not None and bool(sensors.cameras) and not boxes_2d
        verdict = self.semantic.judge(sensors, tracks, forecasts)
        finite = verdict.checks["finite"] == 1.0
        if not finite:
            self.tracker.reset()  # what is not finite stays so
        standing = self._stand(sensors, verdict, detections is not None and finite, failed, now_ns)
        self._owed = partial(
            _look_back, self.semantic, self.detector.model, sensors, detections, boxes_2d, tracks, images_failed=failed
        )
        watch.lap("judge")
        if standing.mode is Mode.STALE or not finite:
            tracks = Tracks.empty(tracks.stamp_ns, tracks.frame_id)
            forecasts = Forecasts.empty(forecasts.step_s)
        return FrameResult(
            sensors,
            fused if fused is not None else Detections.empty(sensors.stamp_ns, self._base_frame),
            boxes_2d,
            tracks,
            forecasts,
            standing.mode,
            watch.stage_ns,
            self.detector.model,
            self.detector.artefact_sha256,
            group=self.detector.group,
            shed=(*(() if fused is not None else ("detect",)), *(("detect_2d",) if failed else ())),
            cause=standing.cause,
        )

    def settle(self) -> None:
        """Take the last set into semantic health, which the next one is judged by. To be called once its result is out; else the
        next ``process`` does it."""
        owed, self._owed = self._owed, None
        if owed is not None:
            owed()

    def watch_calls(self, on_call: Callable[[str, WorkerCall], None]) -> None:
        """Have every call of a worker process reported with its stage, in the thread that made it."""
        detectors: list[tuple[str, Any]] = [("detect", member) for member in self.detector.members]
        for stage, detector in (*detectors, ("detect_2d", self.image_detector)):
            if hasattr(detector, "on_call"):
                detector.on_call = partial(on_call, stage)

    def reset(self) -> None:
        """Forget all tracks (backward time jump)."""
        self.tracker.reset()
        self.predictor.reset()
        self.ladder.reset()
        self.semantic.reset()
        self._owed = None

    def hold(self, best: Mode) -> None:
        """Use and publish no better mode than ``best``; FULL sets everything free."""
        self._best = best
        self.ladder.hold(best)
        ranks = self.detector.ranks
        last = max(ranks.values(), default=0)
        wanted = {Mode.FALLBACK_MODEL: min(1, last), Mode.GEOMETRIC: ranks.get(GEOMETRIC_MODEL, last)}
        self.detector.first_rank = wanted.get(best, 0)

    def exchange(self, detector: DetectorChain) -> DetectorChain:
        """Detect with another (loaded) chain from the next set on; returns the one before, to be closed by the caller."""
        before, self.detector = self.detector, detector
        self._resources.callback(detector.close)
        self.shadow = ShadowTest([*detector.subjects(), *self._image_subjects()])
        self.hold(self._best)
        return before

    @property
    def breakers(self) -> tuple[str, ...]:
        """State of every circuit breaker, as ``model: state``."""
        images = (f"{self.image_detector.model}: {self._image_breaker.state.value}",) if self.image_detector else ()
        return (*self.detector.breakers, *images)

    def close(self) -> None:
        """Close detectors and worker processes."""
        if self._beside is not None:
            self._beside.shutdown(wait=True)
        self._resources.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _image_subjects(self) -> list[Subject]:
        if self.image_detector is None or self._beside is None:
            return []
        model, beside = self.image_detector, self._beside
        detect = known_call(model.detect)
        trip = partial(self._trip_images, True)
        return [
            Subject(
                lambda: model.model,
                lambda d: beside.submit(detect, d).result(),
                trip,
                partial(self._trip_images, False),
            )
        ]

    def _trip_images(self, suspect: bool) -> None:
        self._images_suspect = suspect
        if suspect:
            self._image_breaker.trip(time.monotonic_ns())

    def _start_images(self, sensors: SensorSet, deadline_ns: int) -> Future[dict[str, Detections2D]] | None:
        if self._beside is None or not sensors.cameras or self._images_suspect:
            return None
        if not self._image_breaker.allows(time.monotonic_ns()):
            return None
        return self._beside.submit(self._look_at_images, sensors, deadline_ns)

    def _look_at_images(self, sensors: SensorSet, deadline_ns: int) -> dict[str, Detections2D]:
        assert self.image_detector is not None
        started_ns, ok = time.monotonic_ns(), False
        try:
            found = self.image_detector.detect(sensors, deadline_ns=deadline_ns)
            ok = True
            return found
        finally:
            now_ns = time.monotonic_ns()
            self._image_breaker.record(ok, now_ns - started_ns, now_ns)

    def _blind(self, sensors: SensorSet, boxes_2d: Mapping[str, Detections2D]) -> bool:
        """Whether nothing looked at this set: no sweep, and no model that takes the cameras. The tracks then coast."""
        return sensors.cloud is None and not boxes_2d and not self.detector.takes_cameras

    def _finish_images(self, images: Future[dict[str, Detections2D]] | None) -> Mapping[str, Detections2D]:
        if images is None:
            return {}
        try:
            return images.result()
        except (InferenceError, ModelError, WorkerDied) as exc:
            self.on_fault("detect_2d", exc)
            return {}

    def _detect(self, sensors: SensorSet, deadline_ns: int) -> Detections | None:
        """Detections, or None when nothing could be detected anew: the tracks then coast."""
        try:
            return self.detector.detect(sensors, deadline_ns=deadline_ns)
        except (InferenceError, ModelError, WorkerDied) as exc:
            self.on_fault("detect", exc)
            return None

    def _fuse(
        self, sensors: SensorSet, detections: Detections | None, boxes_2d: Mapping[str, Detections2D]
    ) -> Detections | None:
        if detections is None or not boxes_2d:
            return detections
        return fuse(detections, boxes_2d, sensors.views, points_base(sensors))

    def _stand(
        self, sensors: SensorSet, verdict: Verdict, detected: bool, images_failed: bool, now_ns: int
    ) -> Standing:
        """The rung that this frame earns."""
        seen = observe(
            sensors,
            self.detector.model,
            self.detector.rank,
            detected=detected,
            images_failed=images_failed,
            health=verdict.score,
            concerns=verdict.concerns,
        )
        return self.ladder.frame(seen, now_ns)

    def _track(self, sensors: SensorSet, fused: Detections | None, boxes_2d: Mapping[str, Detections2D]) -> Tracks:
        if fused is None:
            return self.tracker.coast(sensors.stamp_ns, sensors.fixed_SE3_base)
        known = not self._learned_for or self.detector.model.partition("@")[0] == self._learned_for
        weaker = self.detector.rank > 0 or not known
        return self.tracker.step(fused, boxes_2d, sensors.views, sensors.fixed_SE3_base, weaker=weaker)


def _look_back(
    semantic: SemanticHealth,
    model: str,
    sensors: SensorSet,
    detections: Detections | None,
    boxes_2d: Mapping[str, Detections2D],
    tracks: Tracks,
    *,
    images_failed: bool,
) -> None:
    """Take a frame into semantic health."""
    agreements = camera_agreement(detections, boxes_2d, sensors.views) if detections is not None else {}
    complete = detections is not None and sensors.complete and not images_failed
    semantic.look_back(model, detections, tracks, agreements, complete=complete)


class _StageWatch:
    """Times stages one after the other."""

    def __init__(self) -> None:
        self.stage_ns: dict[str, int] = {}
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.stage_ns[stage] = now - self._last
        self._last = now


def points_base(sensors: SensorSet) -> F32 | None:
    """(P, 3) float32 points of the sweep in the base frame, or None without a LiDAR."""
    cloud = sensors.cloud
    if cloud is None or cloud.sensor not in sensors.base_SE3:
        return None
    base_SE3_lidar = sensors.base_SE3[cloud.sensor].astype(np.float32)
    return np.asarray(cloud.points @ base_SE3_lidar[:3, :3].T + base_SE3_lidar[:3, 3], np.float32)
