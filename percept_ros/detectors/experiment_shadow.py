"""Runs candidates beside the answers: a thread of its own, one frame at a time, the newest only.

Candidates in processes of their own run only when nothing else wants the processor. (A thread must not: held up with
the interpreter's lock, it would hold up everybody.) Nothing waits for a candidate. While it works, frames pass by and are counted as skipped; a candidate that hangs, fails or dies
costs nothing but its own comparison.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.compare import compare
from percept_ros.detectors.experiment_log import SHADOW, ExperimentLog, Record, compared
from percept_ros.errors import InferenceError, ModelError, WorkerDied
from percept_ros.types import Detections, SensorSet

_COLUMNS = ("points", "intensity", "ring", "time_offset_s")
_JOIN_S, _SINK_EVERY = 10.0, 50


@dataclass(frozen=True, slots=True)
class ShadowFrame:
    """A frame to be looked at again. groups: who shall. answered: group of ``found``, which took ``ms``."""

    sensors: SensorSet
    found: Detections
    answered: str
    ms: float
    groups: tuple[str, ...]


class ShadowRunner:
    """Owns the candidates' detectors between ``start`` and ``close``.

    on_compared: called in the runner's thread with each record that was compared. budget_ms: a candidate is cut off then.
    """

    def __init__(
        self,
        chains: Mapping[str, DetectorChain],
        log: ExperimentLog,
        on_compared: Callable[[Record], None],
        budget_ms: float,
    ) -> None:
        self._chains, self._log, self._on_compared = dict(chains), log, on_compared
        self._budget_ns = int(budget_ms * 1e6)
        self._wake = threading.Condition()
        self._waiting: ShadowFrame | None = None
        self._busy = self._closing = False
        self._looks = 0
        self._thread = threading.Thread(target=self._run, name="percept-shadow", daemon=True)
        self._thread.start()

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups it can run."""
        return tuple(self._chains)

    def offer(self, frame: ShadowFrame, *, wait: bool = False) -> None:
        """Have the newest frame looked at; one that still waits is skipped. Data are copied, for rings go round.

        wait: come back only when nothing waits any more (replay, where time is not real).
        """
        with self._wake:
            if wait:
                self._wake.wait_for(lambda: (self._waiting is None and not self._busy) or self._closing)
            elif self._busy and self._waiting is not None:
                for group in self._waiting.groups:
                    self._log.skipped(group)
        copy = dataclasses.replace(frame, sensors=_copied(frame.sensors))
        with self._wake:
            self._waiting = copy
            self._wake.notify_all()

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Wait until everything offered was looked at."""
        with self._wake:
            return self._wake.wait_for(lambda: self._waiting is None and not self._busy, timeout_s)

    def close(self) -> None:
        """End the thread and the candidates. Safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while (frame := self._take()) is not None:
                self._sink()
                for group in frame.groups:
                    if group in self._chains and not self._closing:
                        self._look(group, frame)
                with self._wake:
                    self._busy = False
                    self._wake.notify_all()
        finally:
            for chain in self._chains.values():
                chain.close()

    def _sink(self) -> None:
        """Workers are replaced now and then: look again every so often."""
        self._looks += 1
        if self._looks % _SINK_EVERY == 1:
            members = [member for chain in self._chains.values() for member in chain.members]
            for pid in {pid for member in members for pid in getattr(member, "pids", ())}:
                sink(pid)

    def _take(self) -> ShadowFrame | None:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting is not None or self._closing)
            frame, self._waiting = self._waiting, None
            self._busy = frame is not None and not self._closing
            return None if self._closing else frame

    def _look(self, group: str, frame: ShadowFrame) -> None:
        chain, stamp_ns = self._chains[group], frame.sensors.stamp_ns
        begin_ns = time.monotonic_ns()
        try:
            found = chain.detect(frame.sensors, deadline_ns=begin_ns + self._budget_ns)
        except (InferenceError, ModelError, WorkerDied) as exc:
            ms = (time.monotonic_ns() - begin_ns) * 1e-6
            self._log.add(Record(stamp_ns, group, SHADOW, False, round(ms, 3), error=type(exc).__name__))
            return
        ms = (time.monotonic_ns() - begin_ns) * 1e-6
        record = Record(stamp_ns, group, SHADOW, True, round(ms, 3), len(found), chain.model)
        record = compared(record, frame.answered, frame.ms, compare(frame.found, found))
        self._log.add(record)
        self._log.picture(record, frame.sensors, frame.found, found)
        self._on_compared(record)


def sink(pid: int) -> None:
    """Let all threads of a process run only when nothing else wants to. Linux; what is refused stays as it is."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))


def _copied(sensors: SensorSet) -> SensorSet:
    cloud = sensors.cloud
    if cloud is not None:
        columns: dict[str, Any] = {name: getattr(cloud, name) for name in _COLUMNS}
        columns = {name: None if column is None else np.array(column) for name, column in columns.items()}
        cloud = dataclasses.replace(cloud, **columns)
    cameras = {name: dataclasses.replace(f, image=np.array(f.image)) for name, f in sensors.cameras.items()}
    return dataclasses.replace(sensors, cloud=cloud, cameras=cameras)
