"""Runs predictors over cases: the path model step by step, constant velocity, turn rate, ridge filter, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.core.path_features import GROUPS, Reals
from percept_ros.core.path_gate import SkillGate, SkillSettings, familiarity
from percept_ros.core.prediction import ctrv_paths
from percept_ros.detectors.path_model import PathModel
from percept_ros.evaluate.prediction import ade, calibration, compare, distances, fde, moves, ratio
from percept_ros.evaluate.prediction_data import Cases
from percept_ros.types import F64, Bool

BATCH = 4096
NAMES = {"car": "vehicle", "pedestrian": "pedestrian", "bicycle": "cyclist"}
SPANS = (1, 2, 3, 5, 7, 10, 15, 20)
"""Newest displacements that constant velocity may average; the best of them on the very cases is "cv"."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Errors (N, T) of each predictor on the same cases, by name. sigma_m: (N, T). share: (N,) of the model in "gated".

    base: (N,) name of the model that answered.
    """

    cases: Cases
    errors: Mapping[str, F64]
    sigma_m: F64
    share: F64


def predict(model: PathModel, chosen: Cases) -> Predicted:
    """All predictors on the cases, which may be of several sequences."""
    parts = [chosen.take(np.arange(i, min(i + BATCH, len(chosen)))) for i in range(0, len(chosen), BATCH)]
    paths: dict[str, list[F64]] = {}
    for part in parts:
        for name, value in _paths(model, part).items():
            paths.setdefault(name, []).append(value)
    joined = {name: np.concatenate(values) for name, values in paths.items()}
    sigma, familiar = joined.pop("sigma"), joined.pop("familiar")
    truth = chosen.future_m - chosen.past_m[:, -1:]
    errors = {name: distances(path, truth) for name, path in joined.items()}
    share = familiar * skill_shares(chosen, errors["model"], errors["classical"], model.output.skill)
    gated = joined["classical"] + share[:, None, None] * (joined["model"] - joined["classical"])
    errors["gated"] = distances(gated, truth)
    return Predicted(chosen, errors, sigma, share)


def _paths(model: PathModel, part: Cases) -> dict[str, F64]:
    """Offsets (n, T, 2) of every predictor; also sigma (n, T) and familiarity (n,)."""
    moved = np.diff(part.past_m, axis=1)
    told = moved / part.step_s if part.velocity_mps is None else part.velocity_mps[:, 1:]
    state, count = model.empty(len(part)), part.future_m.shape[1]
    for step in range(moved.shape[1]):
        fresh = np.full(len(part), step == 0)
        answer = model.step(moved[:, step], told[:, step], part.groups, fresh, state)
        state = answer.state
    ahead = np.arange(1.0, count + 1)[:, None]
    found = {
        "model": answer.offsets_m[:, :count].astype(np.float64),
        "ridge": answer.linear_m[:, :count].astype(np.float64),
        "classical": model.straight_displacement(state.window, part.groups)[:, None] * ahead,
        "sigma": answer.sigma_m[:, :count].astype(np.float64),
        "familiar": familiarity(state.window, part.groups, model.output.familiar),
        "ctrv": _turning(moved, part.step_s, count),
    }
    for span in (s for s in SPANS if s <= moved.shape[1]):
        found[f"cv{span}"] = moved[:, -span:].mean(axis=1)[:, None] * ahead
    if part.velocity_mps is not None:
        found["cv_told"] = told[:, -1][:, None] * part.step_s * ahead
    return found


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


def skill_shares(chosen: Cases, learned: F64, classical: F64, settings: SkillSettings) -> F64:
    """(N,) share that the skill gate gives each case, judging only paths that ended by its time, a sequence at a time."""
    share, steps = np.ones(len(chosen)), chosen.future_m.shape[1]
    means = learned.mean(axis=1), classical.mean(axis=1)
    for name in np.unique(chosen.sequences):
        rows = np.flatnonzero(chosen.sequences == name)
        gate, at = SkillGate(settings), chosen.at[rows]
        judged = 0
        rows = rows[np.argsort(at, kind="stable")]
        at = chosen.at[rows]
        for now in np.unique(at):
            ended = int(np.searchsorted(at, now - steps, side="right"))
            done = rows[judged:ended]
            gate.judge(chosen.groups[done], means[0][done], means[1][done])
            judged = max(judged, ended)
            mine = rows[at == now]
            share[mine] = gate.share(chosen.groups[mine])
    return share


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
