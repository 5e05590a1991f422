"""The pipelines behind the gateway: each worker thread of the scheduler owns one; tracks belong to sessions.

Detectors keep nothing between frames, so any worker may take any frame. What goes on from frame to frame (tracker and
ladder) is a session's, and requests of one session are run in order, one at a time.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from percept_ros.build import build_pipeline, existence_of
from percept_ros.config import Config
from percept_ros.core.prediction import extrapolate, predict_classical
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.experiment_metrics import tell_changes, watch_experiment
from percept_ros.errors import EngineClosed, ResourceExhausted
from percept_ros.gateway.answer import frame_answer
from percept_ros.gateway.runner import Done, Job, Runner, Seen, Session
from percept_ros.health.ladder import Ladder
from percept_ros.health.semantic import SemanticHealth
from percept_ros.inference.scheduler import Scheduler, SchedulerConfig
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.telemetry import Telemetry
from percept_ros.pipeline import Pipeline
from percept_ros.types import Detections, Forecasts, FrameResult, Mode, SensorSet, Tracks

_log = logging.getLogger(__name__)
Build = Callable[[Config], Pipeline]
LATENCIES = 1000


class Perceiver:
    """Start it, await ``answer`` from an event loop, close it. build: makes a worker's pipeline."""

    def __init__(self, config: Config, build: Build = build_pipeline, telemetry: Telemetry | None = None) -> None:
        self.config, self._build = config, build
        self._existence, _ = existence_of(config)
        self.telemetry = telemetry or Telemetry(config.observe, "gateway")
        self._limits = config.gateway
        self._scheduler: Scheduler[Job, Done] | None = None
        self._runners: list[Runner] = []
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._sessions_lock = threading.Lock()
        self._run_ms: deque[float] = deque([50.0], maxlen=64)
        self._entered = 0
        self._looking_on = False
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self.last: Seen | None = None
        self.on_frame: Callable[[Seen], None] = lambda seen: None
        """Called from a worker thread with every processed frame."""

    # Life

    def start(self) -> None:
        """Load the models of every worker. Raises ModelError. May take seconds."""
        limits = self._limits
        if not limits.workers:
            self._looking_on = True
            return
        # given-up requests stay in line until a worker takes them: room for as many again
        settings = SchedulerConfig(queue=2 * limits.queue, workers=limits.workers, policy="reject")
        try:
            self._scheduler = Scheduler(self._make_runner, settings)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Finish what waits, free the models. Safe to call twice."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()
        for runner in self._runners:
            runner.close()
        self._runners = []

    @property
    def ready(self) -> bool:
        """Whether frames are answered (or nothing is to be answered here)."""
        return self._looking_on or self._scheduler is not None

    def _make_runner(self) -> Runner:
        pipeline = self._build(self.config)
        if not self._runners:
            watch_experiment(lambda: pipeline.detector, self.telemetry.meter)
            tell_changes(pipeline.detector, _log.warning)
        runner = Runner(self.config, pipeline, FrameRecorder(self.telemetry), self._seen)
        self._runners.append(runner)
        return runner

    # Admission (event loop only)

    def enter(self) -> None:
        """Take a place before the body is read. Raises ResourceExhausted when all are taken; ``leave`` gives it back."""
        if self._entered >= self._limits.queue + self._limits.workers:
            raise ResourceExhausted(f"{self._entered} requests are being answered, no more fit", self.retry_after_s)
        self._entered += 1

    def leave(self) -> None:
        """Give the place back."""
        self._entered -= 1

    @property
    def entered(self) -> int:
        """Requests being answered."""
        return self._entered

    @property
    def retry_after_s(self) -> float:
        """When a refused caller may hope for a place: what waits, at the time that one takes."""
        typical_s = float(np.median(self._run_ms)) * 1e-3
        return max(0.05, typical_s * (self._entered + 1) / max(1, self._limits.workers))

    def session(self, name: str) -> Session | None:
        """The session of that name, made when new; None for "". The longest unused is forgotten when there are too many."""
        if not name:
            return None
        with self._sessions_lock:
            found = self._sessions.pop(name, None) or self._new_session()
            self._sessions[name] = found
            while len(self._sessions) > self._limits.sessions:
                self._sessions.popitem(last=False)
        return found

    def _new_session(self) -> Session:
        config = self.config
        return Session(
            Tracker(config.tracking, fixed_frame=config.frames.fixed, model=self._existence),
            Ladder(config.health),
            SemanticHealth(config.health),
        )

    def forget(self, name: str) -> bool:
        """Drop a session; whether there was one."""
        with self._sessions_lock:
            return self._sessions.pop(name, None) is not None

    @property
    def sessions(self) -> tuple[str, ...]:
        """Names of the sessions, the longest unused first."""
        return tuple(self._sessions)

    # Work

    async def answer(self, job: Job) -> Done:
        """Queue a job and wait. Raises ResourceExhausted, DeadlineExceeded, EngineClosed, or what the worker raised."""
        if self._scheduler is None:
            why = "no model runs in this gateway" if self._looking_on else "models are not loaded yet"
            raise EngineClosed(f"{why}: nothing can be perceived")
        source = None if job.session is None else id(job.session)
        try:
            done = await self._scheduler.answer(job, source=source, deadline_ns=job.deadline_ns)
        except ResourceExhausted as exc:
            raise ResourceExhausted(str(exc), self.retry_after_s) from exc
        self._run_ms.append(done.run_ms)
        return done

    def coast(self, job: Job) -> dict[str, Any]:
        """What is known without detection: the session's last tracks moved to the job's stamp; empty without any."""
        fields = job.request.sensors
        last = job.session.last if job.session else None
        stamp_ns = fields.stamp_ns if fields else 0
        ahead_ns = 0 if last is None else stamp_ns - last.tracks.stamp_ns
        if last is None or ahead_ns > self.config.health.coast_limit_ms * 1e6:
            return frame_answer(_stale(stamp_ns, self.config.frames.base), {})
        tracks = extrapolate(last.tracks, ahead_ns)
        forecasts = predict_classical(tracks, self.config.prediction)
        coasted = dataclasses.replace(
            last,
            tracks=tracks,
            forecasts=forecasts,
            mode=Mode.COASTING,
            cause="deadline",
            shed=("detect",),
            stage_ns={},
        )
        return frame_answer(coasted, job.session.names if job.session else {}) | {"detections": []}

    def _seen(self, seen: Seen) -> None:
        self.last = seen
        self.latencies_ms.append(seen.latency_ms)
        self.on_frame(seen)

    # What is going on

    @property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """The workers' pipelines (to look at; their threads use them)."""
        return tuple(runner.pipeline for runner in self._runners)

    def counters(self) -> dict[str, int]:
        """Outcomes of all requests that reached the scheduler."""
        return dataclasses.asdict(self._scheduler.counters) if self._scheduler else {}

    def faults(self) -> dict[str, int]:
        """Stage and error -> how often, over all workers."""
        total: Counter[str] = Counter()
        for runner in self._runners:
            total.update(dict(runner.faults))
        return dict(total)


def _stale(stamp_ns: int, frame_id: str) -> FrameResult:
    sensors = SensorSet(stamp_ns, None, {}, {}, (), {})
    empty = Tracks.empty(stamp_ns, frame_id)
    nothing = Detections.empty(stamp_ns, frame_id)
    cause = "deadline, and no tracks of this session to go on with"
    return FrameResult(sensors, nothing, {}, empty, Forecasts.empty(0.1), Mode.STALE, {}, shed=("detect",), cause=cause)
