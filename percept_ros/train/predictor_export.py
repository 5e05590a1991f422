"""From a trained path network to a model folder: ONNX, manifest with the ranges of the training data, card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percept_ros.core.path_features import GROUPS, jitter, mean_velocity, straight, windows_of
from percept_ros.core.path_gate import EXPERTS, Familiar, Prior, straight_steps
from percept_ros.detectors.path_model import POSTPROCESS, PREPROCESS, PathInput, PathOutput
from percept_ros.evaluate.prediction_data import Cases, Trajectory, cases
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, sha256_of, write_manifest
from percept_ros.inference.options import ShapeRange
from percept_ros.inference.path_step import METADATA, PathStepFacts
from percept_ros.settings import to_dict
from percept_ros.train.predictor_data import linear_answers
from percept_ros.train.predictor_filters import STAGES
from percept_ros.train.predictor_network import LEAST_SIGMA_M, TERMS, PathShape, StepGraph
from percept_ros.types import F32, F64

OPSET = 17
MOST_TRACKS = 1024
FORMATS = ("pathstep", "onnx")
"""Engines that open the same file, best first."""
STATE = ("window", "age", "hidden", "cell")
INPUTS = ("displacement", "velocity", "group", "fresh", *STATE)
OUTPUTS = ("offsets", "linear", "sigma", *(f"next_{name}" for name in STATE))
FEW = 60
FEW_SEQUENCES = 3
SURE, UNSURE = 1e9, 5.0
"""Weights of priors that the training sequences agree on, and of others."""
MOST_REGRET = 0.1
CARD = """# {name}

An LSTM with explicit state that predicts where tracked objects go: a ridge filter over the last {width} displacements plus
the residual of {members} small LSTMs, a polynomial of degree 4 along and across the motion. One step is {step_s} s, the path
{horizon} steps long.

- Trained on: {data}
- Licence of the weights: {licence}
- Recipe: `{command}`
- Held-out sequences while training, error over that of the ridge filter: {held_out}.
- Inputs and outputs: one displacement a call and the state in; offsets from the present position, sigma a step, and the
  next state out. `fresh` = 1 starts a track anew.
- Limits: no map, no neighbours. Outside the noise and the speeds of the training data (`postprocess.params.familiar`) the
  caller goes back to constant velocity.
"""


def export(
    graph: StepGraph, filters: F64, trajectories: Sequence[Trajectory], folder: Path, name: str, facts: dict[str, Any]
) -> Path:
    """Write model.onnx, model.yaml and CARD.md. filters: (G, A, W + 1, T) that the graph holds. facts: data, licence, command, ratios (held-out metrics by name)."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, file = graph.shape, folder / "model.onnx"
    sizes = tensor_sizes(shape)
    example = tuple(torch.zeros(2, *sizes[n]) for n in INPUTS)
    dynamic = {n: {0: "tracks"} for n in (*INPUTS, *OUTPUTS)}
    torch.onnx.export(
        graph,
        example,
        str(file),
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_axes=dynamic,
        dynamo=False,
    )
    say_facts(file, shape)
    seen = cases(trajectories, shape.step_s, shape.width + 1, judged_steps(shape), stride=2)
    manifest = Manifest(
        name=name,
        kind="predictor",
        classes=GROUPS,
        inputs=tuple(Tensor(n, (-1, *sizes[n])) for n in INPUTS),
        outputs=tuple(Tensor(n, (-1, *sizes[n])) for n in OUTPUTS),
        preprocess=Step(PREPROCESS, to_dict(PathInput(shape.step_s))),
        postprocess=Step(
            POSTPROCESS,
            to_dict(
                PathOutput(
                    familiar_ranges(seen, shape.width),
                    expert_priors(filters.astype(np.float32), seen, facts["ratios"]),
                    facts["skill"],
                )
            ),
        ),
        artefacts=tuple(Artefact(file=file.name, format=f, sha256=sha256_of(file)) for f in FORMATS),
        profiles=({n: _range(sizes[n]) for n in INPUTS},),
        licence=str(facts["licence"]),
        card="CARD.md",
    )
    told = {"name": name, "held_out": held_out_text(facts["ratios"]), **asdict(shape), **facts}
    (folder / "CARD.md").write_text(CARD.format(**told), encoding="utf-8")
    return write_manifest(manifest, folder)


def say_facts(file: Path, shape: PathShape) -> None:
    """Write into the ONNX file what the compiled path step has to know beside its weights."""
    import onnx

    model = onnx.load(str(file))
    facts = PathStepFacts(1, shape.members, shape.step_s, shape.small_m, shape.reach_m, LEAST_SIGMA_M)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(asdict(facts))})
    onnx.save(model, str(file))


