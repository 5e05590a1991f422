"""The skill gate's verdict in numpy, to compare the compiled one with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

import numpy as np

from percept_ros.core.path_features import GROUPS
from percept_ros.core.path_gate import MARKS, NETWORK, SURE, Prior, SkillGate, SkillSettings, Verdict
from percept_ros.types import F64


def verdict(gate: SkillGate, settings: SkillSettings, priors: Mapping[str, Prior]) -> Verdict:
    """What the gate must say of its record."""
    given = np.array([astuple(priors.get(name, Prior())) for name in GROUPS]).T
    sure, weight = given[-1] >= SURE, np.minimum(given[-1], max(settings.prior_weight, 1e-6))
    prior = given[:-1].copy()
    prior[NETWORK] = np.maximum(prior[NETWORK], settings.modesty)
    records = [gate.record(mark) for mark in range(len(MARKS))]
    count, sums, over, squares = (np.stack([astuple(r)[k] for r in records]) for k in range(4))
    errors = _errors(sums, count, prior, weight)
    spread = _standard_errors(count, over, squares, np.where(sure, settings.alike, settings.alike_unsure))
    margin = settings.doubt * spread if settings.doubt > 0.0 else np.zeros_like(sums)
    margin[1:] = np.where(np.isfinite(margin[1:]), margin[1:], 0.0)
    group, total = np.arange(len(GROUPS)), errors[:, 1:].sum(axis=0)
    unsure = sure & (weight < SURE)
    gain = total[gate.usual - 1, group] - total - np.where(unsure, 0.0, margin[:, 1:].sum(axis=0))
    gain[gate.usual - 1, group] = 0.0
    ratio = ((errors[:, NETWORK] + margin[:, NETWORK]) / errors[:, 1:].min(axis=1)).max(axis=0)
    full, none = settings.full_ratio, settings.none_ratio
    return Verdict(errors, 1 + gain.argmax(axis=0), ratio, np.clip((none - ratio) / (none - full), 0.0, 1.0))


def _errors(sums: F64, count: F64, first: F64, weight: F64) -> F64:
    prior, found = first, []
    for mine, seen in zip(sums, count, strict=True):
        usual = np.where(seen > 0, mine[1:].min(axis=0) / np.maximum(seen, 1e-9), 1.0)
        found.append((mine + weight * prior * np.maximum(usual, 1e-6)) / (seen + weight))
        prior = found[-1] / found[-1][1:].min(axis=0)
        prior[NETWORK] = np.maximum(prior[NETWORK], first[NETWORK])
    scale = np.array(MARKS)[:, None, None] / MARKS[0]
    unseen = np.where(count[:, None] == 0, found[0][1:].min(axis=0) * scale, 1.0)
    return np.asarray(unseen * np.stack(found))


def _standard_errors(count: F64, over: F64, squares: F64, alike: F64) -> F64:
    seen = np.maximum(count, 1e-9)[:, None]
    variance = np.maximum(squares / seen - (over / seen) ** 2, 0.0)
    spare = count[:, None] / (alike * np.array(MARKS)[:, None] / MARKS[0])[:, None] - 1.0
    return np.where(spare > 0.0, np.sqrt(variance / np.maximum(spare, 1e-9)), np.inf)
