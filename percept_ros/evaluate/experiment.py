"""What the records of an experiment say: rates and differences with confidence intervals.

Success rates: Wilson's interval; differences of rates: Newcombe's. Latencies: difference of means by Welch's t; where both
saw the same frame, the mean of the paired differences. All at 95%. Sources: E. B. Wilson 1927; R. G. Newcombe 1998, method 10;
B. L. Welch 1947; computed by statsmodels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from percept_ros.detectors.experiment_log import ANSWER, SHADOW, Record
from percept_ros.types import F64

ALPHA = 0.05
DIFFERS = 0.5
"""A frame of which at least this much is not agreed on counts as different."""


def summarise(records: Sequence[Record], control: str = "") -> dict[str, Any]:
    """Figures of every group, and of every comparison. control: group that the others are compared with; "" = the one that
    answered most often."""
    answers = [r for r in records if r.role == ANSWER]
    names = list(dict.fromkeys(r.group for r in records))
    if not control and answers:
        control = max(names, key=lambda name: sum(r.group == name for r in answers))
    groups = {name: _group([r for r in answers if r.group == name]) for name in names}
    rivals = [name for name in names if name != control and groups[name]["frames"]]
    base = [r for r in answers if r.group == control]
    return {
        "control": control,
        "frames": len({r.stamp_ns for r in records}),
        "groups": {name: figures for name, figures in groups.items() if figures["frames"]},
        "against_control": {name: _against(base, [r for r in answers if r.group == name]) for name in rivals},
        "shadows": {
            f"{name}_beside_{against}": _pairs(rows)
            for name, against in dict.fromkeys((r.group, r.against) for r in records if r.role == SHADOW and r.ok)
            if (rows := [r for r in records if r.role == SHADOW and r.ok and (r.group, r.against) == (name, against)])
        },
        "shadow_failures": {
            name: sum(r.role == SHADOW and not r.ok for r in records if r.group == name)
            for name in names
            if any(r.role == SHADOW and not r.ok for r in records if r.group == name)
        },
    }


def _group(rows: Sequence[Record]) -> dict[str, Any]:
    good = [r for r in rows if r.ok]
    spent_ms = np.array([r.ms for r in good] or [np.nan])
    return {
        "frames": len(rows),
        "failed": len(rows) - len(good),
        "models": sorted({r.model for r in good}),
        "success_rate": len(good) / len(rows) if rows else 0.0,
        "success_rate_95": _wilson(len(good), len(rows)),
        "latency_mean_ms": _plain(spent_ms.mean()),
        "latency_mean_ms_95": _mean_interval(spent_ms),
        "latency_p50_ms": _plain(np.median(spent_ms)),
        "latency_p99_ms": _plain(np.percentile(spent_ms, 99)),
        "boxes_a_frame": float(np.mean([r.boxes for r in good])) if good else 0.0,
    }


def _against(base: Sequence[Record], rows: Sequence[Record]) -> dict[str, Any]:
    """Differences, group less control, on different frames."""
    ours, theirs = [r for r in rows if r.ok], [r for r in base if r.ok]
    rate = len(ours) / len(rows) - (len(theirs) / len(base) if base else 0.0)
    a, b = np.array([r.ms for r in ours]), np.array([r.ms for r in theirs])
    return {
        "success_rate_difference": rate,
        "success_rate_difference_95": _newcombe(len(ours), len(rows), len(theirs), len(base)),
        "latency_difference_ms": _plain(a.mean() - b.mean()) if len(a) and len(b) else None,
        "latency_difference_ms_95": _welch(a, b),
    }


def _pairs(rows: Sequence[Record]) -> dict[str, Any]:
    """A group beside the one that answered, on the same frames."""
    differs = sum(r.disagreement >= DIFFERS for r in rows)
    disagreement = np.array([r.disagreement for r in rows])
    slower = np.array([r.ms - r.against_ms for r in rows])
    matched, only_against, only_here = (
        sum(getattr(r, k) for r in rows) for k in ("matched", "only_against", "only_here")
    )
    return {
        "frames": len(rows),
        "disagreement_mean": float(disagreement.mean()),
        "disagreement_mean_95": _mean_interval(disagreement),
        "frames_that_differ": differs,
        "frames_that_differ_rate": differs / len(rows),
        "frames_that_differ_rate_95": _wilson(differs, len(rows)),
        "boxes_matched": matched,
        "boxes_only_against": only_against,
        "boxes_only_here": only_here,
        "class_changes": sum(r.class_changes for r in rows),
        "offset_m": float(np.mean([r.offset_m for r in rows if r.matched] or [0.0])),
        "score_difference": float(np.mean([r.score for r in rows if r.matched] or [0.0])),
        "latency_difference_ms": float(slower.mean()),
        "latency_difference_ms_95": _mean_interval(slower),
    }


def _wilson(events: int, trials: int) -> list[float]:
    from statsmodels.stats.proportion import proportion_confint

    if not trials:
        return [0.0, 1.0]
    low, high = proportion_confint(events, trials, alpha=ALPHA, method="wilson")
    return [float(low), float(high)]


def _newcombe(events_a: int, trials_a: int, events_b: int, trials_b: int) -> list[float]:
    from statsmodels.stats.proportion import confint_proportions_2indep

    if not trials_a or not trials_b:
        return [-1.0, 1.0]
    low, high = confint_proportions_2indep(events_a, trials_a, events_b, trials_b, method="newcomb", alpha=ALPHA)
    return [float(low), float(high)]


def _welch(a: F64, b: F64) -> list[float] | None:
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    if len(a) < 2 or len(b) < 2:
        return None
    low, high = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(alpha=ALPHA, usevar="unequal")
    return [float(low), float(high)]


def _mean_interval(values: F64) -> list[float] | None:
    from statsmodels.stats.weightstats import DescrStatsW

    if len(values) < 2 or not np.isfinite(values).all():
        return None
    low, high = DescrStatsW(values).tconfint_mean(alpha=ALPHA)
    return [float(low), float(high)]


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