def held_out_text(ratios: Mapping[str, float]) -> str:
    """The held-out ratios of every group, for the card."""
    found = {n: ratios[key] for n in GROUPS if (key := f"{n}.ratio_to_ridge") in ratios}
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items()) or "not measured"


def tensor_sizes(shape: PathShape) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape without the first axis (tracks)."""
    state = {"window": (2, shape.width), "age": (1,)}
    state |= dict.fromkeys(("hidden", "cell"), (shape.members * shape.hidden,))
    return {
        "displacement": (2,),
        "velocity": (2,),
        "group": (len(GROUPS),),
        "fresh": (1,),
        "offsets": (2, shape.horizon),
        "linear": (2, TERMS),
        "sigma": (shape.horizon,),
        **state,
        **{f"next_{n}": s for n, s in state.items()},
    }


def _range(size: tuple[int, ...]) -> ShapeRange:
    return ShapeRange((1, *size), (32, *size), (MOST_TRACKS, *size))


def judged_steps(shape: PathShape) -> int:
    """Path points over which experts are compared: 3 s, or the whole path of a slower clock."""
    return min(shape.horizon, max(12, round(3.0 / shape.step_s)))


def expert_priors(filters: F32, seen: Cases, ratios: Mapping[str, float]) -> dict[str, Prior]:
    """Group -> error of each expert over the best straight one's on the training data.

    The network's is that of the ridge filters times its held-out ratio to them (``<group>.ratio_to_ridge``); where the group
    has few trajectories it is not trusted before it proves itself.
    """
    steps = seen.future_m.shape[1]
    moved, truth = np.diff(seen.past_m, axis=1), seen.future_m - seen.past_m[:, -1:]
    told = moved[:, -1] if seen.velocity_mps is None else seen.velocity_mps[:, -1] * seen.step_s
    windows = np.concatenate([moved, told[:, None]], axis=1).astype(np.float32)
    linear = linear_answers(windows, seen.groups, np.full(len(seen), STAGES - 1), filters)[:, :steps]
    found = {}
    for index, name in enumerate(GROUPS):
        rows = seen.groups == index
        if rows.sum() < FEW:
            continue
        each = [
            straight(s, steps)
            for s in straight_steps(moved[rows], told[rows], np.full(int(rows.sum()), moved.shape[1]))
        ]
        errors = np.array([_error(path, truth[rows]) for path in each])
        network = _error(linear[rows], truth[rows]) * ratios.get(f"{name}.ratio_to_ridge", 1.0)
        if len(np.unique(seen.sequences[rows])) < FEW_SEQUENCES:
            network = max(network, 1.05 * errors.min())
        per_case = np.stack([_distance(path, truth[rows]) for path in each])
        weight = SURE if regret(per_case, seen.sequences[rows]) < MOST_REGRET else UNSURE
        over = {n: round(float(e / errors.min()), 4) for n, e in zip(EXPERTS, (network, *errors), strict=True)}
        found[name] = Prior(**over, weight=weight)
    return found


def regret(errors: F64, sequences: np.ndarray[tuple[int], np.dtype[np.str_]]) -> float:
    """How much worse the straight expert that is best on the other sequences does than each sequence's own best.

    errors: (E, N) of each expert on each case. Mean over cases; infinite with a single sequence.
    """
    names, lost = np.unique(sequences), 0.0
    if len(names) < 2:
        return float("inf")
    for name in names:
        mine = sequences == name
        own, others = errors[:, mine].sum(axis=1), errors[:, ~mine].sum(axis=1)
        lost += float(own[others.argmin()] / own.min() - 1.0) * mine.sum()
    return lost / len(sequences)


def _distance(paths: F64, truth: F64) -> F64:
    """(N,) mean distance over each path."""
    off = paths - truth
    return np.asarray(np.hypot(off[..., 0], off[..., 1]).mean(axis=1))


def _error(paths: F64, truth: F64) -> float:
    return float(_distance(paths, truth).mean())


def familiar_ranges(seen: Cases, width: int) -> dict[str, Familiar]:
    """Group -> ranges of noise and speed in the training data; groups with few examples are left out."""
    found = {}
    windows = windows_of(np.diff(seen.past_m, axis=1), width)[:, -1]
    noise = jitter(windows)
    mean = mean_velocity(windows, 5)
    step_m = np.hypot(mean[:, 0], mean[:, 1])
    for index, name in enumerate(GROUPS):
        rows = seen.groups == index
        if rows.sum() >= 300:
            low, high = np.percentile(noise[rows], [1.0, 99.0])
            found[name] = Familiar(float(low), float(high), float(np.percentile(step_m[rows], 99.9)))
    return found
