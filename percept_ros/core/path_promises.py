"""What was promised of tracks, until it can be compared with where they went."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from percept_ros.core.path_gate import MARKS, SkillGate
from percept_ros.core.path_score import judge
from percept_ros.core.track_rows import U64, TrackRows
from percept_ros.types import F64, I64

MOST_PROMISES = 512


@dataclass(frozen=True, slots=True)
class _Promise:
    """Where tracks will be at ``due_ns``: their keys and groups, and positions (E, N, 2) by every expert."""

    due_ns: int
    keys: U64
    groups: I64
    said_m: F64


class Promises:
    """Positions that the experts foretold. horizon_s: of the last judged one; slack_ns: how far off its time it may be."""

    def __init__(self, horizon_s: float, slack_ns: int) -> None:
        self._horizon_s, self._slack_ns = horizon_s, slack_ns
        self._waiting = tuple(deque[_Promise](maxlen=MOST_PROMISES) for _ in MARKS)

    def points(self, step_s: float, steps: int) -> I64:
        """Indices of the path points that are judged, of ``steps`` points ``step_s`` apart."""
        wanted = [round(share * self._horizon_s / step_s) for share in MARKS]
        return np.clip(np.array(wanted, np.int64), 1, steps) - 1

    def add(self, stamp_ns: int, times_s: F64, keys: U64, groups: I64, said_m: F64) -> None:
        """Keep positions (M, E, N, 2) foretold at ``stamp_ns`` for ``times_s`` (M,) later."""
        for mark, waiting in enumerate(self._waiting):
            due_ns = stamp_ns + round(float(times_s[mark]) * 1e9)
            waiting.append(_Promise(due_ns, keys, groups, said_m[mark]))

    def judge(self, gate: SkillGate, stamp_ns: int, here: TrackRows, position_m: F64) -> None:
        """Tell the gate how far off the promises due now were, of tracks ``here`` at ``position_m`` (N, >= 2), x and y first."""
        for mark, waiting in enumerate(self._waiting):
            while waiting and waiting[0].due_ns <= stamp_ns + self._slack_ns:
                promise = waiting.popleft()
                if promise.due_ns >= stamp_ns - self._slack_ns:
                    judge(gate, mark, promise.keys, promise.groups, promise.said_m, here, position_m)

    def clear(self) -> None:
        """Forget all."""
        for waiting in self._waiting:
            waiting.clear()
