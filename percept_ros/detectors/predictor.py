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
from percept_ros.core.path_compose import at_times, shifted
from percept_ros.core.path_features import GROUP_OF_CLASS, Reals
from percept_ros.core.path_gate import TOLD, SkillGate, familiarity, limits_of
from percept_ros.core.path_kernel import blended_paths
from percept_ros.core.path_promises import Promises
from percept_ros.core.path_score import foretold
from percept_ros.core.path_score import spread as path_spread
from percept_ros.core.prediction import (
    classical_method,
    horizon_steps,
    position_and_speed_variance,
    predict_classical,
    turn_rates,
)
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

    def find(self, keys: U64) -> I64:
        """(M,) rows of tracks with a state, -1 for others."""
        rows = self.rows.find(keys)
        return np.where(self.alive[rows], rows, -1)


@dataclass(frozen=True, slots=True)
class _Scene:
    """The tracks now: rows, groups, turn rates of their own motion, path points of each, and the times (T,) of all.

    usable: (N,) tracks whose position and velocity are numbers; the network sees the others as standing still.
    """

    tracks: Tracks
    rows: TrackRows
    groups: I64
    usable: Bool
    turn_radps: F64
    steps: I64
    times_s: F64


def _scene(tracks: Tracks, config: PredictionConfig) -> _Scene:
    usable: Bool = np.isfinite(tracks.boxes[:, :2].sum(axis=1) + tracks.velocity_mps.sum(axis=1))
    kinds, steps = tracks.class_ids, horizon_steps(tracks, config)
    times = config.step_s * np.arange(1.0, int(steps.max()) + 1)
    rows = TrackRows(keys_of(tracks.id))
    return _Scene(tracks, rows, GROUP_OF_CLASS[kinds], usable, turn_rates(tracks, config), steps, times)


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
        self._limits = limits_of({})
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
            self._limits = limits_of(self.model.output.familiar)

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
        scene = _scene(tracks, self._config)
        self._promises.judge(self._gate, tracks.stamp_ns, scene.rows, tracks.boxes[:, :2])
        answer = self._advance(self.model, scene)
        if answer is None:
            return self._roll_on(self.model, scene)
        return self._answer(self.model, answer, scene)

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

    def _advance(self, model: PathModel, scene: _Scene) -> PathAnswer | None:
        """The network's answer for now, or None when it fails, is late, or too little time has passed for a step."""
        memory, tracks, step_s = self._memory, scene.tracks, model.input.step_s
        count, position = len(tracks), tracks.boxes[:, :2]
        told = tracks.velocity_mps * step_s
        state, fresh, moved, steps = model.empty(count), np.ones(count, np.bool_), told, 1
        if memory is not None:
            elapsed = (tracks.stamp_ns - memory.stamp_ns) * 1e-9 / step_s
            steps = int(elapsed + EARLY)
            if steps == 0:
                return None
            state, fresh, way = _remembered(memory, scene.rows.keys, position)
            moved = np.where(fresh[:, None], told, way / elapsed)
        moved = np.where(scene.usable[:, None], moved, 0.0)
        try:
            answer = self._step(model, scene, state, fresh, moved, steps)
        except InferenceError as exc:
            self.faults[type(exc).__name__] += 1
            return None
        self._memory = _Memory(tracks.stamp_ns, tracks.frame_id, scene.rows, scene.usable, position.copy(), answer)
        return answer

    def _step(
        self, model: PathModel, scene: _Scene, state: PathState, fresh: Bool, moved: F64, steps: int
    ) -> PathAnswer:
        deadline_ns = time.monotonic_ns() + self._budget_ns
        velocity = np.where(scene.usable[:, None], scene.tracks.velocity_mps, 0.0)
        answer = model.step(moved, velocity, scene.groups, fresh, state, deadline_ns=deadline_ns)
        for _ in range(steps - 1):
            nobody = np.zeros_like(fresh)
            answer = model.step(moved, velocity, scene.groups, nobody, answer.state, deadline_ns=deadline_ns)
        return answer

    def _answer(self, model: PathModel, answer: PathAnswer, scene: _Scene) -> Forecasts:
        step_s, state, tracks = model.input.step_s, answer.state, scene.tracks
        learned = at_times(answer.offsets_m, step_s, scene.times_s)
        at = self._promises.points(self._config.step_s, len(scene.times_s))
        told = foretold(
            state.window,
            state.age,
            scene.groups,
            tracks.boxes,
            tracks.velocity_mps,
            scene.turn_radps,
            learned[:, at].astype(np.float32),
            scene.times_s[at],
            self._limits,
            step_s,
        )
        self._promises.add(tracks.stamp_ns, scene.times_s[at], scene.rows.keys, scene.groups, told.said_m)
        chosen = self._gate.straight(scene.groups)
        share = np.where(scene.usable, told.familiar * self._gate.share(scene.groups), 0.0)
        sigma = at_times(answer.sigma_m[..., None], step_s, scene.times_s)[..., 0]
        mean = told.straight_mps[chosen - 1, np.arange(len(chosen))]
        return self._blend(scene, learned, share, sigma, (mean, chosen == TOLD), PredictionMethod.NETWORK)

    def _roll_on(self, model: PathModel, scene: _Scene) -> Forecasts:
        """The last good paths, moved on to now, for the tracks that had one; the tracker's own motion for the others."""
        memory = self._memory
        elapsed_s = 0.0 if memory is None else (scene.tracks.stamp_ns - memory.stamp_ns) * 1e-9
        if memory is None or elapsed_s > LONGEST_ROLLOUT_S:
            return predict_classical(scene.tracks, self._config)
        rows, step_s = memory.find(scene.rows.keys), model.input.step_s
        state = memory.answer.state.take(rows)
        share = familiarity(state.windows, state.ages, scene.groups, model.output.familiar)
        share = np.where(rows >= 0, share * self._gate.share(scene.groups), 0.0)
        rolled = shifted(memory.answer.offsets_m[rows], step_s, elapsed_s, scene.times_s)
        sigma = at_times(memory.answer.sigma_m[rows][..., None], step_s, scene.times_s + elapsed_s)[..., 0]
        own = (scene.tracks.velocity_mps, np.ones(len(rows), np.bool_))
        return self._blend(scene, rolled, share, sigma, own, PredictionMethod.NETWORK_ROLLOUT)

    def _blend(
        self,
        scene: _Scene,
        learned: Reals,
        share: F64,
        sigma: Reals,
        straight: tuple[F64, Bool],
        method: PredictionMethod,
    ) -> Forecasts:
        """Learned paths by their share over straight ones; tracks with less than half a share keep the classical sigma.

        straight: velocities (N, 2), and where the tracker's own motion (N,) goes on in their place.
        """
        tracks, (mean_mps, own) = scene.tracks, straight
        paths = blended_paths(
            tracks.boxes,
            tracks.velocity_mps,
            scene.turn_radps,
            mean_mps,
            own,
            learned,
            share,
            len(scene.times_s),
            self._config.step_s,
        )
        mostly = share >= 0.5
        spread = path_spread(sigma, share, *position_and_speed_variance(tracks), scene.times_s)
        label = np.where(own, classical_method(scene.turn_radps), np.uint8(PredictionMethod.CONSTANT_VELOCITY))
        label = np.where(mostly, np.uint8(method), label).astype(np.uint8)
        sure = np.ones((len(tracks), 1))
        return Forecasts(self._config.step_s, paths[:, None], sure, spread[:, None], scene.steps, label)


def _remembered(memory: _Memory, keys: U64, position_m: F64) -> tuple[PathState, Bool, F64]:
    """State (N rows), which tracks are new, and the way since the last call (N, 2)."""
    rows = memory.find(keys)
    return memory.answer.state.take(rows), rows < 0, position_m - memory.position_m[rows]
