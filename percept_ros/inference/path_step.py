"""Engine for path networks: reads the weights of their ONNX file and takes the whole step in one compiled pass.

Much faster than a graph runner on tensors this small. It opens only files whose metadata say that their graph is this very
step (``METADATA``, written by ``percept train predictor``); any other engine of ONNX files gives the same answers.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import (
    ArtefactRefused,
    ConfigError,
    DeadlineExceeded,
    EngineClosed,
    EngineUnavailable,
    InferenceError,
    NonFiniteOutput,
    SetupError,
)
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.onnx_checks import parse_model, weights
from percept_ros.inference.options import EngineOptions
from percept_ros.inference.registry import Availability
from percept_ros.inference.tensors import all_finite, check_inputs, check_specs, warm_inputs
from percept_ros.native import bind, pointer
from percept_ros.settings import parse, setting

METADATA = "percept.pathstep"
"""Key of the ONNX metadata that hold ``PathStepFacts`` as JSON."""
INPUTS = ("group", "displacement", "velocity", "fresh", "window", "age", "hidden", "cell")
OUTPUTS = ("offsets", "linear", "sigma", "next_window", "next_age", "next_hidden", "next_cell")
GATES = 4
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PathStepFacts:
    """What the weights do not say of themselves."""

    version: int = setting(1, "of the step that the graph takes", low=1, high=1)
    members: int = setting(1, "LSTMs side by side", low=1, high=64)
    step_s: float = setting(0.1, "clock", low=0.001)
    small_m: float = setting(0.03, "length that accelerations are divided by", low=1e-6)
    reach_m: float = setting(2.0, "scale of the residual", low=1e-6)
    least_sigma_m: float = setting(0.02, "least sigma", low=0.0)


class PathStepEngine:
    """See ``InferenceEngine`` for life, threads and ownership. Deadline: a call is too short to cut off; a late answer is refused."""

    def __init__(self, file: Path, options: EngineOptions | None = None) -> None:
        self._file = file
        self._options = options or EngineOptions()
        self._network: _Network | None = None
        self._inputs: tuple[TensorSpec, ...] = ()
        self._outputs: tuple[TensorSpec, ...] = ()
        self._made: dict[str, F32] = {}

    @property
    def name(self) -> str:
        """Back end."""
        return "pathstep:CPU"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        return self._outputs

    def load(self) -> None:
        """Read the weights. Raises ArtefactRefused, or EngineUnavailable without compiled kernels."""
        self.close()
        if not (found := availability()).available:
            raise EngineUnavailable(found.reason)
        network = _read(self._file)
        sizes = network.tensors()
        self._inputs = tuple(TensorSpec(n, (-1, *sizes[n]), np.dtype(np.float32)) for n in INPUTS)
        self._outputs = tuple(TensorSpec(n, (-1, *sizes[n]), np.dtype(np.float32)) for n in OUTPUTS)
        check_specs("input", self._inputs, self._options.expect_inputs, self._file.name)
        check_specs("output", self._outputs, self._options.expect_outputs, self._file.name)
        self._network = network

    def warm_up(self) -> None:
        """Run on zeros of each profile's usual shape."""
        for inputs in warm_inputs(self._inputs, self._options.profiles):
            self._run(inputs, None)

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """Run once; see ``InferenceEngine.infer``."""
        if self._network is None:
            raise EngineClosed(f"{self.name} of '{self._file.name}' is not loaded")
        check_inputs(self._inputs, inputs)
        return self._run(inputs, deadline_ns)

    def close(self) -> None:
        """Free weights and outputs."""
        self._network = None
        self._made = {}

    def _run(self, inputs: Tensors, deadline_ns: int | None) -> dict[str, F32]:
        network = self._network
        assert network is not None
        if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
            raise DeadlineExceeded(f"deadline of {self.name} had passed before the call")
        given = [np.ascontiguousarray(inputs[name]) for name in INPUTS]
        made = self._outputs_of(len(given[0]))
        code = network.run(given, [made[name] for name in OUTPUTS])
        if code < 0:
            raise InferenceError(f"{self.name} refused the tensors of {len(given[0])} tracks ({code})")
        if code > 0 and self._options.check_finite:
            raise NonFiniteOutput(f"an output of {self.name} holds values not finite")
        if deadline_ns is not None and (late_ns := time.monotonic_ns() - deadline_ns) > 0:
            raise DeadlineExceeded(f"{self.name} ended {late_ns * 1e-6:.1f} ms late")
        return dict(made)

    def _outputs_of(self, count: int) -> dict[str, F32]:
        """The engine's own outputs of ``count`` tracks, used again while the number stays."""
        if not self._made or len(self._made["sigma"]) != count:
            self._made = {s.name: np.empty((count, *s.shape[1:]), np.float32) for s in self._outputs}
        return self._made


