"""When a learned path may be used: only where it was trained, and only while it proves better than the classical one.

Two gates, each a share in [0, 1] of the learned path in the answer. ``familiarity`` compares a track with the training
data: its noise, its speed. ``SkillGate`` keeps score of both predictors on what really happened since, a group at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from percept_ros.core.path_features import GROUPS, Reals, jitter, mean_velocity
from percept_ros.settings import setting
from percept_ros.types import F64, I64


@dataclass(frozen=True, slots=True)
class Familiar:
    """Ranges that training covered, of one group."""

    least_jitter_m: float = setting(0.0, "1st percentile of position noise", low=0.0)
    most_jitter_m: float = setting(1e9, "99th percentile of position noise", low=0.0)
    most_step_m: float = setting(1e9, "99.9th percentile of the way of one step", low=0.0)


@dataclass(frozen=True, slots=True)
class SkillSettings:
    """How the skill gate judges. Evidence is the number of judged paths, older ones fading."""

    least_evidence: float = setting(30.0, "judged paths before the gate leaves its first answer", low=0.0)
    memory: float = setting(3000.0, "judged paths after which old ones weigh a third", low=1.0)
    full_ratio: float = setting(0.97, "error ratio to the classical path up to which the learned path is used", low=0.0)
    none_ratio: float = setting(1.0, "error ratio from which it is not used at all", low=0.0)
    first_share: float = setting(1.0, "share while there is not enough evidence", low=0.0, high=1.0)


def familiarity(windows: Reals, groups: I64, limits: Mapping[str, Familiar]) -> F64:
    """(N,) 1 inside the ranges of training, falling to 0 at three times (or a third of) their ends.

    windows: (N, W, 2) displacements a step, metres. limits: group name -> ranges; a group without ranges is unfamiliar.
    """
    noise = jitter(windows)
    mean = mean_velocity(windows, 5)
    step_m = np.hypot(mean[:, 0], mean[:, 1])
    share = np.zeros(len(windows))
    for index, name in enumerate(GROUPS):
        mine = groups == index
        if (limit := limits.get(name)) is not None and mine.any():
            over = np.maximum(noise[mine] / max(limit.most_jitter_m, 1e-9), step_m[mine] / max(limit.most_step_m, 1e-9))
            under = limit.least_jitter_m / np.maximum(noise[mine], 1e-9)
            share[mine] = _falling(np.maximum(over, under), 1.0, 3.0)
    return share


def _falling(value: F64, full: float, none: float) -> F64:
    """1 up to ``full``, 0 from ``none``, straight between."""
    return np.clip((none - value) / max(none - full, 1e-9), 0.0, 1.0)


class SkillGate:
    """Share of the learned path in each group, from the errors of both predictors seen so far."""

    def __init__(self, settings: SkillSettings | None = None) -> None:
        self._settings = settings or SkillSettings()
        self._learned = np.zeros(len(GROUPS))
        self._classical = np.zeros(len(GROUPS))
        self.evidence = np.zeros(len(GROUPS))

    def judge(self, groups: I64, learned_m: F64, classical_m: F64) -> None:
        """Take in the errors (N,) of both predictors on paths that have now been travelled."""
        for index in range(len(GROUPS)):
            mine = groups == index
            if count := int(mine.sum()):
                keep = np.exp(-count / self._settings.memory)
                self._learned[index] = keep * self._learned[index] + learned_m[mine].sum()
                self._classical[index] = keep * self._classical[index] + classical_m[mine].sum()
                self.evidence[index] = keep * self.evidence[index] + count

    def ratio(self) -> F64:
        """(G,) error of the learned paths over that of the classical ones; 1 without evidence."""
        return np.where(self.evidence > 0, (self._learned + 1e-6) / (self._classical + 1e-6), 1.0)

    def share(self, groups: I64) -> F64:
        """(N,) share of the learned path for tracks of these groups."""
        s = self._settings
        proven = _falling(self.ratio(), s.full_ratio, s.none_ratio)
        return np.where(self.evidence < s.least_evidence, s.first_share, proven)[groups]
