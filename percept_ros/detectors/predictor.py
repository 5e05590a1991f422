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
from percept_ros.core.path_compose import at_times, headings, shifted
from percept_ros.core.path_features import GROUP_OF_CLASS
from percept_ros.core.path_gate import NETWORK, TOLD, SkillGate, familiarity, straight_steps
from percept_ros.core.path_promises import Promises
from percept_ros.core.prediction import predict_classical
from percept_ros.core.track_rows import U64, TrackRows, keys_of
from percept_ros.detectors.path_model import PathAnswer, PathModel, PathState, copied
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
    """The tracks now: rows, groups, times (T,) of the path points, and what the classical predictor says of them.

    usable: (N,) tracks whose position and velocity are numbers; the network sees the others as standing still.
    offsets_m: (N, T, 2) classical offsets from here.
    """

    tracks: Tracks
    rows: TrackRows
    groups: I64
    usable: Bool
    times_s: F64
    classical: Forecasts
    offsets_m: F64


def _scene(tracks: Tracks, classical: Forecasts) -> _Scene:
    usable: Bool = np.isfinite(tracks.boxes[:, :2].sum(axis=1) + tracks.velocity_mps.sum(axis=1))
    times = classical.step_s * np.arange(1.0, classical.paths.shape[2] + 1)
    offsets = classical.paths[:, 0, :, :2] - tracks.boxes[:, None, :2]
    rows = TrackRows(keys_of(tracks.id))
    return _Scene(tracks, rows, GROUP_OF_CLASS[tracks.class_ids], usable, times, classical, offsets)