@dataclass(frozen=True, slots=True)
class _Network:
    """Weights in the order and layout of ``percept_path_step``, its sizes and scales."""

    weights: F32
    sizes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float64]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Tensor name -> shape without the first axis (tracks)."""
        members, hidden, _, width, _, groups, _, terms, horizon, _, _ = self.sizes.tolist()
        state = {"window": (2, width), "age": (1,), "hidden": (members * hidden,), "cell": (members * hidden,)}
        once = {"displacement": (2,), "velocity": (2,), "group": (groups,), "fresh": (1,)}
        said = {"offsets": (2, horizon), "linear": (2, terms), "sigma": (horizon,)}
        return {**once, **said, **state, **{f"next_{name}": size for name, size in state.items()}}

    def run(self, given: list[npt.NDArray[Any]], made: list[F32]) -> int:
        """The kernel's answer: 0, 1 = not finite, or < 0 = refused."""
        own = (pointer(self.weights), len(self.weights), pointer(self.sizes), pointer(self.scales))
        code: int = _kernel()(*own, len(given[0]), *map(pointer, given), *map(pointer, made))
        return code


def _read(file: Path) -> _Network:
    """The network of an ONNX file. Raises ArtefactRefused."""
    model = parse_model(file)
    facts = next((p.value for p in model.metadata_props if p.key == METADATA), None)
    if facts is None:
        raise ArtefactRefused(f"'{file}' does not say that it is a path step (metadata '{METADATA}')")
    try:
        told = parse(PathStepFacts, json.loads(facts), f"{METADATA}.")
        found = {name: np.asarray(array, np.float32) for name, array in weights(model) if array.dtype == np.float32}
        network = _packed(found, told)
    except (ValueError, TypeError, LookupError, ConfigError) as exc:
        raise ArtefactRefused(f"'{file}' is not the path step that its metadata tell of: {exc!r}") from exc
    if not all_finite(network.weights):
        raise ArtefactRefused(f"weights of '{file}' hold NaN or infinity: export the model again")
    if network.run(*_nothing(network)) < 0:
        raise ArtefactRefused(f"'{file}' has sizes that the compiled path step does not take: {network.sizes.tolist()}")
    return network


def _nothing(network: _Network) -> tuple[list[npt.NDArray[Any]], list[F32]]:
    """Tensors of no track."""
    sizes = network.tensors()
    empty = {name: np.empty((0, *size), np.float32) for name, size in sizes.items()}
    return [empty[n] for n in INPUTS], [empty[n] for n in OUTPUTS]


def _packed(found: Mapping[str, F32], facts: PathStepFacts) -> _Network:
    """Weights by name, as the trained graph calls them, in the kernel's layout."""
    members, looks = facts.members, found["features.looks"]
    every = len(found["ensemble.bias"]) // GATES
    hidden, features = every // members, len(found["ensemble.gates"]) - every
    heads, stages = len(found["ensemble.first_bias"]) // members, len(found["linear.edges"]) + 1
    gates = _own_columns(found["ensemble.gates"].reshape(-1, GATES, members, hidden), hidden)
    first = _own_columns(found["ensemble.first"].reshape(-1, 1, members, heads), hidden)
    parts = [
        _by_fours(looks),
        gates.transpose(0, 3, 1, 2),
        found["ensemble.bias"].reshape(GATES, members, hidden).transpose(1, 2, 0),
        first.reshape(members, hidden + features, heads // 4, 4).transpose(0, 2, 1, 3),
        found["ensemble.first_bias"],
        *(_by_fours(found[name]) for name in ("ensemble.last", "ensemble.last_bias")),
        *(found[name] for name in ("linear.terms", "linear.edges", "basis", "doubt_basis", "sigma_scale", "trust")),
    ]
    (terms, horizon), groups = found["basis"].shape, len(found["trust"])
    counts = (members, hidden, features, len(looks), looks.shape[1] - len(looks) + 1, groups, stages, terms, horizon)
    return _Network(
        np.concatenate([np.ascontiguousarray(p).ravel() for p in parts]),
        np.array([*counts, heads, len(found["doubt_basis"])], np.int64),
        np.array([facts.step_s, facts.small_m, facts.reach_m, facts.least_sigma_m]),
    )


def _by_fours(layer: F32) -> F32:
    """(ceil(C / 4), N, 4) columns of a layer (N, C), or (C,), four by four, filled up with 0."""
    rows = layer.reshape(-1, layer.shape[-1])
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    return padded.reshape(len(rows), -1, 4).transpose(1, 0, 2)


def _own_columns(layer: F32, hidden: int) -> F32:
    """(M, H + F, C, U) weights of each member from a layer (M H + F, C, M, U) of all, whose members do not see each other.

    Raises ValueError when they do.
    """
    members = layer.shape[2]
    own = [layer[m * hidden : (m + 1) * hidden, :, m] for m in range(members)]
    if np.count_nonzero(layer[: members * hidden]) > sum(np.count_nonzero(part) for part in own):
        raise ValueError("its LSTMs see each other's hidden values")
    seen = [layer[members * hidden :, :, m] for m in range(members)]
    return np.stack([np.concatenate(pair) for pair in zip(own, seen, strict=True)])


@cache
def _kernel() -> Callable[..., Any]:
    address, size = ctypes.c_void_p, ctypes.c_int64
    return bind("percept_path_step", [address, size, address, address, size, *[address] * 15])


def availability() -> Availability:
    """Whether the compiled kernels are there."""
    try:
        _kernel()
    except SetupError as exc:
        return Availability(False, str(exc))
    return Availability(True, "", "compiled path step")
