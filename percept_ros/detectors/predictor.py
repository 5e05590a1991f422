"""Predicts the paths of tracks: the path network where it may be trusted, else turn rate and constant velocity.

The network's state is kept a track. When a call fails or is late, the state and the last paths are kept and rolled on; each
forecast says what made it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from percept_ros.config import PredictionConfig
from percept_ros.core.path_compose import at_times, headings, shifted
from percept_ros.core.path_features import GROUP_OF_CLASS
from percept_ros.core.path_gate import SkillGate, familiarity
from percept_ros.core.prediction import predict_classical
from percept_ros.detectors.path_model import PathAnswer, PathModel, PathState, copied
from percept_ros.errors import InferenceError
from percept_ros.types import F64, I64, Bool, Forecasts, PredictionMethod, Tracks

MOST_STEPS = 5
LONGEST_ROLLOUT_S = 0.5
JUDGED_S = 1.0


@dataclass(frozen=True, slots=True)
class _Memory:
    """After the last good call: track id -> row, positions (N, 2), and the network's answer."""

    stamp_ns: int
    frame_id: str
    rows: dict[bytes, int]
    position_m: F64
    answer: PathAnswer


@dataclass(frozen=True, slots=True)
class _Promise:
    """Where tracks were said to be at ``due_ns``: ids, groups, and positions (N, 2) by network and classical predictor."""

    due_ns: int
    ids: list[bytes]
    groups: I64
    learned_m: F64
    classical_m: F64


