"""The corridor: one sensor set goes in, tracks and their predicted paths come out, one line a stage.

The same object runs in the live node and in replay. Health and telemetry stand around it: they wrap ``process`` or read
the FrameResult; stages never call them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType

import numpy as np

from percept_ros.config import PredictionConfig
from percept_ros.core.fusion import fuse
from percept_ros.core.prediction import predict_classical
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.detector import ImageDetector
from percept_ros.errors import InferenceError, ModelError, WorkerDied
from percept_ros.health.ladder import rung_of
from percept_ros.types import F32, Detections, Detections2D, Forecasts, FrameResult, SensorSet, Tracks

Predict = Callable[[Tracks], Forecasts]


class Pipeline:
    """Detect, fuse, track, predict. All calls come from one thread; ``close`` may be called twice."""

    def __init__(
        self,
        detector: DetectorChain,
        image_detector: ImageDetector | None,
        tracker: Tracker,
        *,
        base_frame: str,
        predict: Predict | None = None,
        detect_ms: float = 80.0,
        resources: ExitStack | None = None,
    ) -> None:
        self.detector = detector
        self.image_detector = image_detector
        self.tracker = tracker
        self._base_frame = base_frame
        self._predict: Predict = predict or (lambda tracks: predict_classical(tracks, PredictionConfig()))
        self._detect_ns = int(detect_ms * 1e6)
        self._resources = resources or ExitStack()
        self._beside = ThreadPoolExecutor(1, "detect_2d") if image_detector else None
        self.on_fault: Callable[[str, Exception], None] = lambda stage, exc: None
        """Called with the stage and the error whenever a stage fails; the frame goes on without it."""

    def process(self, sensors: SensorSet, now_ns: int) -> FrameResult:
        """Run every stage on one sensor set. ``now_ns`` is the caller's clock (simulated in replay)."""
        watch = _StageWatch()
        deadline_ns = time.monotonic_ns() + self._detect_ns
        images = self._start_images(sensors, deadline_ns)
        detections = self._detect(sensors, deadline_ns)
        watch.lap("detect")
        boxes_2d = self._finish_images(images)
        watch.lap("detect_2d")
        fused = self._fuse(sensors, detections, boxes_2d)
        watch.lap("fuse")
        tracks = self._track(sensors, fused, boxes_2d)
        watch.lap("track")
        forecasts = self._predict(tracks)
        watch.lap("predict")
        mode = rung_of(sensors, self.detector.model, self.detector.rank, detected=fused is not None)
        return FrameResult(
            sensors,
            fused if fused is not None else Detections.empty(sensors.stamp_ns, self._base_frame),
            boxes_2d,
            tracks,
            forecasts,
            mode,
            watch.stage_ns,
            self.detector.model,
            self.detector.artefact_sha256,
            shed=() if fused is not None else ("detect",),
        )

    def reset(self) -> None:
        """Forget all tracks (backward time jump)."""
        self.tracker.reset()

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

    def _start_images(self, sensors: SensorSet, deadline_ns: int) -> Future[dict[str, Detections2D]] | None:
        if self._beside is None or self.image_detector is None or not sensors.cameras:
            return None
        return self._beside.submit(self.image_detector.detect, sensors, deadline_ns=deadline_ns)

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

    def _track(self, sensors: SensorSet, fused: Detections | None, boxes_2d: Mapping[str, Detections2D]) -> Tracks:
        if fused is None:
            return self.tracker.coast(sensors.stamp_ns, sensors.fixed_SE3_base)
        return self.tracker.step(fused, boxes_2d, sensors.views, sensors.fixed_SE3_base)


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
