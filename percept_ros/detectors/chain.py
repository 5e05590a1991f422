"""A detector over an ordered chain of detectors, each behind a circuit breaker: the next one answers when one fails.

The deadline travels: a member leaves time for the cheapest one behind it, and one that would not finish in what is left
is passed over. A member is a bulkhead by itself: in isolation ``process`` it has its own worker, so that trouble in one
spends nobody else's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from percept_ros.config import ExperimentConfig
from percept_ros.detectors.detector import Detector
from percept_ros.detectors.shadow import Subject, known_call
from percept_ros.errors import InferenceError, ModelError, NonFiniteOutput, WorkerDied
from percept_ros.inference.breaker import Breaker, BreakerSettings, BreakerState
from percept_ros.types import Detections, PointCloud, SensorSet

_UNMEASURED_NS = 20_000_000
"""Time kept for a later member that was not called yet."""


@dataclass(slots=True)
class _Link:
    rank: int
    member: Detector
    breaker: Breaker
    suspect: bool = False
    """Whether it gave a wrong answer to the known frame: it is then left out until it gives the right one."""

    @property
    def need_ns(self) -> int:
        """Time that a call of this member is given in planning."""
        typical_ns = self.breaker.typical_ns()
        return _UNMEASURED_NS if typical_ns is None else typical_ns + typical_ns // 2


@dataclass(frozen=True, slots=True)
class _Begun:
    """A call that was sent ahead: whom, with which sweep, when, and until when its answer is of use (monotonic)."""

    link: _Link
    cloud: PointCloud
    sent_ns: int
    until_ns: int


class DetectorChain:
    """Satisfies Detector. ``rank`` is the position in the chain of the detector that answered last (0 = the first).

    A member that cannot be loaded is left out, with its reason in ``refused``; loading fails when none is left.
    When every breaker is open the last member is called all the same. ``first_rank`` skips members before it.
    from_rank: rank of the first member, for the tail of a longer chain.
    """

    def __init__(
        self, members: Sequence[Detector], breaker: BreakerSettings | None = None, *, from_rank: int = 0
    ) -> None:
        self._from_rank = from_rank
        self._members = list(members)
        self._breaker = breaker or BreakerSettings()
        self._usable: list[_Link] = []
        self._last: _Link | None = None
        self._begun: _Begun | None = None
        self.first_rank = 0
        self.group = ""
        """Experiment group that answered last, "" = no experiment."""
        self.refused: list[str] = []
        self.faults: Counter[str] = Counter()

    @property
    def model(self) -> str:
        """Model that answered last."""
        return self._last.member.model if self._last else ""

    @property
    def artefact_sha256(self) -> str:
        """Hash of what answered last."""
        return self._last.member.artefact_sha256 if self._last else ""

    @property
    def rank(self) -> int:
        """Position in the chain of the detector that answered last."""
        return self._last.rank if self._last else 0

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the usable members, in order."""
        return tuple(link.member.model for link in self._usable)

    @property
    def members(self) -> tuple[Detector, ...]:
        """Every member, also those that could not be loaded."""
        return tuple(self._members)

    @property
    def ranks(self) -> dict[str, int]:
        """Model -> its position in the chain, of the usable members."""
        return {link.member.model: link.rank for link in self._usable}

    @property
    def breakers(self) -> tuple[str, ...]:
        """State of every breaker, as ``model: state``."""
        return tuple(f"{link.member.model}: {link.breaker.state.value}" for link in self._usable)

    @property
    def takes_cameras(self) -> bool:
        """Whether a member can detect in images, without a sweep."""
        return any(getattr(link.member, "takes_cameras", False) for link in self._usable)

    def load(self) -> None:
        """Load every member. Raises ModelError when none can be used."""
        self._usable = []
        for rank, member in enumerate(self._members, self._from_rank):
            try:
                member.load()
            except (ModelError, WorkerDied) as exc:
                self.refused.append(str(exc))
            else:
                self._usable.append(_Link(rank, member, Breaker(self._breaker)))
        if not self._usable:
            raise ModelError(f"no detector of the chain can be used: {'; '.join(self.refused) or 'the chain is empty'}")
        self._last = self._usable[0]

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """The answer of the first member that gives one. Raises the last member's error when all fail."""
        error: Exception = InferenceError("detector chain is used before load or after close")
        links = self._candidates()
        for index, link in enumerate(links):
            later = links[index + 1 :]
            if index and later and _too_late(link, deadline_ns):
                self.faults[f"{link.member.model}/no_time_left"] += 1
                continue
            try:
                found = self._call(link, sensors, _own_deadline(deadline_ns, later))
            except (InferenceError, ModelError, WorkerDied) as exc:
                self.faults[f"{link.member.model}/{type(exc).__name__}"] += 1
                error = exc
            else:
                self._last = link
                return found
        raise error

    def begin(self, sensors: SensorSet, *, deadline_ns: int) -> None:
        """Have the first member look at a sweep already, while the cameras of its set are still awaited. A hint: ``detect``
        gives the same answer without it. Only members in a process of their own that look at the LiDAR alone can."""
        now_ns, begun = time.monotonic_ns(), self._begun
        if sensors.cloud is None or (begun is not None and (begun.cloud is sensors.cloud or now_ns < begun.until_ns)):
            return
        links = self._candidates()
        link = links[0] if links else None
        if link is None or link.breaker.state is not BreakerState.CLOSED or getattr(link.member, "takes_cameras", True):
            return
        begin = getattr(link.member, "begin", None)
        if begin is not None and begin(sensors, deadline_ns=_own_deadline(deadline_ns, links[1:])):
            self._begun = _Begun(link, sensors.cloud, now_ns, deadline_ns)

    @property
    def begun(self) -> bool:
        """Whether the answer to a sweep that was sent ahead is awaited."""
        return self._begun is not None and time.monotonic_ns() < self._begun.until_ns

    def ask(self, group: str = "", shadow: str = "") -> None:
        """Wishes for the next frame: experiment groups that shall answer it, and see it. A chain alone has no groups."""

    def configure(self, experiment: ExperimentConfig) -> None:
        """Take over changed parameters of an experiment, from any thread. A chain alone has none."""

    def _candidates(self) -> list[_Link]:
        now_ns = time.monotonic_ns()
        asked = [link for link in self._usable if link.rank >= self.first_rank] or self._usable[-1:]
        return [link for link in asked if not link.suspect and link.breaker.allows(now_ns)] or asked[-1:]

    def subjects(self) -> list[Subject]:
        """The usable members as subjects of the shadow test."""
        return [
            Subject(
                partial(getattr, link.member, "model"),
                known_call(link.member.detect),
                partial(_suspect, link, True),
                partial(_suspect, link, False),
            )
            for link in self._usable
        ]

    def _call(self, link: _Link, sensors: SensorSet, deadline_ns: int | None) -> Detections:
        begun, self._begun = self._begun, None
        started_ns, took_ns, ok = time.monotonic_ns(), None, False
        found: Detections | None = None
        try:
            if begun is not None and begun.link is link and begun.cloud is sensors.cloud:
                started_ns = begun.sent_ns
                found, took_ns = link.member.finish() or (None, None)  # type: ignore[attr-defined]
            if found is None:
                found = link.member.detect(sensors, deadline_ns=deadline_ns)
            check_finite(found, link.member.model)
            ok = True
            return found
        finally:
            now_ns = time.monotonic_ns()
            link.breaker.record(ok, now_ns - started_ns if took_ns is None else took_ns, now_ns)

    def close(self) -> None:
        """Close every member."""
        for link in reversed(self._usable):
            link.member.close()
        self._usable = []


def _suspect(link: _Link, suspect: bool) -> None:
    link.suspect = suspect
    if suspect:
        link.breaker.trip(time.monotonic_ns())


def check_finite(found: Detections, model: str) -> None:
    """Raise NonFiniteOutput when a box or score is NaN or infinite."""
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise NonFiniteOutput(f"model '{model}' answered boxes or scores that are not finite")


def _own_deadline(deadline_ns: int | None, later: Sequence[_Link]) -> int | None:
    """The deadline less the time that the cheapest later member needs (at most half of what is left)."""
    if deadline_ns is None or not later:
        return deadline_ns
    left_ns = deadline_ns - time.monotonic_ns()
    return deadline_ns - max(0, min(left_ns // 2, min(link.need_ns for link in later)))


def _too_late(link: _Link, deadline_ns: int | None) -> bool:
    return deadline_ns is not None and time.monotonic_ns() + link.need_ns > deadline_ns