class PathPredictor:
    """Predicts all tracks in one call. Calls come from one thread.

    model: folder or name of a path model; empty = classical only. ``faults`` counts calls that failed, by error.
    Life: ``load`` -> ``predict``... -> ``close``; ``close`` may be called twice.
    """

    def __init__(self, config: PredictionConfig, model: str | Path = "", *, budget_ms: float = 10.0) -> None:
        self._config = config
        self._model = PathModel(model) if str(model) else None
        self._budget_ns = int(budget_ms * 1e6)
        self._memory: _Memory | None = None
        self._promises: deque[_Promise] = deque(maxlen=64)
        self._gate = SkillGate()
        self.faults: Counter[str] = Counter()

    def load(self) -> None:
        """Open the model. Raises ModelError."""
        if self._model is not None:
            self._model.load()
            self._gate = SkillGate(self._model.output.skill)

    def reset(self, ids: Iterable[bytes] | None = None) -> None:
        """Forget the state of the named tracks (16 bytes each), or of all (scene cut, time jump)."""
        if ids is None:
            self._memory = None
            self._promises.clear()
        elif self._memory is not None:
            gone = set(ids)
            rows = {k: r for k, r in self._memory.rows.items() if k not in gone}
            self._memory = replace(self._memory, rows=rows)

    def predict(self, tracks: Tracks) -> Forecasts:
        """One path a track. Never raises for a failing model: that is counted, and the next best predictor answers."""
        classical = predict_classical(tracks, self._config)
        if self._model is None or not len(tracks):
            return classical
        self._forget_when_cut(tracks)
        ids = [row.tobytes() for row in tracks.id]
        groups = GROUP_OF_CLASS[tracks.class_ids]
        self._judge(tracks, ids)
        answer = self._advance(self._model, tracks, ids, groups)
        if answer is None:
            return self._roll_on(self._model, tracks, ids, classical)
        return self._answer(self._model, answer, tracks, ids, groups, classical)

    def close(self) -> None:
        """Free the engine."""
        if self._model is not None:
            self._model.close()
        self.reset()

    def _forget_when_cut(self, tracks: Tracks) -> None:
        memory = self._memory
        if memory is None:
            return
        assert self._model is not None
        elapsed_s = (tracks.stamp_ns - memory.stamp_ns) * 1e-9
        longest_s = (MOST_STEPS + 0.5) * self._model.input.step_s
        if tracks.frame_id != memory.frame_id or not 0.0 <= elapsed_s <= longest_s:
            self.reset()

    def _advance(self, model: PathModel, tracks: Tracks, ids: list[bytes], groups: I64) -> PathAnswer | None:
        """The network's answer for now, or None when it fails, is late, or too little time has passed for a step."""
        memory, step_s = self._memory, model.input.step_s
        position = tracks.boxes[:, :2]
        if memory is None:
            state, fresh, moved, steps = model.empty(len(ids)), np.ones(len(ids), np.bool_), 0.0 * position, 1
        else:
            steps = round((tracks.stamp_ns - memory.stamp_ns) * 1e-9 / step_s)
            if steps == 0:
                return None
            state, fresh, moved = _remembered(memory, ids, position)
        moved = np.where(fresh[:, None], tracks.velocity_mps * step_s, moved / steps)
        deadline_ns = time.monotonic_ns() + self._budget_ns
        try:
            for _ in range(steps):
                answer = model.step(moved, tracks.velocity_mps, groups, fresh, state, deadline_ns=deadline_ns)
                state, fresh = answer.state, np.zeros(len(ids), np.bool_)
        except InferenceError as exc:
            self.faults[type(exc).__name__] += 1
            return None
        answer = copied(answer)
        rows = {name: row for row, name in enumerate(ids)}
        self._memory = _Memory(tracks.stamp_ns, tracks.frame_id, rows, position.copy(), answer)
        return answer

    def _answer(
        self, model: PathModel, answer: PathAnswer, tracks: Tracks, ids: list[bytes], groups: I64, classical: Forecasts
    ) -> Forecasts:
        times = classical.step_s * np.arange(1.0, classical.paths.shape[2] + 1)
        learned = at_times(answer.offsets_m, model.input.step_s, times)
        share = familiarity(answer.state.window, groups, model.output.familiar) * self._gate.share(groups)
        base = classical.paths[:, 0, :, :2] - tracks.boxes[:, None, :2]
        self._promise(tracks, ids, groups, learned, base, classical.step_s)
        offsets = base + share[:, None, None] * (learned - base)
        sigma = at_times(answer.sigma_m[..., None], model.input.step_s, times)[..., 0]
        return _composed(classical, tracks, offsets, sigma, share, PredictionMethod.NETWORK)

    def _roll_on(self, model: PathModel, tracks: Tracks, ids: list[bytes], classical: Forecasts) -> Forecasts:
        """The last good paths, moved on to now, for the tracks that had one."""
        memory = self._memory
        elapsed_s = 0.0 if memory is None else (tracks.stamp_ns - memory.stamp_ns) * 1e-9
        if memory is None or elapsed_s > LONGEST_ROLLOUT_S:
            return classical
        rows = np.array([memory.rows.get(name, -1) for name in ids], np.int64)
        known = rows >= 0
        if not known.any():
            return classical
        times = classical.step_s * np.arange(1.0, classical.paths.shape[2] + 1)
        groups = GROUP_OF_CLASS[tracks.class_ids]
        window = memory.answer.state.window[rows]
        share = known * familiarity(window, groups, model.output.familiar) * self._gate.share(groups)
        rolled = shifted(memory.answer.offsets_m[rows], model.input.step_s, elapsed_s, times)
        base = classical.paths[:, 0, :, :2] - tracks.boxes[:, None, :2]
        offsets = base + share[:, None, None] * (rolled - base)
        sigma = at_times(memory.answer.sigma_m[rows][..., None], model.input.step_s, times + elapsed_s)[..., 0]
        return _composed(classical, tracks, offsets, sigma, share, PredictionMethod.NETWORK_ROLLOUT)

    def _promise(self, tracks: Tracks, ids: list[bytes], groups: I64, learned: F64, base: F64, step_s: float) -> None:
        at = min(round(JUDGED_S / step_s), learned.shape[1]) - 1
        due_ns = tracks.stamp_ns + round((at + 1) * step_s * 1e9)
        here = tracks.boxes[:, :2]
        self._promises.append(_Promise(due_ns, ids, groups, here + learned[:, at], here + base[:, at]))

    def _judge(self, tracks: Tracks, ids: list[bytes]) -> None:
        """Compare promises that are due now with where the tracks are."""
        slack_ns = round(0.3 * self._config.step_s * 1e9)
        while self._promises and self._promises[0].due_ns <= tracks.stamp_ns + slack_ns:
            promise = self._promises.popleft()
            if abs(promise.due_ns - tracks.stamp_ns) > slack_ns:
                continue
            here = {name: row for row, name in enumerate(ids)}
            pairs = [(i, here[n]) for i, n in enumerate(promise.ids) if n in here]
            if pairs:
                old, now = np.array(pairs, np.int64).T
                learned = promise.learned_m[old] - tracks.boxes[now, :2]
                base = promise.classical_m[old] - tracks.boxes[now, :2]
                self._gate.judge(promise.groups[old], np.hypot(*learned.T), np.hypot(*base.T))


def _remembered(memory: _Memory, ids: list[bytes], position_m: F64) -> tuple[PathState, Bool, F64]:
    """State (N rows), which tracks are new, and the way since the last call (N, 2)."""
    rows = np.array([memory.rows.get(name, -1) for name in ids], np.int64)
    return memory.answer.state.take(rows), rows < 0, position_m - memory.position_m[rows]


def _composed(
    classical: Forecasts, tracks: Tracks, offsets: F64, sigma: F64, share: F64, method: PredictionMethod
) -> Forecasts:
    """Forecasts with the blended offsets; tracks with less than half a share keep the classical label and sigma."""
    paths = classical.paths.copy()
    paths[:, 0, :, :2] = tracks.boxes[:, None, :2] + offsets
    mixed = share > 0.0
    paths[mixed, 0, :, 2] = headings(offsets[mixed], tracks.boxes[mixed, 6])
    mostly = share >= 0.5
    sigma = np.where(mostly[:, None], np.maximum(sigma, 1e-3), classical.sigma_m[:, 0])
    label = np.where(mostly, np.uint8(method), classical.method).astype(np.uint8)
    return replace(classical, paths=paths, sigma_m=sigma[:, None], method=label)
