"""When a learned path may be used: only where it was trained, and only while it proves better than going straight on.

``familiarity`` compares a track with the training data: its noise, its speed. ``SkillGate`` keeps score of all predictors on
what really happened since, a group at a time, and starts from how they did on held-out training data.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

import numpy as np

from percept_ros.core.path_features import GROUPS, Reals, jitter, mean_velocity
from percept_ros.native import bind, pointer
from percept_ros.settings import setting
from percept_ros.types import F64, I64

SPANS = (1, 2, 3, 5, 10, 20)
"""Newest displacements whose mean goes on, of the straight experts."""
EXPERTS = ("network", *(f"cv{span}" for span in SPANS), "told")
MARKS = (1.0 / 3.0, 2.0 / 3.0, 1.0)
"""Shares of the horizon at which paths are judged."""
_MARKS = np.array(MARKS)
YOUNG = 5
"""Displacements from which on the noise of a track is told."""
NETWORK, TOLD = 0, len(SPANS) + 1
USUAL_SPAN = 3
"""Span that a group goes by where nothing is known of it, or training sequences disagree."""
SURE = 100.0
"""Weight of a prior from which on training sequences count as agreed."""


@dataclass(frozen=True, slots=True)
class Familiar:
    """Ranges that training covered, of one group."""

    least_jitter_m: float = setting(0.0, "1st percentile of position noise", low=0.0)
    most_jitter_m: float = setting(1e9, "99th percentile of position noise", low=0.0)
    most_step_m: float = setting(1e9, "99.9th percentile of the way of one step", low=0.0)


@dataclass(frozen=True, slots=True)
class Prior:
    """What to think of each expert before it is judged: its error over that of the best straight one, of one group."""

    network: float = setting(1.1, "the path network", low=0.0)
    cv1: float = setting(1.1, "the last displacement goes on", low=0.0)
    cv2: float = setting(1.05, "the mean of the last 2", low=0.0)
    cv3: float = setting(1.0, "of the last 3", low=0.0)
    cv5: float = setting(1.05, "of the last 5", low=0.0)
    cv10: float = setting(1.1, "of the last 10", low=0.0)
    cv20: float = setting(1.2, "of the last 20", low=0.0)
    told: float = setting(1.0, "the tracker's own velocity", low=0.0)
    weight: float = setting(
        1e9, "at most so many judged positions does this stand for; few where data disagree", low=0.0
    )


@dataclass(frozen=True, slots=True)
class SkillSettings:
    """How the skill gate judges. Evidence is the number of judged positions, older ones fading."""

    prior_weight: float = setting(5.0, "judged positions that the prior stands for, at each horizon", low=0.0)
    modesty: float = setting(
        1.0, "the network's prior ratio is taken as at least this, however good training was", low=0.0
    )
    memory: float = setting(3000.0, "judged positions after which old ones weigh a third", low=1.0)
    full_ratio: float = setting(0.96, "error over the best straight expert's up to which the network is used", low=0.0)
    none_ratio: float = setting(1.0, "and from which it is not used at all", low=0.0)
    alike: float = setting(
        5.0, "judged positions that tell no more than one: paths of a track a moment apart are much the same", low=1.0
    )
    alike_unsure: float = setting(30.0, "the same for groups that training sequences disagree on", low=1.0)
    doubt: float = setting(0.5, "standard errors by which the network, or another expert, has to be better", low=0.0)


def familiarity(windows: Reals, ages: Reals, groups: I64, limits: Mapping[str, Familiar]) -> F64:
    """(N,) 1 inside the ranges of training, falling to 0 at three times (or a third of) their ends.

    windows: (N, W, 2) displacements a step, metres. ages: (N,) displacements seen. limits: group name -> ranges; a group
    without ranges is unfamiliar. Noise that is not known yet is taken as familiar.
    """
    least, most, step_m = limits_of(limits)[:, groups]
    noise = jitter(windows, ages)
    mean = mean_velocity(windows, 5)
    over = np.maximum(noise / most, np.hypot(mean[:, 0], mean[:, 1]) / step_m)
    under = np.where(np.asarray(ages) >= YOUNG, least / np.maximum(noise, 1e-9), 0.0)
    return _falling(np.maximum(over, under), 1.0, 3.0)


def limits_of(limits: Mapping[str, Familiar]) -> F64:
    """(3, G) least and most noise and most step; a group without ranges fits nothing."""
    nothing = (np.inf, 1e-9, 1e-9)
    rows = [astuple(limits[name]) if name in limits else nothing for name in GROUPS]
    return np.maximum(np.array(rows, np.float64).T, 1e-9)


def _falling(value: F64, full: float, none: float) -> F64:
    """1 up to ``full``, 0 from ``none``, straight between."""
    return np.clip((none - value) / max(none - full, 1e-9), 0.0, 1.0)


def straight_steps(windows: Reals, told_m: Reals, ages: Reals) -> F64:
    """(E - 1, N, 2) displacement a step of each straight expert.

    windows: (N, W, 2) last displacements. told_m: (N, 2) displacement a step by the tracker's velocity. ages: (N,)
    displacements really seen: an expert of a longer span takes the mean of those.
    """
    known = np.clip(np.asarray(ages).astype(np.int64), 1, windows.shape[1])
    sums = np.cumsum(np.asarray(windows, np.float64)[:, ::-1], axis=1)
    spans = np.minimum(np.array(SPANS)[:, None], known)
    means = sums[np.arange(len(known)), spans - 1] / spans[..., None]
    return np.concatenate([means, np.asarray(told_m, np.float64)[None]])


@dataclass(frozen=True, slots=True)
class Record:
    """Of judged positions: count (G,); errors, errors over the usual expert's, and the squares of these, each (E, G)."""

    count: F64
    sums_m: F64
    over_m: F64
    squares_m2: F64


