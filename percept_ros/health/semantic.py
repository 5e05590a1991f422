"""Semantic health: one score from 0 to 1 that says whether what goes in and comes out makes sense, and what does not.

``screen`` looks at a sensor set before it is used, ``judge`` says before publication what to think of what came of it, and
``look_back`` takes it into what is usual, once it is out: the checks over many frames are those of the frames before. Every check is causal, gives 1 (well) to
0 (fails wholly) and has a declared weight; the score is the product of 1 - weight (1 - check). A check that has nothing
to look at (no camera model, too few tracks) is 1. No clock is read. One thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from percept_ros.config import HealthConfig, SemanticConfig
from percept_ros.health.baseline import Window, grade
from percept_ros.health.clocks import ClockSkew
from percept_ros.health.outputs import DetectionChecks, TrackChecks, all_finite
from percept_ros.health.screen import SensorScreen
from percept_ros.types import F64, AbsenceReason, CameraFrame, Detections, Forecasts, PointCloud, SensorSet, Tracks

CHECKS = (
    "finite",
    "saturation",
    "count",
    "scores",
    "continuity",
    "coherence",
    "agreement",
    "calibration",
    "images",
    "cloud",
    "clocks",
    "complete",
)
"""Every check, in the order of the config section ``health.semantic.weights``."""
_SCREENED = (AbsenceReason.FROZEN, AbsenceReason.BLANK, AbsenceReason.EMPTIED, AbsenceReason.NOISY)
_LEAST_EXPECTED = 30
_LEAST_RESIDUALS = 60
_LEAST_OUTPUTS = 20


class Agreement(Protocol):
    """How one camera agrees with the LiDAR on one set (core.agreement.CameraAgreement)."""

    @property
    def expected(self) -> int: ...
    @property
    def seen(self) -> int: ...
    @property
    def residual_rad(self) -> F64: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks say. score: 0 to 1. concerns: checks below 1, the costliest first, with what they measured.

    complete_share: of the last hundred outputs. degraded: whether fewer are complete than configured.
    """

    score: float = 1.0
    checks: Mapping[str, float] = field(default_factory=dict)
    concerns: tuple[str, ...] = ()
    complete_share: float = 1.0
    degraded: bool = False


