"""What every frame pays for in compiled passes over all tracks: who they are to the path network, and their paths from its answer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.config import PredictionConfig
from percept_ros.core.path_features import GROUP_OF_CLASS, GROUPS
from percept_ros.core.path_gate import EXPERTS, SPANS, Verdict
from percept_ros.core.path_kernel import LEAST_M
from percept_ros.core.path_score import LEAST_SIGMA_M
from percept_ros.core.prediction import steps_of_classes, turning_classes
from percept_ros.core.track_rows import TrackRows
from percept_ros.native import bind, pointer
from percept_ros.types import F32, F64, I64, NUM_CLASSES, U8, Bool, PredictionMethod, Tracks

Array = npt.NDArray[Any]
_SPANS = np.array(SPANS, np.int64)
_NAMES = np.array([PredictionMethod.NETWORK, PredictionMethod.CTRV, PredictionMethod.CONSTANT_VELOCITY], np.uint8)


@dataclass(frozen=True, slots=True)
class Known:
    """Tracks of the last call: rows, which have a state (N,), positions (N, 2); elapsed: steps of the clock since."""

    rows: TrackRows
    alive: Bool
    position_m: F64
    elapsed: float


@dataclass(frozen=True, slots=True)
class Scene:
    """The tracks now, and the network's tensors of them.

    rows, groups (N,), turn_radps (N,) of their own motion, steps (N,) path points. usable: (N,) position and velocity are
    numbers. row: (N,) row among the known, -1 = new; same: they are the known in the same order. kind: (N, G) one-hot,
    moved_m and told_mps: (N, 2), fresh: (N, 1), float32; a track that is not usable stands still.
    """

    rows: TrackRows
    groups: I64
    turn_radps: F64
    steps: I64
    usable: U8
    row: I64
    same: bool
    kind: F32
    moved_m: F32
    told_mps: F32
    fresh: F32


class SceneReader:
    """Reads tracks by one configuration. step_s: clock of the network."""

    def __init__(self, config: PredictionConfig) -> None:
        self._turn = (config.turn_speed_mps, config.max_yaw_rate_radps)
        self._tables: tuple[Array, ...] = (GROUP_OF_CLASS, steps_of_classes(config), turning_classes().astype(np.uint8))

    def read(self, tracks: Tracks, step_s: float, known: Known | None) -> Scene:
        """The scene of one or more tracks."""
        count = len(tracks)
        if tracks.class_probabilities.shape != (count, NUM_CLASSES) or tracks.id.shape != (count, 16):
            raise ValueError(
                f"{count} tracks with classes {tracks.class_probabilities.shape} and ids {tracks.id.shape}"
            )
        keys, order = (np.empty((2, count), np.uint64), np.empty(count, np.int64))
        groups, steps, row = np.empty((3, count), np.int64)
        turn, usable = np.empty(count), np.empty(count, np.uint8)
        kind, fresh = np.empty((count, len(GROUPS)), np.float32), np.empty((count, 1), np.float32)
        moved, told = np.empty((2, count, 2), np.float32)
        given: list[Array] = [
            np.ascontiguousarray(tracks.id, np.uint8),
            *_reals(tracks.class_probabilities, tracks.boxes),
        ]
        given += _reals(tracks.velocity_mps, tracks.yaw_rate_radps)
        made: list[Array] = [keys[0], keys[1], order, groups, steps, turn, usable, row, kind, moved, told, fresh]
        code = _scene()(
            *map(pointer, given),
            *map(pointer, self._tables),
            *((0, 0, 0, 0) if known is None else map(pointer, _known(known))),
            *(count, NUM_CLASSES, len(GROUPS), 0 if known is None else len(known.alive)),
            *(1.0 if known is None else known.elapsed, step_s, *self._turn),
            *map(pointer, made),
        )
        if code < 0:
            raise ValueError(f"the scene of {count} tracks was refused ({code})")
        rows = TrackRows.of(keys[0], keys[1], order)
        return Scene(rows, groups, turn, steps, usable, row, code == 1, kind, moved, told, fresh)


@dataclass(frozen=True, slots=True)
class Answered:
    """paths_m: (N, T, 3). sigma_m: (N, T). method: (N,). said_m: (M, E, N, 2) positions at the judged points, by every expert.

    familiar: (N,) share in [0, 1], see ``core.path_gate.familiarity``.
    """

    paths_m: F64
    sigma_m: F64
    method: U8
    said_m: F64
    familiar: F64


class AnswerReader:
    """Makes paths of the network's answers. limits: (3, G) of ``limits_of``; step_s: clock of the network."""

    def __init__(self, limits: F64, step_s: float) -> None:
        self._limits, self._step_s = np.ascontiguousarray(limits, np.float64), step_s

    def read(
        self,
        window: F32,
        age: F32,
        scene: Scene,
        tracks: Tracks,
        learned_m: F32,
        sigma_m: F32,
        marks: I64,
        times_s: F64,
        verdict: Verdict,
    ) -> Answered:
        """Paths over times_s (T,), evenly spaced, of which the points ``marks`` (M,) are judged later.

        window: (N, 2, W) and age: (N, 1) of the network's state. learned_m: (N, 2, >= T) its offsets. sigma_m: (N, >= T).
        """
        count, steps, judged = len(tracks), len(times_s), len(marks)
        stride = learned_m.shape[2]
        if learned_m.shape != (count, 2, stride) or sigma_m.shape != (count, stride) or window.shape[:2] != (count, 2):
            raise ValueError(f"{count} tracks, but learned {learned_m.shape}, sigma {sigma_m.shape}, {window.shape}")
        given: list[Array] = [np.ascontiguousarray(a, np.float32) for a in (window, age)]
        given += [scene.groups, *_reals(tracks.boxes, tracks.velocity_mps), scene.turn_radps, scene.usable]
        given += [np.ascontiguousarray(a, np.float32) for a in (learned_m, sigma_m)]
        given += [np.ascontiguousarray(marks, np.int64), *_reals(times_s), _SPANS, self._limits]
        given += [verdict.straight, verdict.share, *_reals(tracks.pose_covariance, tracks.twist_covariance), _NAMES]
        found = Answered(
            np.empty((count, steps, 3)),
            np.empty((count, steps)),
            np.empty(count, np.uint8),
            np.empty((judged, len(EXPERTS), count, 2)),
            np.empty(count),
        )
        made: list[Array] = [found.said_m, found.paths_m, found.sigma_m, found.familiar, found.method]
        sizes = (count, window.shape[2], judged, steps, stride, len(SPANS), self._limits.shape[1])
        code = _answer()(
            *map(pointer, given),
            *sizes,
            *(self._step_s, float(times_s[0]), LEAST_M, LEAST_SIGMA_M),
            *map(pointer, made),
        )
        if code < 0:
            raise ValueError(f"paths of {count} tracks over {steps} steps were refused ({code})")
        return found


def _reals(*arrays: Array) -> list[F64]:
    return [np.ascontiguousarray(a, np.float64) for a in arrays]


def _known(known: Known) -> tuple[Array, ...]:
    rows = known.rows
    return rows.sorted, rows.order, np.ascontiguousarray(known.alive, np.uint8), *_reals(known.position_m)


@cache
def _scene() -> Callable[..., Any]:
    address, size, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    return bind("percept_path_scene", [*[address] * 12, *[size] * 4, *[real] * 4, *[address] * 12])


@cache
def _answer() -> Callable[..., Any]:
    address, size, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    return bind("percept_path_answer", [*[address] * 18, *[size] * 7, *[real] * 4, *[address] * 5])
