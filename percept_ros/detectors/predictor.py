"""Predicts the paths of tracks: the path network where it may be trusted, else turn rate and constant velocity.

The network's state is kept a track. When a call fails or is late, the state and the last paths are kept and rolled on; each
forecast says what made it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from percept_ros.config import PredictionConfig
from percept_ros.core.path_compose import at_times, fits, shifted
from percept_ros.core.path_frame import AnswerReader, Known, Scene, SceneReader
from percept_ros.core.path_gate import SkillGate, familiarity, limits_of
from percept_ros.core.path_kernel import blended_paths
from percept_ros.core.path_promises import Promises
from percept_ros.core.path_score import spread as path_spread
from percept_ros.core.prediction import classical_method, position_and_speed_variance, predict_classical
from percept_ros.core.track_rows import U64, TrackRows, keys_of
from percept_ros.detectors.path_model import PathAnswer, PathModel, PathState
from percept_ros.errors import InferenceError
from percept_ros.types import F64, I64, U8, Bool, Forecasts, PredictionMethod, Tracks

MOST_STEPS = 5
EARLY = 0.25
"""A step is taken this share of the model's clock early rather than late."""
LONGEST_ROLLOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class _Memory:
    """After the last good call: rows of the tracks, which of them have a state (N,), positions (N, 2), and the answer."""

    stamp_ns: int
    frame_id: str
    rows: TrackRows
    alive: Bool
    position_m: F64
    answer: PathAnswer

    def steps_since(self, stamp_ns: int, step_s: float) -> float:
        """Steps of the network's clock."""
        return (stamp_ns - self.stamp_ns) * 1e-9 / step_s

    def find(self, keys: U64) -> I64:
        """(M,) rows of tracks with a state, -1 for others."""
        rows = self.rows.find(keys)
        return np.where(self.alive[rows], rows, -1)