@dataclass(frozen=True, slots=True)
class Verdict:
    """errors: (M, E, G), see ``SkillGate.errors``. straight: (G,) expert that serves a group. ratio: (G,). share: (G,) of the network."""

    errors: F64
    straight: I64
    ratio: F64
    share: F64


class SkillGate:
    """Which straight expert serves a group, and the share of the network, from the errors of all seen so far.

    The network has to be better at every judged horizon (``MARKS``), for one second says little of three, and by ``doubt``
    standard errors. A group goes by its usual straight expert, the one that training sequences agree on, until another is
    better by as many; where they disagree, or were too few, by the mean of the last 3, and more evidence is asked for. Where
    training was on another kind of data (``prior_weight`` is small) the least error decides at once.
    """

    def __init__(self, settings: SkillSettings | None = None, priors: Mapping[str, Prior] | None = None) -> None:
        self._settings = settings or SkillSettings()
        given = np.ascontiguousarray(np.array([astuple((priors or {}).get(name, Prior())) for name in GROUPS]).T)
        self._prior, most = given[:-1], max(self._settings.prior_weight, 1e-6)
        self._weight = np.minimum(given[-1], most)
        sure = given[-1] >= SURE
        self._usual = 1 + np.where(sure, given[1:-1].argmin(axis=0), SPANS.index(USUAL_SPAN))
        self._prior[NETWORK] = np.maximum(self._prior[NETWORK], self._settings.modesty)
        alike = np.where(sure, self._settings.alike, self._settings.alike_unsure)
        self._alike = alike * np.array(MARKS)[:, None] / MARKS[0]
        self._unsure = np.ascontiguousarray(sure & (self._weight < SURE), np.uint8)
        self._sums = np.zeros((len(MARKS), len(EXPERTS), len(GROUPS)))
        self._over = np.zeros_like(self._sums)
        self._squares = np.zeros_like(self._sums)
        self.evidence = np.zeros((len(MARKS), len(GROUPS)))
        self._verdict: Verdict | None = None

    def judge(self, groups: I64, errors_m: F64, mark: int) -> None:
        """Take in the errors (E, N) of all experts at positions that have now been reached; mark: index into ``MARKS``."""
        if not len(groups):
            return
        member = np.eye(len(GROUPS))[groups]
        over = errors_m - errors_m[self._usual[groups], np.arange(len(groups))]
        count, record = member.sum(axis=0), self.record(mark)
        keep = np.exp(-count / self.memory)
        record.sums_m[:] = keep * record.sums_m + errors_m @ member
        record.over_m[:] = keep * record.over_m + over @ member
        record.squares_m2[:] = keep * record.squares_m2 + (over * over) @ member
        record.count[:] = keep * record.count + count

    def record(self, mark: int) -> Record:
        """What has been judged at a mark, to be added to: the gate thinks again after this."""
        self._verdict = None
        return Record(self.evidence[mark], self._sums[mark], self._over[mark], self._squares[mark])

    @property
    def memory(self) -> float:
        """Judged positions after which old ones weigh a third."""
        return self._settings.memory

    @property
    def usual(self) -> I64:
        """(G,) index into ``EXPERTS`` of the straight expert that a group goes by before it is judged."""
        return self._usual

    def errors(self) -> F64:
        """(M, E, G) mean error of each expert at each mark, in any unit: only ratios mean something.

        The prior of the first mark is that of training; of later marks, what the one before found. The network's is never
        better than training and ``modesty`` say, so that only its own record at that mark opens the gate.
        """
        return self.verdict().errors

    def straight(self, groups: I64) -> I64:
        """(N,) index into ``EXPERTS`` of the straight expert that serves each track."""
        return self.verdict().straight[groups]

    def ratio(self) -> F64:
        """(G,) error of the network over that of the best straight expert, at the horizon where it is worst."""
        return self.verdict().ratio

    def share(self, groups: I64) -> F64:
        """(N,) share of the network's path for tracks of these groups."""
        return self.verdict().share[groups]

    def verdict(self) -> Verdict:
        """Of what has been judged so far; kept until more is."""
        if self._verdict is None:
            self._verdict = self._judgement()
        return self._verdict

    def _judgement(self) -> Verdict:
        errors, shape = np.empty_like(self._sums), self._sums.shape
        straight, ratio = np.empty(shape[2], np.int64), np.empty(shape[2])
        given = (self._sums, self._over, self._squares, self.evidence, self._prior, self._weight, self._usual)
        code = _verdict()(
            *map(pointer, (*given, self._alike, self._unsure, _MARKS)),
            *(*shape, self._settings.doubt),
            *map(pointer, (errors, straight, ratio)),
        )
        if code < 0:
            raise ValueError(f"the record of {shape} was refused ({code})")
        share = _falling(ratio, self._settings.full_ratio, self._settings.none_ratio)
        return Verdict(errors, straight, ratio, share)


@cache
def _verdict() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_verdict", [*[address] * 10, *[size] * 3, ctypes.c_double, *[address] * 3])