class PathPredictor:
    """Predicts all tracks in one call. Calls come from one thread.

    model: a path model, or the folder or name of one; empty = classical only. ``faults`` counts calls that failed, by error.
    Life: ``load`` -> ``predict``... -> ``close``; ``close`` may be called twice.
    """

    def __init__(
        self, config: PredictionConfig, model: PathModel | str | Path = "", *, budget_ms: float = 10.0
    ) -> None:
        self._config = config
        self._model = model if isinstance(model, PathModel) else PathModel(model) if str(model) else None
        self._budget_ns = int(budget_ms * 1e6)
        self._memory: _Memory | None = None
        self._promises = Promises(config.vehicle_horizon_s, round(0.3 * config.step_s * 1e9))
        self._gate = SkillGate()
        self.faults: Counter[str] = Counter()

    def load(self) -> None:
        """Open the model. Raises ModelError."""
        if self._model is not None:
            self._model.load()
            self._gate = SkillGate(self._model.output.skill, self._model.output.priors)

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
        classical = predict_classical(tracks, self._config)
        if self._model is None or not len(tracks):
            return classical
        self._forget_when_cut(self._model, tracks)
        scene = _scene(tracks, classical)
        self._promises.judge(self._gate, tracks.stamp_ns, scene.rows, tracks.boxes[:, :2])
        answer = self._advance(self._model, scene)
        if answer is None:
            return self._roll_on(self._model, scene)
        return self._answer(self._model, answer, scene)

    def close(self) -> None:
        """Free the engine."""
        if self._model is not None:
            self._model.close()
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
            state = copied(answer).state
            answer = model.step(moved, velocity, scene.groups, np.zeros_like(fresh), state, deadline_ns=deadline_ns)
        return copied(answer)

    def _answer(self, model: PathModel, answer: PathAnswer, scene: _Scene) -> Forecasts:
        step_s, window = model.input.step_s, answer.state.window
        learned = at_times(answer.offsets_m, step_s, scene.times_s)
        straight = straight_steps(window, scene.tracks.velocity_mps * step_s) / step_s
        self._promise(scene, learned, straight)
        base, served = self._straight(scene, straight)
        share = familiarity(window, answer.state.age[:, 0], scene.groups, model.output.familiar)
        share = np.where(scene.usable, share * self._gate.share(scene.groups), 0.0)
        offsets = base + share[:, None, None] * (learned - base)
        sigma = at_times(answer.sigma_m[..., None], step_s, scene.times_s)[..., 0]
        return _composed(scene, offsets, sigma, share, served, PredictionMethod.NETWORK)

    def _straight(self, scene: _Scene, straight_mps: F64) -> tuple[F64, Bool]:
        """Offsets (N, T, 2) of the straight expert that serves each track, and whether it is the tracker's own (N,)."""
        chosen = self._gate.straight(scene.groups)
        told: Bool = np.asarray(chosen == TOLD)
        mean = straight_mps[chosen - 1, np.arange(len(chosen))]
        return np.where(told[:, None, None], scene.offsets_m, mean[:, None] * scene.times_s[:, None]), told

    def _roll_on(self, model: PathModel, scene: _Scene) -> Forecasts:
        """The last good paths, moved on to now, for the tracks that had one."""
        memory = self._memory
        elapsed_s = 0.0 if memory is None else (scene.tracks.stamp_ns - memory.stamp_ns) * 1e-9
        if memory is None or elapsed_s > LONGEST_ROLLOUT_S:
            return scene.classical
        rows = memory.find(scene.rows.keys)
        state = memory.answer.state.take(rows)
        share = familiarity(state.window, state.age[:, 0], scene.groups, model.output.familiar)
        share = np.where(rows >= 0, share * self._gate.share(scene.groups), 0.0)
        rolled = shifted(memory.answer.offsets_m[rows], model.input.step_s, elapsed_s, scene.times_s)
        rolled = np.where((rows >= 0)[:, None, None], rolled, scene.offsets_m)
        offsets = scene.offsets_m + share[:, None, None] * (rolled - scene.offsets_m)
        later = scene.times_s + elapsed_s
        sigma = at_times(memory.answer.sigma_m[rows][..., None], model.input.step_s, later)[..., 0]
        own = np.ones(len(rows), np.bool_)
        return _composed(scene, offsets, sigma, share, own, PredictionMethod.NETWORK_ROLLOUT)

    def _promise(self, scene: _Scene, learned: F64, straight_mps: F64) -> None:
        """Note where every expert sees the tracks later."""
        at = self._promises.points(scene.classical.step_s, len(scene.times_s))
        here, times = scene.tracks.boxes[:, None, :2], scene.times_s[at]
        said = here + np.concatenate([learned[None, :, at], straight_mps[:, :, None] * times[:, None]])
        said[TOLD] = here + scene.offsets_m[:, at]
        assert NETWORK == 0
        self._promises.add(scene.tracks.stamp_ns, times, scene.rows.keys, scene.groups, said)


def _remembered(memory: _Memory, keys: U64, position_m: F64) -> tuple[PathState, Bool, F64]:
    """State (N rows), which tracks are new, and the way since the last call (N, 2)."""
    rows = memory.find(keys)
    return memory.answer.state.take(rows), rows < 0, position_m - memory.position_m[rows]


def _composed(scene: _Scene, offsets: F64, sigma: F64, share: F64, own: Bool, method: PredictionMethod) -> Forecasts:
    """Forecasts with the blended offsets; tracks with less than half a network share keep the classical sigma.

    own: (N,) whether the classical part is that of the tracker's own motion, else it is a straight line.
    """
    classical, tracks = scene.classical, scene.tracks
    paths = classical.paths.copy()
    paths[:, 0, :, :2] = tracks.boxes[:, None, :2] + offsets
    bent = (share > 0.0) | ~own
    paths[bent, 0, :, 2] = headings(offsets[bent], tracks.boxes[bent, 6])
    mostly = share >= 0.5
    sigma = np.where(mostly[:, None], np.maximum(sigma, 1e-3), classical.sigma_m[:, 0])
    plain = np.where(own, classical.method, np.uint8(PredictionMethod.CONSTANT_VELOCITY))
    label: U8 = np.where(mostly, np.uint8(method), plain).astype(np.uint8)
    return replace(classical, paths=paths, sigma_m=sigma[:, None], method=label)