class PathPredictor:
    """Predicts all tracks in one call. Calls come from one thread.

    model: a path model, or the folder or name of one; empty = classical only. ``faults`` counts calls that failed, by error.
    Life: ``load`` -> ``predict``... -> ``close``; ``close`` may be called twice.
    """

    def __init__(
        self, config: PredictionConfig, model: PathModel | str | Path = "", *, budget_ms: float = 10.0
    ) -> None:
        self._config = config
        self.model = model if isinstance(model, PathModel) else PathModel(model) if str(model) else None
        self._budget_ns = int(budget_ms * 1e6)
        self._memory: _Memory | None = None
        self._promises = Promises(config.vehicle_horizon_s, round(0.3 * config.step_s * 1e9))
        self._gate = SkillGate()
        self._reader = SceneReader(config)
        self._answers = AnswerReader(limits_of({}), config.step_s)
        self.faults: Counter[str] = Counter()

    def load(self) -> None:
        """Open the model. Raises ModelError."""
        if self.model is not None:
            self.model.load()
            self.judge_afresh()

    def judge_afresh(self) -> None:
        """Forget how the predictors have done; the model's priors count again."""
        if self.model is not None:
            self._gate = SkillGate(self.model.output.skill, self.model.output.priors)
            self._answers = AnswerReader(limits_of(self.model.output.familiar), self.model.input.step_s)

    def reset(self, ids: U8 | None = None) -> None:
        """Forget the state of the named tracks, ids (M, 16), or of all (key frame, scene cut, time jump)."""
        if ids is None:
            self._memory = None
            self._promises.clear()
        elif self._memory is not None:
            rows = self._memory.find(keys_of(ids))
            alive = self._memory.alive.copy()
            alive[rows[rows >= 0]] = False
            self._memory = replace(self._memory, alive=alive)

    def predict(self, tracks: Tracks, *, cut: bool = False) -> Forecasts:
        """One path a track. Never raises for a failing model: that is counted, and the next best predictor answers.

        cut: a camera began a new scene with this frame (a key frame); the state is forgotten where the configuration says so.
        """
        if cut and self._config.reset_on_key_frame:
            self.reset()
        if self.model is None or not len(tracks):
            return predict_classical(tracks, self._config)
        self._forget_when_cut(self.model, tracks)
        scene = self._read(self.model, tracks)
        self._promises.judge(self._gate, tracks.stamp_ns, scene.rows, tracks.boxes)
        answer = self._advance(self.model, tracks, scene)
        if answer is None:
            return self._roll_on(self.model, tracks, scene)
        return self._answer(self.model, answer, tracks, scene)

    def close(self) -> None:
        """Free the engine."""
        if self.model is not None:
            self.model.close()
        self.reset()

    def _forget_when_cut(self, model: PathModel, tracks: Tracks) -> None:
        memory = self._memory
        if memory is None:
            return
        elapsed_s = (tracks.stamp_ns - memory.stamp_ns) * 1e-9
        longest_s = (MOST_STEPS + 0.5) * model.input.step_s
        if tracks.frame_id != memory.frame_id or not 0.0 <= elapsed_s <= longest_s:
            self.reset()

    def _read(self, model: PathModel, tracks: Tracks) -> Scene:
        memory, step_s = self._memory, model.input.step_s
        if memory is None:
            return self._reader.read(tracks, step_s, None)
        elapsed = memory.steps_since(tracks.stamp_ns, step_s) or 1.0  # at the same moment no step is taken
        return self._reader.read(tracks, step_s, Known(memory.rows, memory.alive, memory.position_m, elapsed))

    def _advance(self, model: PathModel, tracks: Tracks, scene: Scene) -> PathAnswer | None:
        """The network's answer for now, or None when it fails, is late, or too little time has passed for a step."""
        memory = self._memory
        state, steps = model.empty(len(tracks)) if memory is None else memory.answer.state, 1
        if memory is not None:
            steps = int(memory.steps_since(tracks.stamp_ns, model.input.step_s) + EARLY)
            if steps == 0:
                return None
            state = state if scene.same else state.take(scene.row)
        try:
            answer = self._step(model, scene, state, steps)
        except InferenceError as exc:
            self.faults[type(exc).__name__] += 1
            return None
        alive, position = scene.usable.view(np.bool_), tracks.boxes[:, :2].copy()
        self._memory = _Memory(tracks.stamp_ns, tracks.frame_id, scene.rows, alive, position, answer)
        return answer

    def _step(self, model: PathModel, scene: Scene, state: PathState, steps: int) -> PathAnswer:
        deadline_ns = time.monotonic_ns() + self._budget_ns
        moved, told, kind = scene.moved_m, scene.told_mps, scene.kind
        answer = model.advance(moved, told, kind, scene.fresh, state, deadline_ns=deadline_ns)
        for _ in range(steps - 1):
            nobody = np.zeros_like(scene.fresh)
            answer = model.advance(moved, told, kind, nobody, answer.state, deadline_ns=deadline_ns)
        return answer

    def _answer(self, model: PathModel, answer: PathAnswer, tracks: Tracks, scene: Scene) -> Forecasts:
        step_s, times = model.input.step_s, self._times(scene)
        learned, sigma = answer.ways_m, answer.sigma_m
        if not fits(learned.shape[2], step_s, times):
            learned = np.swapaxes(at_times(answer.offsets_m, step_s, times), 1, 2).astype(np.float32)
            sigma = at_times(sigma[..., None], step_s, times)[..., 0].astype(np.float32)
        at = self._promises.points(self._config.step_s, len(times))
        state, verdict = answer.state, self._gate.verdict()
        found = self._answers.read(state.window, state.age, scene, tracks, learned, sigma, at, times, verdict)
        self._promises.add(tracks.stamp_ns, times[at], scene.rows.keys, scene.groups, found.said_m)
        sure = np.ones((len(tracks), 1))
        return Forecasts(
            self._config.step_s, found.paths_m[:, None], sure, found.sigma_m[:, None], scene.steps, found.method
        )

    def _times(self, scene: Scene) -> F64:
        """(T,) of the points of the longest path."""
        times: F64 = self._config.step_s * np.arange(1.0, int(scene.steps.max()) + 1)
        return times

    def _roll_on(self, model: PathModel, tracks: Tracks, scene: Scene) -> Forecasts:
        """The last good paths, moved on to now, for the tracks that had one; the tracker's own motion for the others."""
        memory = self._memory
        elapsed_s = 0.0 if memory is None else (tracks.stamp_ns - memory.stamp_ns) * 1e-9
        if memory is None or elapsed_s > LONGEST_ROLLOUT_S:
            return predict_classical(tracks, self._config)
        rows, step_s, times = scene.row, model.input.step_s, self._times(scene)
        state = memory.answer.state.take(rows)
        share = familiarity(state.windows, state.ages, scene.groups, model.output.familiar)
        share = np.where(rows >= 0, share * self._gate.share(scene.groups), 0.0)
        rolled = shifted(memory.answer.offsets_m[rows], step_s, elapsed_s, times)
        sigma = at_times(memory.answer.sigma_m[rows][..., None], step_s, times + elapsed_s)[..., 0]
        own, turn, here = np.ones(len(rows), np.bool_), scene.turn_radps, (tracks.boxes, tracks.velocity_mps)
        paths = blended_paths(*here, turn, here[1], own, rolled, share, len(times), self._config.step_s)
        spread = path_spread(sigma, share, *position_and_speed_variance(tracks), times)
        rollout = np.uint8(PredictionMethod.NETWORK_ROLLOUT)
        label = np.where(share >= 0.5, rollout, classical_method(turn)).astype(np.uint8)
        sure = np.ones((len(tracks), 1))
        return Forecasts(self._config.step_s, paths[:, None], sure, spread[:, None], scene.steps, label)
