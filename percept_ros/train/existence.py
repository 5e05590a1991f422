"""Trains the existence model of the tracker on labelled tracking sequences (numpy and scipy only).

Recipe: run the tracker so that every detection starts a track and nothing is dropped early; label each live track in each
frame by whether it is matched to ground truth at 3D IoU 0.25; fit a small network per class, with and without camera, to
the causal evidence; run again with that model (existence feeds back into association and occlusion) and fit anew.
Sequences held out take no part in anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from percept_ros.core.existence import FEATURES, ExistenceModel, Layer
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.evaluate.kitti_tracking import Evidence, Sequence3D, SequenceRun
from percept_ros.evaluate.reliability import judge
from percept_ros.types import F64, Bool

SMALL_WEIGHT = 0.2
"""Weight of rows too small for the benchmark to count when they are wrong."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one class is fitted.

    features: names used. hidden: tanh units of each member (0: logistic regression). members: networks from different
    starts whose logits are averaged (kept as one wide network). decay: of weights. ignored_weight: of true objects that
    the benchmark does not count. easy_share: share of rows kept that a logistic regression is already sure of.
    """

    features: tuple[str, ...]
    hidden: int = 0
    members: int = 1
    decay: float = 1e-3
    ignored_weight: float = 0.3
    easy_share: float = 0.05


CAMERA_FEATURES = tuple(f for f in FEATURES if f.startswith("camera"))


@dataclass(frozen=True, slots=True)
class Samples:
    """features (N, F); labels (N,) 1 true object; weights (N,)."""

    features: F64
    labels: F64
    weights: F64

    @staticmethod
    def join(parts: Sequence[Samples]) -> Samples:
        """All rows of several."""
        return Samples(
            np.concatenate([p.features for p in parts]),
            np.concatenate([p.labels for p in parts]),
            np.concatenate([p.weights for p in parts]),
        )


def patient(parameters: TrackerParameters) -> TrackerParameters:
    """The same tracker, keeping every track to its time limit, so that the model sees what it must judge."""
    loose = {"forget": 0.0, "confirm": 0.0, "publish": 0.0, "publish_coast": 0.0, "min_hits": 0.0, "duplicate_iou": 2.0}
    return replace(parameters, classes=tuple(replace(c, **loose) for c in parameters.classes))


def collect(sequence: Sequence3D, parameters: TrackerParameters, model: ExistenceModel | None) -> Evidence:
    """Evidence of all live tracks of a sequence under ``patient`` parameters."""
    return SequenceRun(sequence, patient(parameters), model, 0).evidence()


def label_evidence(evidence: Evidence, sequence: Sequence3D, label: str, ignored_weight: float) -> Samples:
    """Labelled rows of one class. Rows that the benchmark would not count get weight 0 (or ``ignored_weight`` when true)."""
    judged = judge(evidence, sequence, label)
    weights = judged.in_view.astype(np.float64)
    weights[judged.small] *= SMALL_WEIGHT
    weights[judged.excused] = 0.0
    worth = np.where(judged.other_kind, 0.0, np.where(judged.counted_truth, 1.0, ignored_weight))
    weights[judged.truth] = worth[judged.truth]
    return Samples(evidence.features[judged.rows], judged.truth.astype(np.float64), weights)


def fit(samples: Samples, recipe: Recipe, seed: int = 0) -> Layer:
    """Weighted cross-entropy with weight decay, by L-BFGS."""
    used = np.array([f in recipe.features for f in FEATURES])
    w = samples.weights / samples.weights.sum()
    mean = np.average(samples.features, axis=0, weights=w)
    scale = np.sqrt(np.average((samples.features - mean) ** 2, axis=0, weights=w)) + 1e-6
    keep = samples.weights > 0
    z = ((samples.features - mean) / scale)[keep][:, used]
    y, w = samples.labels[keep], w[keep]
    hidden, output = _fit_network(z, y, w, recipe, 0, seed)
    if recipe.hidden:
        hard, w_hard = _harder(z @ output[:-1] + output[-1], w, recipe.easy_share, seed)
        fits = [_fit_network(z[hard], y[hard], w_hard, recipe, recipe.hidden, seed + k) for k in range(recipe.members)]
        hidden = np.concatenate([h for h, _ in fits])
        output = np.concatenate([*(o[:-1] for _, o in fits), [sum(o[-1] for _, o in fits)]]) / recipe.members
    wide = np.zeros((len(hidden), len(FEATURES) + 1))
    if recipe.hidden:
        wide[:, :-1][:, used] = hidden[:, :-1]
        wide[:, -1] = hidden[:, -1]
        return Layer(mean, scale, wide, output)
    line = np.zeros(len(FEATURES) + 1)
    line[:-1][used] = output[:-1]
    line[-1] = output[-1]
    return Layer(mean, scale, wide, line)


def _harder(logits: F64, w: F64, easy_share: float, seed: int) -> tuple[Bool, F64]:
    """Keep rows that the logistic regression is not sure of, and a share of the others at larger weight."""
    hard = np.abs(logits) < 4.5
    keep: Bool = hard | (np.random.default_rng(seed).random(len(w)) < easy_share)
    raised = np.where(hard, w, w / easy_share)[keep]
    return keep, raised / raised.sum()


def _fit_network(z: F64, y: F64, w: F64, recipe: Recipe, hidden: int, seed: int) -> tuple[F64, F64]:
    h, f = hidden, z.shape[1]
    n_hidden = h * (f + 1)
    rng = np.random.default_rng(seed)
    start = (
        np.concatenate([rng.normal(0, 0.5 / np.sqrt(f), n_hidden), rng.normal(0, 0.3, h), [0.0]])
        if h
        else np.zeros(f + 1)
    )

    def loss(p: F64) -> tuple[float, F64]:
        a = np.tanh(z @ p[:n_hidden].reshape(h, f + 1)[:, :-1].T + p[:n_hidden].reshape(h, f + 1)[:, -1]) if h else z
        v, b = p[n_hidden:-1], p[-1]
        logits = a @ v + b
        value = float(w @ (np.logaddexp(0, logits) - y * logits))
        error = w * (1 / (1 + np.exp(-logits)) - y)
        grad = np.concatenate([np.zeros(n_hidden), a.T @ error, [error.sum()]])
        if h:
            back = np.outer(error, v) * (1 - a * a)
            grad[:n_hidden] = np.hstack([back.T @ z, back.sum(axis=0)[:, None]]).ravel()
        decayed = p.copy()
        decayed[-1] = 0
        return value + 0.5 * recipe.decay * float(decayed @ decayed), grad + recipe.decay * decayed

    p = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 160, "maxfun": 200}).x
    return p[:n_hidden].reshape(h, f + 1), p[n_hidden:]
