"""A path network in an engine: displacements and state in, offsets, sigma and the next state out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.core.path_features import GROUPS, one_hot, path_powers
from percept_ros.core.path_gate import Familiar, Prior, SkillSettings
from percept_ros.errors import EngineClosed, ManifestError
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.manifest import Manifest, find_model, load_manifest
from percept_ros.inference.model import open_model
from percept_ros.settings import setting
from percept_ros.types import F32, F64, I64, Bool

Opener = Callable[[Path], tuple[Manifest, InferenceEngine]]
PREPROCESS, POSTPROCESS = "track_displacements", "path_offsets"


@dataclass(frozen=True, slots=True)
class PathInput:
    """Parameters of ``track_displacements``."""

    step_s: float = setting(0.1, "clock of the model", low=0.01, high=10.0)


@dataclass(frozen=True, slots=True)
class PathOutput:
    """Parameters of ``path_offsets``."""

    familiar: Mapping[str, Familiar] = setting({}, "group -> ranges of the training data")
    priors: Mapping[str, Prior] = setting({}, "group -> what to think of each expert before it is judged")
    skill: SkillSettings = setting(SkillSettings(), "how the skill gate judges")


@dataclass(frozen=True, slots=True)
class PathState:
    """What the network remembers of N tracks: window (N, 2, W) m a step, age (N, 1), hidden and cell (N, H); float32."""

    window: F32
    age: F32
    hidden: F32
    cell: F32

    @property
    def windows(self) -> F32:
        """(N, W, 2) view of the window."""
        return np.swapaxes(self.window, 1, 2)

    @property
    def ages(self) -> F32:
        """(N,) displacements seen."""
        return self.age[:, 0]

    def take(self, rows: I64 | Bool) -> PathState:
        """The chosen rows: a copy, or this very state when all are chosen in order."""
        if len(rows) == len(self.age) and rows.dtype != np.bool_ and np.array_equal(rows, np.arange(len(rows))):
            return self
        return PathState(self.window[rows], self.age[rows], self.hidden[rows], self.cell[rows])


@dataclass(frozen=True, slots=True)
class PathAnswer:
    """ways_m: (N, 2, T) offsets from the present position. linear: (N, 2, P), polynomial of time of the ridge filter alone.

    sigma_m: (N, T) one sigma an axis. state: to pass in next time.
    """

    ways_m: F32
    linear: F32
    sigma_m: F32
    state: PathState

    @property
    def offsets_m(self) -> F32:
        """(N, T, 2) view of the offsets."""
        return np.swapaxes(self.ways_m, 1, 2)

    @property
    def linear_m(self) -> F64:
        """(N, T, 2) offsets of the ridge filter alone."""
        powers = path_powers(self.ways_m.shape[2], self.linear.shape[2])
        return np.asarray(np.swapaxes(self.linear @ powers, 1, 2), np.float64)


class PathModel:
    """One opened path network. Calls come from one thread. opener: opens the artefact of a model folder."""

    def __init__(self, folder: Path | str, opener: Opener = open_model) -> None:
        self._folder, self._opener = folder, opener
        self.engine: InferenceEngine | None = None
        self.manifest = Manifest()
        self.input, self.output = PathInput(), PathOutput()
        self.steps = self._width = self._hidden = 0

    def load(self) -> None:
        """Check the manifest, open the best artefact and warm it. Raises ModelError."""
        self.close()
        folder = find_model(self._folder)
        manifest = load_manifest(folder)
        kinds = (manifest.preprocess.kind, manifest.postprocess.kind)
        if manifest.kind != "predictor" or kinds != (PREPROCESS, POSTPROCESS) or manifest.classes != GROUPS:
            raise ManifestError(
                f"model '{manifest.name}' ({manifest.kind}, {kinds}) is no path model: expected a predictor with"
                f" {PREPROCESS}, {POSTPROCESS} and the classes {', '.join(GROUPS)}"
            )
        shapes = {t.name: t.shape for t in (*manifest.inputs, *manifest.outputs)}
        self._width, self._hidden = shapes["window"][2], shapes["hidden"][1]
        self.steps = shapes["offsets"][2]
        self.input, self.output = manifest.preprocess.read(PathInput), manifest.postprocess.read(PathOutput)
        self.manifest, self.engine = self._opener(folder)
        self.engine.warm_up()

    def empty(self, count: int) -> PathState:
        """State of ``count`` tracks that were not seen yet (say so with ``fresh``)."""
        shapes = ((count, 2, self._width), (count, 1), (count, self._hidden), (count, self._hidden))
        return PathState(*(np.zeros(s, np.float32) for s in shapes))

    def step(
        self,
        displacement_m: F64,
        velocity_mps: F64,
        groups: I64,
        fresh: Bool,
        state: PathState,
        *,
        deadline_ns: int | None = None,
    ) -> PathAnswer:
        """Advance all tracks by one step in one call. Raises InferenceError.

        displacement_m: (N, 2) way since the last step. velocity_mps: (N, 2) as the tracker tells it (or displacement over
        step). groups: (N,) index into ``GROUPS``. fresh: (N,) tracks whose state is not to be read.
        """
        kind, born = one_hot(groups).astype(np.float32), fresh.astype(np.float32)[:, None]
        moved, told = displacement_m.astype(np.float32), velocity_mps.astype(np.float32)
        return self.advance(moved, told, kind, born, state, deadline_ns=deadline_ns)

    def advance(
        self,
        displacement_m: F32,
        velocity_mps: F32,
        kind: F32,
        fresh: F32,
        state: PathState,
        *,
        deadline_ns: int | None = None,
    ) -> PathAnswer:
        """As ``step``, from the network's own tensors. kind: (N, G) one-hot groups. fresh: (N, 1), 1 = not seen before."""
        if self.engine is None:
            raise EngineClosed(f"path model '{self._folder}' is used before load or after close")
        given = {"displacement": displacement_m, "velocity": velocity_mps, "group": kind, "fresh": fresh}
        remembered = {"window": state.window, "age": state.age, "hidden": state.hidden, "cell": state.cell}
        out = self.engine.infer({**given, **remembered}, deadline_ns=deadline_ns)
        own = {name: array.copy() for name, array in out.items()}  # the engine writes over its outputs in its next call
        after = PathState(*(own[f"next_{name}"] for name in ("window", "age", "hidden", "cell")))
        return PathAnswer(own["offsets"], own["linear"], own["sigma"], after)

    def close(self) -> None:
        """Free the engine. May be called twice."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