class SemanticHealth:
    """All checks of one pipeline."""

    def __init__(self, config: HealthConfig | None = None) -> None:
        whole = config or HealthConfig()
        self._config: SemanticConfig = whole.semantic
        self._screen = SensorScreen(self._config)
        self.clocks = ClockSkew()
        self.verdict = Verdict()
        self.reset()

    def reset(self) -> None:
        """Forget what is usual (time jumped). Clocks are kept: their delays do not depend on what time it is."""
        self._models: dict[str, DetectionChecks] = {}
        self._tracks = TrackChecks(self._config)
        self._cameras: dict[str, _CameraChecks] = {}
        self._complete = Window(100)
        self._share = 1.0
        self._lately: tuple[dict[str, float], dict[str, str]] = ({}, {})
        self._screen.reset()

    def screen(self, sensors: SensorSet) -> SensorSet:
        """The set without sensors that must not be believed (see health.screen)."""
        return self._screen.screen(sensors)

    def believes(self, data: PointCloud | CameraFrame) -> bool:
        """Whether a sweep or an image may be used, asked before its set is whole; ``screen`` then says the same of it."""
        why = self._screen.cloud(data) if isinstance(data, PointCloud) else self._screen.image(data)
        return why is None

    def judge(self, sensors: SensorSet, tracks: Tracks, forecasts: Forecasts) -> Verdict:
        """The verdict on one frame: on its sensors, on whether it is finite, and on how it went lately (``look_back``)."""
        checks, notes = dict(self._lately[0]), dict(self._lately[1])
        checks["finite"], notes["finite"] = float(all_finite(tracks, forecasts)), "tracks or paths are not finite"
        for name, (value, note) in _of_sensors(sensors).items():
            checks[name], notes[name] = value, note
        self.verdict = self._weighed(checks, notes)
        return self.verdict

    def look_back(
        self,
        model: str,
        detections: Detections | None,
        tracks: Tracks,
        agreements: Mapping[str, Agreement],
        *,
        complete: bool,
    ) -> None:
        """Take in one frame. ``detections`` are those of ``model``, not fused; None when nothing was detected anew."""
        if detections is not None:
            self._models.setdefault(model, DetectionChecks(self._config)).see(detections)
        self._tracks.see(tracks)
        for name, agreement in agreements.items():
            self._cameras.setdefault(name, _CameraChecks()).see(agreement)
        self._complete.add(float(complete))
        self._lately = self._sum_up(model)

    def _sum_up(self, model: str) -> tuple[dict[str, float], dict[str, str]]:
        """Checks over the last frames, and what each measured."""
        checks: dict[str, float] = {}
        notes: dict[str, str] = {}
        for part in (self._models.get(model), self._tracks):
            if part is not None:
                checks |= part.checks
                notes |= part.notes
        for found in (self._of_cameras(), self._of_clocks()):
            for name, (value, note) in found.items():
                checks[name], notes[name] = value, note
        self._share = self._complete.mean() if len(self._complete) >= _LEAST_OUTPUTS else 1.0
        checks["complete"] = min(1.0, self._share / self._config.complete_share) if self._degraded else 1.0
        notes["complete"] = f"{100 * self._share:.0f}% of outputs are complete"
        return checks, notes

    @property
    def _degraded(self) -> bool:
        return self._share < self._config.complete_share

    def _weighed(self, checks: dict[str, float], notes: dict[str, str]) -> Verdict:
        costs = {name: getattr(self._config.weights, name) * (1.0 - value) for name, value in checks.items()}
        score = math.prod(1.0 - cost for cost in costs.values())
        worst = sorted((name for name in costs if costs[name] > 0.0), key=lambda name: -costs[name])
        concerns = tuple(f"{name} {checks[name]:.2f} ({notes[name]})" for name in worst)
        return Verdict(score, {name: checks.get(name, 1.0) for name in CHECKS}, concerns, self._share, self._degraded)

    def _of_cameras(self) -> dict[str, tuple[float, str]]:
        """agreement and calibration of the worst camera."""
        shares = {name: share for name, one in self._cameras.items() if (share := one.share) is not None}
        drifts = {name: drift for name, one in self._cameras.items() if (drift := one.drift_rad) is not None}
        found = {}
        if shares:
            worst = min(shares, key=lambda name: shares[name])
            value = min(1.0, shares[worst] / max(self._config.agreement_share, 1e-9))
            found["agreement"] = (value, f"{worst} sees {100 * shares[worst]:.0f}% of what it should")
        if drifts:
            worst = max(drifts, key=lambda name: drifts[name])
            drift_mrad = 1e3 * drifts[worst]
            note = f"{worst} moved by {drift_mrad:.0f} mrad against the LiDAR"
            found["calibration"] = (grade(drift_mrad, self._config.reprojection_mrad), note)
        return found

    def _of_clocks(self) -> dict[str, tuple[float, str]]:
        skews = self.clocks.skew_ns()
        if not skews:
            return {}
        worst = max(skews, key=lambda name: abs(skews[name]))
        skew_ms = skews[worst] * 1e-6
        side = "behind" if skew_ms > 0 else "ahead"
        note = f"clock of {worst} is {abs(skew_ms):.0f} ms {side} of where it was"
        return {"clocks": (grade(abs(skew_ms), self._config.clock_skew_ms), note)}


def _of_sensors(sensors: SensorSet) -> dict[str, tuple[float, str]]:
    """images and cloud: what the screen took out."""
    wrong = {name: reason for name, reason in sensors.absent.items() if reason in _SCREENED}
    images = [f"{name} {wrong[name].name.lower()}" for name in sensors.camera_order if name in wrong]
    clouds = [f"{name} {reason.name.lower()}" for name, reason in wrong.items() if name not in sensors.camera_order]
    share = 1.0 - len(images) / max(1, len(sensors.camera_order))
    return {"images": (share, ", ".join(images)), "cloud": (0.0 if clouds else 1.0, ", ".join(clouds))}


class _CameraChecks:
    """Agreement of one camera with the LiDAR over the last frames, and its residuals at first and now."""

    def __init__(self) -> None:
        self._expected, self._seen = Window(50), Window(50)
        self._first: list[F64] = []
        self._usual: F64 | None = None
        self._right, self._down = Window(_LEAST_RESIDUALS), Window(_LEAST_RESIDUALS)

    def see(self, agreement: Agreement) -> None:
        """Take in one frame."""
        self._expected.add(agreement.expected)
        self._seen.add(agreement.seen)
        residual = agreement.residual_rad
        if self._usual is None:
            self._learn(residual)
            return
        for right, down in residual:
            self._right.add(right)
            self._down.add(down)

    def _learn(self, residual: F64) -> None:
        self._first.extend(residual)
        if len(self._first) >= _LEAST_RESIDUALS:
            self._usual = np.median(np.array(self._first), axis=0)
            self._first.clear()

    @property
    def share(self) -> float | None:
        """Share of the expected objects that the camera saw; None until enough were expected."""
        expected = float(self._expected.values.sum())
        return float(self._seen.values.sum()) / expected if expected >= _LEAST_EXPECTED else None

    @property
    def drift_rad(self) -> float | None:
        """How far the median residual moved from the first ones; None until known."""
        if self._usual is None or len(self._right) < _LEAST_RESIDUALS:
            return None
        return float(np.hypot(self._right.median() - self._usual[0], self._down.median() - self._usual[1]))
