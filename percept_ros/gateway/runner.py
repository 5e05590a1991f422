"""What one worker of the gateway does with a request: decode, run the pipeline with the session's state, lay the answer down."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from percept_ros.config import Config
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.errors import DeadlineExceeded
from percept_ros.gateway.answer import encode, frame_answer, tensor_answer
from percept_ros.gateway.request import Unpacked, read_tensors
from percept_ros.gateway.sensors import ReadSet, SensorReader
from percept_ros.gateway.tensors import TensorModels
from percept_ros.health.ladder import Ladder
from percept_ros.health.semantic import SemanticHealth
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.trace import TraceContext
from percept_ros.pipeline import Pipeline
from percept_ros.types import FrameResult


@dataclass(slots=True)
class Session:
    """One vehicle: what its frames leave for the next. ``last`` and ``names`` are read by other threads."""

    tracker: Tracker
    ladder: Ladder
    semantic: SemanticHealth
    predictor: PathPredictor | None = None
    last: FrameResult | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget everything."""
        self.tracker.reset()
        self.ladder.reset()
        self.semantic.reset()
        if self.predictor is not None:
            self.predictor.reset()
        self.last = None


@dataclass(frozen=True, slots=True)
class Job:
    """One request. deadline_ns, arrived_ns: monotonic clock. media: media type of the answer. session: None = one frame alone.

    trace: W3C traceparent of the caller, "" = none.
    """

    request: Unpacked
    session: Session | None
    deadline_ns: int
    arrived_ns: int
    media: str
    group: str = ""
    shadow: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """An answer: its bytes, and what headers and metrics say about it."""

    body: bytes
    mode: str = ""
    model: str = ""
    group: str = ""
    queue_ms: float = 0.0
    run_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A processed frame, handed to whoever looks on."""

    result: FrameResult
    names: Mapping[str, str]
    latency_ms: float
    session: str = ""
    health: float = 1.0


class Runner:
    """What one worker does; satisfies ``Run``."""

    def __init__(
        self, config: Config, pipeline: Pipeline, recorder: FrameRecorder, seen: Callable[[Seen], None]
    ) -> None:
        self.pipeline, self._recorder, self._seen, self._config = pipeline, recorder, seen, config
        self._reader, self._tensors = SensorReader(config), TensorModels(config)
        self._alone = Session(pipeline.tracker, pipeline.ladder, pipeline.semantic, pipeline.predictor)
        self.faults: Counter[str] = Counter()
        pipeline.on_fault = self._count
        pipeline.watch_calls(recorder.call)

    def __call__(self, items: Sequence[Job], deadline_ns: int | None) -> Sequence[Done]:
        return [self._run(job) for job in items]

    def close(self) -> None:
        """Free the models."""
        self._tensors.close()
        self.pipeline.close()

    def _count(self, stage: str, exc: Exception) -> None:
        self.faults[f"{stage}/{type(exc).__name__}"] += 1

    def _run(self, job: Job) -> Done:
        started_ns = time.monotonic_ns()
        queue_ms = (started_ns - job.arrived_ns) * 1e-6
        if job.request.tensors is not None:
            tensors = job.request.tensors
            model, outputs = self._tensors.infer(tensors.model, read_tensors(tensors), job.deadline_ns)
            body = encode(tensor_answer(model, outputs), job.media)
            return Done(body, model=model, queue_ms=queue_ms, run_ms=(time.monotonic_ns() - started_ns) * 1e-6)
        result, read, trace_id = self._perceive(job)
        tree = frame_answer(result, read.names)
        tree |= {
            "dropped_points": dict(read.dropped),
            "queue_ms": round(queue_ms, 3),
            "fallback": False,
            "trace_id": trace_id,
        }
        body = encode(tree, job.media)
        run_ms = (time.monotonic_ns() - started_ns) * 1e-6
        return Done(body, result.mode.name, result.model, result.group, queue_ms, run_ms)

    def _perceive(self, job: Job) -> tuple[FrameResult, ReadSet, str]:
        assert job.request.sensors is not None
        read = self._reader.read(job.request.sensors)
        if time.monotonic_ns() >= job.deadline_ns:
            raise DeadlineExceeded("the deadline passed while the request was decoded")
        session = job.session or self._alone
        if job.session is None:
            session.reset()
        pipeline = self._take_up(session)
        pipeline.detector.ask(job.group, job.shadow)
        frame = self._recorder.begin((), job.arrived_ns, TraceContext.parse(job.trace))
        sensors = dataclasses.replace(read.sensors, trace=frame.packed)
        result = pipeline.process(sensors, sensors.stamp_ns, deadline_ns=job.deadline_ns)
        if job.session is not None:
            session.last, session.names = _without_data(result), read.names
        latency_ns = time.monotonic_ns() - job.arrived_ns
        name = job.request.sensors.session
        self._recorder.finish(frame, result, latency_ns, {"session": name} if name else None)
        score = pipeline.semantic.verdict.score
        pipeline.settle()
        self._seen(Seen(result, read.names, latency_ns * 1e-6, name, score))
        return result, read, frame.trace_id

    def _take_up(self, session: Session) -> Pipeline:
        """The pipeline, going on with a session."""
        if session.predictor is None:
            session.predictor = PathPredictor(self._config.prediction, self._config.prediction.model)
            session.predictor.load()
        pipeline = self.pipeline
        pipeline.tracker, pipeline.ladder, pipeline.semantic = session.tracker, session.ladder, session.semantic
        pipeline.predictor = session.predictor
        return pipeline


def _without_data(result: FrameResult) -> FrameResult:
    """The frame without images and points, to be kept."""
    sensors = dataclasses.replace(result.sensors, cloud=None, cameras={})
    return dataclasses.replace(result, sensors=sensors, detections_2d={})
