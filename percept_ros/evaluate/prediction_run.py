"""Runs predictors over cases: the path model step by step, constant velocity, turn rate, ridge filter, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.core.path_features import GROUPS, Reals
from percept_ros.core.path_gate import EXPERTS, NETWORK, TOLD, familiarity, straight_steps
from percept_ros.core.prediction import ctrv_paths
from percept_ros.detectors.path_model import PathAnswer, PathModel
from percept_ros.evaluate.prediction import ade, calibration, compare, distances, fde, moves, ratio
from percept_ros.evaluate.prediction_data import Cases
from percept_ros.evaluate.prediction_gate import early_steps, gate
from percept_ros.types import F64, Bool

BATCH = 4096
NAMES = {"car": "vehicle", "pedestrian": "pedestrian", "bicycle": "cyclist"}


@dataclass(frozen=True, slots=True)
class Predicted:
    """Errors (N, T) of each predictor on the same cases, by name. sigma_m: (N, T). share: (N,) of the network in "gated".

    Names: model, ridge, ctrv, gated, and ``cv*`` of constant velocities.
    """

    cases: Cases
    errors: Mapping[str, F64]
    sigma_m: F64
    share: F64


def predict(model: PathModel, chosen: Cases) -> Predicted:
    """All predictors on the cases, which may be of several sequences."""
    parts = [chosen.take(np.arange(i, min(i + BATCH, len(chosen)))) for i in range(0, len(chosen), BATCH)]
    found = [_paths(model, part) for part in parts]
    paths = {name: np.concatenate([f.offsets[name] for f in found]) for name in found[0].offsets}
    experts = np.concatenate([f.experts for f in found], axis=1)
    early = np.concatenate([f.early for f in found], axis=1)
    familiar = np.concatenate([f.familiar for f in found])
    truth = chosen.future_m - chosen.past_m[:, -1:]
    share, straight = gate(chosen, distances(experts, truth), early, model.output)
    share = share * familiar
    base = experts[straight, np.arange(len(chosen))]
    paths["gated"] = base + share[:, None, None] * (experts[NETWORK] - base)
    paths |= {name: experts[i] for i, name in enumerate(EXPERTS) if name.startswith("cv") and _fits(name, chosen)}
    if chosen.velocity_mps is not None:
        paths["cv_told"] = experts[TOLD]
    errors = {name: distances(path, truth) for name, path in paths.items()}
    return Predicted(chosen, errors, np.concatenate([f.sigma_m for f in found]), share)


def _fits(name: str, chosen: Cases) -> bool:
    """Whether the past is long enough for this constant velocity to differ from shorter ones."""
    span = int(name.removeprefix("cv"))
    fits: bool = span <= chosen.past_m.shape[1]
    return fits


@dataclass(frozen=True, slots=True)
class _Answers:
    """offsets: name -> (n, T, 2). experts: (E, n, T, 2). early: (E, n, K) errors of earlier answers. sigma_m: (n, T)."""

    offsets: dict[str, F64]
    experts: F64
    early: F64
    sigma_m: F64
    familiar: F64


def _paths(model: PathModel, part: Cases) -> _Answers:
    """Offsets of every predictor, and the errors of what they said of now some time ago."""
    moved = np.diff(part.past_m, axis=1)
    told = moved / part.step_s if part.velocity_mps is None else part.velocity_mps[:, 1:]
    state, count = model.empty(len(part)), part.future_m.shape[1]
    ahead = early_steps(count)
    early = np.zeros((len(EXPERTS), len(part), max(0, moved.shape[1] - ahead)))
    for step in range(moved.shape[1]):
        fresh = np.full(len(part), step == 0)
        answer = model.step(moved[:, step], told[:, step], part.groups, fresh, state)
        state = answer.state
        if step < early.shape[2]:
            said = experts_of(answer, told[:, step] * part.step_s, ahead)[:, :, -1]
            way = moved[:, step + 1 : step + 1 + ahead].sum(axis=1)
            early[..., step] = np.linalg.norm(said - way, axis=-1)
    experts = experts_of(answer, told[:, -1] * part.step_s, count)
    offsets = {
        "model": experts[NETWORK],
        "ridge": answer.linear_m[:, :count],
        "ctrv": _turning(moved, part.step_s, count),
    }
    familiar = familiarity(state.windows, state.ages, part.groups, model.output.familiar)
    return _Answers(offsets, experts, early, answer.sigma_m[:, :count].astype(np.float64), familiar)


def experts_of(answer: PathAnswer, told_m: F64, count: int) -> F64:
    """(E, n, T, 2) offsets of every expert. told_m: (n, 2) displacement a step by the tracker's velocity."""
    straight = (
        straight_steps(answer.state.windows, told_m, answer.state.ages)[:, :, None] * np.arange(1.0, count + 1)[:, None]
    )
    return np.concatenate([answer.offsets_m[None, :, :count].astype(np.float64), straight])


