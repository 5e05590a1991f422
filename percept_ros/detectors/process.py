"""Detectors that run another detector in a worker process.

A crash, hang or leak of a model run-time then costs one frame: the call raises WorkerDied or DeadlineExceeded, the
caller goes on in a lower mode, and the warm spare answers the next call.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from percept_ros.detectors.wire import (
    Arrays,
    Vocabulary,
    decode_boxes,
    decode_detections,
    decode_sensors,
    encode_boxes,
    encode_detections,
    encode_sensors,
)
from percept_ros.errors import EngineClosed, InferenceError
from percept_ros.inference.buffers import shared_pool
from percept_ros.runtime.hosted import CALL_NOTE, resolve
from percept_ros.runtime.realtime import ANSWERING, raise_process
from percept_ros.runtime.standby import Standby, StandbyCounters, WorkerLimits
from percept_ros.types import Detections, Detections2D, SensorSet, WorkerCall

_HOST = "percept_ros.detectors.process:DetectorService"
Answer = TypeVar("Answer")
Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """How the worker makes the detector: ``factory`` is ``module:function``, called as ``function(**arguments)``.

    arguments: picklable. cloud, cameras: which sensors the detector looks at; the others are not sent. priority: of
    SCHED_FIFO once it is loaded, 0 = ordinary.
    """

    factory: str
    arguments: Mapping[str, Any]
    cloud: bool = True
    cameras: bool = True
    priority: int = 0


class _InProcess(Generic[Answer]):
    def __init__(self, spec: DetectorSpec, limits: WorkerLimits | None = None) -> None:
        self.spec = spec
        plan = {"factory": spec.factory, "arguments": dict(spec.arguments), "priority": spec.priority}
        self._standby = Standby(_HOST, plan, limits)
        self._words = Vocabulary()
        self._context = self._words.context
        self._described: tuple[str, str] | None = None
        self.on_call: Callable[[WorkerCall], None] | None = None
        """Told of every call of the worker, in the thread that made it."""

    @property
    def model(self) -> str:
        """Id of the model, "" before ``load``."""
        return self._described[0] if self._described else ""

    @property
    def artefact_sha256(self) -> str:
        """Hash of the artefact that runs."""
        return self._described[1] if self._described else ""

    @property
    def counters(self) -> StandbyCounters:
        """Deaths, hangs, leaks, deadline misses and replacements so far."""
        return self._standby.counters

    @property
    def pids(self) -> tuple[int, ...]:
        """Worker processes, the active one first."""
        return self._standby.pids

    def start(self) -> None:
        """Start the worker without waiting, so that it loads while the caller goes on; ``load`` then waits for the rest."""
        self._standby.start()

    def load(self) -> None:
        """Load and warm the detector in the worker. Raises ModelError as the detector does, or WorkerDied."""
        model, sha256 = self._standby.load().decode().split("\n")
        self._described = (model, sha256)

    def wait_spare(self, timeout_s: float) -> bool:
        """Whether the warm spare is ready, waiting at most ``timeout_s``."""
        return self._standby.wait_spare(timeout_s)

    def close(self) -> None:
        """End the workers. Safe to call twice."""
        self._standby.close()
        self._described = None

    def _begin(self, sensors: SensorSet, deadline_ns: int | None) -> bool:
        if self._described is None:
            return False
        meta, arrays = self._encoded(sensors)
        return self._standby.begin(meta, arrays, deadline_ns=deadline_ns, context=self._context)

    def _call(self, sensors: SensorSet, deadline_ns: int | None) -> tuple[bytes, Arrays]:
        if self._described is None:
            raise EngineClosed(f"detector '{self.spec.factory}' is used before load or after close")
        meta, arrays = self._encoded(sensors)
        context, note = self._context, sensors.trace
        return self._reported(
            lambda: self._standby.call(meta, arrays, deadline_ns=deadline_ns, context=context, note=note)
        )

    def _encoded(self, sensors: SensorSet) -> tuple[bytes, Arrays]:
        """Rows and arrays of a set; the vocabulary is renewed when the set brought new words."""
        meta, arrays = encode_sensors(sensors, self._words, cloud=self.spec.cloud, cameras=self.spec.cameras)
        if self._words.version != self._context.version:
            self._context = self._words.context
        return meta, arrays

    def _reported(self, step: Callable[[], Reply]) -> Reply:
        """Run the step of a call, and tell ``on_call`` of it."""
        error = ""
        try:
            return step()
        except Exception as exc:
            error = type(exc).__name__
            raise
        finally:
            if self.on_call is not None and (worker := self._standby.last_worker) is not None:
                self.on_call(worker_call(self.model, worker.pid, worker.last_call, error))


def worker_call(model: str, pid: int, last: tuple[int, bytes, int], error: str) -> WorkerCall:
    """The call that a worker noted as its last one."""
    sent_ns, note, received_ns = last
    began_ns, ended_ns, used, held = CALL_NOTE.unpack(note) if len(note) == CALL_NOTE.size else (0, 0, 0, 0)
    return WorkerCall(model, pid, sent_ns, began_ns, ended_ns, received_ns, used, held, error)


class ProcessDetector(_InProcess[Detections]):
    """A ``Detector`` whose work happens in a worker process. All calls from one thread."""

    @property
    def takes_cameras(self) -> bool:
        """Whether images are sent to the detector."""
        return self.spec.cameras

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. Raises WorkerDied, DeadlineExceeded, or what the detector raises."""
        return decode_detections(*self._call(sensors, deadline_ns))

    def begin(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> bool:
        """Send a set without waiting; ``finish`` fetches what was found. False when the worker is not ready this moment."""
        return self._begin(sensors, deadline_ns)

    def finish(self) -> tuple[Detections, int] | None:
        """What was found in the set that was sent, and how long that took, ns; None when another call was made since.

        Raises as ``detect``.
        """
        answer = self._reported(self._standby.finish)
        if answer is None or self._standby.last_worker is None:
            return None
        sent_ns, note, received_ns = self._standby.last_worker.last_call
        ended_ns = CALL_NOTE.unpack(note)[1] if len(note) == CALL_NOTE.size else received_ns
        return decode_detections(*answer), ended_ns - sent_ns


class ProcessImageDetector(_InProcess[dict[str, Detections2D]]):
    """An ``ImageDetector`` whose work happens in a worker process. All calls from one thread."""

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:
        """Camera name -> boxes. Raises WorkerDied, DeadlineExceeded, or what the detector raises."""
        return decode_boxes(*self._call(sensors, deadline_ns))


class DetectorService:
    """What the worker hosts (see runtime/hosted.py): the detector itself, 3D or 2D."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._detector = resolve(config["factory"])(**config["arguments"])
        self._priority = int(config.get("priority", 0))
        self._entries: list[Any] = []

    def load(self) -> bytes:
        """Load the detector; answers its model id and hash."""
        self._detector.load()
        if self._priority:
            raise_process(self._priority, above=ANSWERING)
        return f"{self._detector.model}\n{getattr(self._detector, 'artefact_sha256', '')}".encode()

    def context(self, context: bytes) -> None:
        """Take the vocabulary."""
        self._entries = pickle.loads(context)

    def handle(self, meta: bytes, arrays: Arrays, deadline_ns: int | None) -> tuple[bytes, Arrays]:
        """Detect on one set."""
        sensors = decode_sensors(meta, arrays, self._entries)
        found = self._detector.detect(sensors, deadline_ns=deadline_ns)
        if isinstance(found, Detections):
            return encode_detections(found)
        if isinstance(found, dict):
            return encode_boxes(found)
        raise InferenceError(f"the detector answered {type(found).__name__}, expected Detections or boxes by camera")

    def pool_bytes(self) -> tuple[int, int]:
        """Bytes of this process's tensor pool in use, and held."""
        pool = shared_pool().metrics()
        return pool.in_use_bytes, pool.held_bytes

    def close(self) -> None:
        """Free the detector."""
        self._detector.close()
