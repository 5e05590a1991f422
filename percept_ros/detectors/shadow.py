"""The shadow test: now and then, in slack time, the known frame goes through every engine and the answer is compared.

What it answers is never fused, tracked or published. A wrong answer takes the engine out of use (its breaker trips) until it
repeats the known answer; an answer that does not come in time says nothing about its truth and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.detectors.known_frame import known_frame
from percept_ros.errors import DeadlineExceeded, InferenceError, ModelError, WorkerDied
from percept_ros.types import F64, Detections, Detections2D

_SURE = 0.25
"""Weaker boxes may come and go between run-times."""
_NEAR = 0.3
_SCORE = 0.15


@dataclass(frozen=True, slots=True)
class Answer:
    """What is compared. places: (N, 2) box centres, metres (or tenths of pixels). scores: (N,)."""

    places: F64
    scores: F64

    @staticmethod
    def of(found: Detections | dict[str, Detections2D]) -> Answer:
        """The comparable part of an answer in 3D or in images."""
        if isinstance(found, Detections):
            return Answer(found.boxes[:, :2].copy(), found.scores.copy())
        boxes = [one.boxes_px for one in found.values()] or [np.zeros((0, 4))]
        scores = [one.scores for one in found.values()] or [np.zeros(0)]
        stacked = np.concatenate(boxes)
        return Answer(0.05 * (stacked[:, :2] + stacked[:, 2:]), np.concatenate(scores))


@dataclass(slots=True)
class Subject:
    """One engine under test. call: runs the known frame; wrong, right: told the outcome; typical_ns: of a good call."""

    name: Callable[[], str]
    call: Callable[[int | None], Detections | dict[str, Detections2D]]
    wrong: Callable[[], None]
    right: Callable[[], None]
    typical_ns: int = 0
    known: Answer | None = None
    said: str = "waiting"
    ran_ns: int = 0
    runs: int = 0
    failures: int = 0


class ShadowTest:
    """Runs one engine a call, in turn. All calls from the thread that detects."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = list(subjects)
        self._next = 0

    def learn(self) -> None:
        """Take the present answers as the known ones (at warm-up). An engine that gives none is told by ``said``."""
        for subject in self.subjects:
            try:
                subject.known = self._timed(subject, None)
            except (InferenceError, ModelError, WorkerDied) as exc:
                subject.said = f"failed: no answer at warm-up ({exc})"

    @property
    def need_ns(self) -> int:
        """Time that the next call needs, with a reserve; 0 when there is nothing to test."""
        return 2 * self.subjects[self._next].typical_ns if self.subjects else 0

    @property
    def suspects(self) -> bool:
        """Whether the newest answer of an engine was wrong."""
        return any(subject.said.startswith("failed") for subject in self.subjects)

    def run(self, deadline_ns: int | None = None) -> Subject | None:
        """Test the next engine; returns it, None when there is none. ``deadline_ns`` is monotonic."""
        if not self.subjects:
            return None
        subject = self.subjects[self._next]
        self._next = (self._next + 1) % len(self.subjects)
        subject.runs += 1
        subject.ran_ns = time.monotonic_ns()
        self._judge(subject, deadline_ns)
        return subject

    def _judge(self, subject: Subject, deadline_ns: int | None) -> None:
        try:
            answer = self._timed(subject, deadline_ns)
        except DeadlineExceeded:
            return  # late, not wrong
        except WorkerDied as exc:
            subject.said = f"no answer: {exc}"
            return
        except (InferenceError, ModelError) as exc:
            self._failed(subject, str(exc))
            return
        if subject.known is None:
            subject.known = answer
        if difference := compare(subject.known, answer):
            self._failed(subject, difference)
            return
        subject.said = "ok"
        subject.right()

    def _failed(self, subject: Subject, why: str) -> None:
        subject.failures += 1
        subject.said = f"failed: {why}"
        subject.wrong()

    def _timed(self, subject: Subject, deadline_ns: int | None) -> Answer:
        started_ns = time.monotonic_ns()
        answer = Answer.of(subject.call(deadline_ns))
        subject.typical_ns = time.monotonic_ns() - started_ns
        if not (np.isfinite(answer.places).all() and np.isfinite(answer.scores).all()):
            raise InferenceError("the answer is not finite")
        return answer

    def lines(self, now_ns: int) -> tuple[str, ...]:
        """One line an engine, for the status. ``now_ns`` is monotonic."""
        return tuple(
            f"{one.name()}: {one.said}" + (f", {(now_ns - one.ran_ns) / 1e9:.0f} s ago" if one.ran_ns else "")
            for one in self.subjects
        )


def compare(known: Answer, now: Answer) -> str:
    """What differs, "" when nothing does: every sure box of one must be in the other, with about the same score."""
    for text, one, other in (("lacks", known, now), ("has made up", now, known)):
        sure = one.scores >= _SURE
        missing = [i for i in np.flatnonzero(sure) if not _has(other, one.places[i], one.scores[i])]
        if missing:
            return f"the answer to the known frame {text} {len(missing)} of {int(sure.sum())} boxes"
    return ""


def _has(answer: Answer, place: F64, score: float) -> bool:
    near = np.linalg.norm(answer.places - place, axis=1) <= _NEAR
    return bool((near & (np.abs(answer.scores - score) <= _SCORE)).any())


def known_call(
    detect: Callable[..., Detections] | Callable[..., dict[str, Detections2D]],
) -> Callable[[int | None], Detections | dict[str, Detections2D]]:
    """``detect`` on the known frame."""
    return lambda deadline_ns: detect(known_frame(), deadline_ns=deadline_ns)