def _turning(moved: F64, step_s: float, count: int) -> F64:
    """CTRV offsets, the turn rate from the courses of the older and the newer half of the last displacements."""
    span = min(5, moved.shape[1] // 2)
    new, old = moved[:, -span:].mean(axis=1), moved[:, -2 * span : -span].mean(axis=1)
    turn = np.arctan2(old[:, 0] * new[:, 1] - old[:, 1] * new[:, 0], (old * new).sum(axis=1)) / (span * step_s)
    slow = np.hypot(new[:, 0], new[:, 1]) < 1.5 * step_s
    rate = np.where(slow, 0.0, np.clip(turn, -0.8, 0.8))
    times = step_s * np.arange(1.0, count + 1)
    paths: F64 = ctrv_paths(np.zeros((len(moved), 2)), new / step_s, np.zeros(len(moved)), rate, times)[..., :2]
    return paths


def merge(parts: list[Predicted]) -> Predicted:
    """All parts as one."""
    whole = [p.cases for p in parts]
    velocity = None if whole[0].velocity_mps is None else np.concatenate([c.velocity_mps for c in whole])
    together = Cases(
        whole[0].step_s,
        np.concatenate([c.past_m for c in whole]),
        np.concatenate([c.future_m for c in whole]),
        velocity,
        np.concatenate([c.groups for c in whole]),
        np.concatenate([c.at for c in whole]),
        np.concatenate([c.sequences for c in whole]),
    )
    errors = {name: np.concatenate([p.errors[name] for p in parts]) for name in parts[0].errors}
    joined = [np.concatenate([getattr(p, name) for p in parts]) for name in ("sigma_m", "share")]
    return Predicted(together, errors, *joined)


def best_straight(errors: Mapping[str, F64], rows: Bool) -> str:
    """The constant velocity with the least ADE on these cases: the strongest that anybody could have chosen."""
    names = [n for n in errors if n.startswith("cv")]
    return min(names, key=lambda n: ade(errors[n][rows]))


def summarise(parts: Mapping[str, Predicted]) -> dict[str, Any]:
    """Figures a class over all parts (folds or scenes), and how the gated predictor compares with constant velocity in each."""
    found: dict[str, Any] = {}
    whole = merge(list(parts.values()))
    moving = moves(whole.cases.past_m, whole.cases.future_m, whole.cases.step_s)
    for index, group in enumerate(GROUPS):
        rows = whole.cases.groups == index
        if not rows.any():
            continue
        straight = best_straight(whole.errors, rows)
        shown = {"model": "model", "cv": straight, "ctrv": "ctrv", "ridge": "ridge", "gated": "gated"}
        figures = compare({k: whole.errors[v][rows] for k, v in shown.items()}, moving[rows], whole.cases.step_s)
        figures |= calibration(whole.errors["model"][rows], whole.sigma_m[rows])
        figures |= {"cv_span": straight, "gated_share": float(whole.share[rows].mean())}
        figures |= _worst(parts, index, straight)
        found[NAMES[group]] = figures
    return found


def _worst(parts: Mapping[str, Predicted], group: int, straight: str) -> dict[str, Any]:
    """Gated over constant velocity in every part, ADE and FDE; and the largest of them."""
    ratios: dict[str, dict[str, Reals | float]] = {}
    for name, part in parts.items():
        rows = part.cases.groups == group
        if rows.any():
            gated, base = part.errors["gated"][rows], part.errors[straight][rows]
            ratios[name] = {
                "cases": int(rows.sum()),
                "ADE": ratio(ade(gated), ade(base)),
                "FDE": ratio(fde(gated), fde(base)),
                "model_ADE": ratio(ade(part.errors["model"][rows]), ade(base)),
            }
    worst = max(max(float(r["ADE"]), float(r["FDE"])) for r in ratios.values())
    return {"gated_to_cv": ratios, "gated_worst_ratio_to_cv": worst}


def scene_figures(parts: Mapping[str, Predicted]) -> dict[str, Any]:
    """Figures of each scene, and their mean over scenes as papers give it ("average")."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        model, last = part.errors["model"], part.errors["cv1"]
        figures = {"cases": len(model), "ADE": ade(model), "FDE": fde(model), "cv_ADE": ade(last), "cv_FDE": fde(last)}
        figures |= {"gated_ADE": ade(part.errors["gated"]), "gated_FDE": fde(part.errors["gated"])}
        figures |= {"ridge_ADE": ade(part.errors["ridge"]), "ridge_FDE": fde(part.errors["ridge"])}
        figures["gated_ratio_to_cv"] = max(figures[f"gated_{m}"] / figures[f"cv_{m}"] for m in ("ADE", "FDE"))
        found[name] = figures
    keys = ("ADE", "FDE", "cv_ADE", "cv_FDE", "gated_ADE", "gated_FDE", "ridge_ADE", "ridge_FDE")
    average = {key: float(np.mean([f[key] for f in found.values()])) for key in keys}
    worst = max(f["gated_ratio_to_cv"] for f in found.values())
    return {**found, "average": {**average, "gated_worst_ratio_to_cv": worst}}
