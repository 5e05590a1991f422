"""The skill gate over recorded cases, as it would have judged them on the way: nothing is known before it happened."""

from __future__ import annotations

import numpy as np

from percept_ros.core.path_gate import EXPERTS, MARKS, SkillGate
from percept_ros.detectors.path_model import PathOutput
from percept_ros.evaluate.prediction_data import Cases
from percept_ros.types import F64, I64


def marks(steps: int) -> tuple[int, ...]:
    """Path points that are judged, of a horizon of ``steps``."""
    return tuple(max(1, round(share * steps)) for share in MARKS)


def early_steps(steps: int) -> int:
    """How long before now the earlier answer was given that is judged first."""
    return marks(steps)[0]


def gate(chosen: Cases, errors: F64, early: F64, output: PathOutput) -> tuple[F64, I64]:
    """(N,) share of the network and (N,) index of the straight expert behind it, a sequence at a time.

    errors: (E, N, T) of each expert on each case. early: (E, N, K) of what each expert said ``early_steps`` ahead, at the
    first K displacements of each past, when it knew less: they count until answers to whole pasts come due.
    """
    share, straight = np.zeros(len(chosen)), np.ones(len(chosen), np.int64)
    for name in np.unique(chosen.sequences):
        rows = np.flatnonzero(chosen.sequences == name)
        share[rows], straight[rows] = _one_sequence(chosen, rows, errors, early, output)
    return share, straight


def _one_sequence(chosen: Cases, rows: I64, errors: F64, early: F64, output: PathOutput) -> tuple[F64, I64]:
    judge = SkillGate(output.skill, output.priors)
    share, straight = np.zeros(len(rows)), np.ones(len(rows), np.int64)
    at, groups = chosen.at[rows], chosen.groups[rows]
    for now in np.unique(at):
        here = np.flatnonzero(at == now)
        for mark, steps in enumerate(marks(errors.shape[2])):
            due = np.flatnonzero(at == now - steps)
            judge.judge(groups[due], errors[:, rows[due], steps - 1], mark)
            if mark == 0:
                _judge_early(judge, groups[here], early[:, rows[here]], groups[due])
        share[here], straight[here] = judge.share(groups[here]), judge.straight(groups[here])
    assert len(errors) == len(EXPERTS)
    return share, straight


def _judge_early(judge: SkillGate, groups: I64, early: F64, due: I64) -> None:
    """The youngest answers of tracks here, early (E, n, K), for groups that none are ``due`` of; at their first cases, all."""
    new = judge.evidence[0, groups] == 0
    mine = ~np.isin(groups, due)
    for look in range(early.shape[2]):
        rows = np.flatnonzero(mine & (new | (look == early.shape[2] - 1)))
        judge.judge(groups[rows], early[:, rows, look], 0)
