"""Checks of what comes out: finite, not saturated, as many objects as usual, tracks that go on and move as they said."""

from __future__ import annotations

import numpy as np

from percept_ros.config import SemanticConfig
from percept_ros.health.baseline import Baseline, Window, grade
from percept_ros.types import F64, I64, Detections, Forecasts, Tracks, TrackState

_LEAST_BOXES = 5
_SATURATED = 0.9995
_ALIKE = 0.75
"""Share of scores that may be alike or at the end of their range."""
_LEAST_TRACKS = 4
_LONGEST_STEP_NS = 500_000_000
_COUNT_FLOOR = 0.5
"""Least spread of sqrt(count + 3/8): that of a Poisson count, whatever its mean (Anscombe, 1948)."""
_SCORE_FLOOR = 0.05


def all_finite(tracks: Tracks, forecasts: Forecasts) -> bool:
    """Whether nothing published is NaN or infinite."""
    arrays: tuple[F64, ...] = (
        tracks.boxes,
        tracks.velocity_mps,
        tracks.acceleration_mps2,
        tracks.existence,
        tracks.pose_covariance,
        tracks.twist_covariance,
        forecasts.confidence,
    )
    steps = np.arange(forecasts.paths.shape[2]) < forecasts.steps[:, None]
    paths = np.isfinite(forecasts.paths).all(axis=(1, 3)) | ~steps
    return bool(all(np.isfinite(array).all() for array in arrays) and paths.all())


class DetectionChecks:
    """Number and scores of one model's detections, against what is usual for it."""

    def __init__(self, config: SemanticConfig) -> None:
        self._config = config
        self._count = Baseline(config.window, config.recent, _COUNT_FLOOR)
        self._score = Baseline(config.window, config.recent, _SCORE_FLOOR)
        self._alike = Window(config.recent)

    def see(self, detections: Detections) -> None:
        """Take in one answer of the model, not yet fused."""
        scores = detections.scores
        self._count.add(float(np.sqrt(len(scores) + 0.375)))
        if len(scores):
            self._score.add(float(scores.mean()))
        self._alike.add(saturated_share(scores))

    @property
    def checks(self) -> dict[str, float]:
        """count, scores and saturation, 0 to 1."""
        limit = self._config.drift_z
        alike = self._alike.median() if len(self._alike) else 0.0
        return {
            "count": grade(self._count.z, limit),
            "scores": grade(self._score.z, limit),
            "saturation": min(1.0, (1.0 - alike) / (1.0 - _ALIKE)),
        }

    @property
    def notes(self) -> dict[str, str]:
        """What each check measured."""
        return {
            "count": f"z {self._count.z:.1f}",
            "scores": f"z {self._score.z:.1f}",
            "saturation": f"{100 * (self._alike.median() if len(self._alike) else 0.0):.0f}% of scores alike",
        }


def saturated_share(scores: F64) -> float:
    """Share of scores that are at the end of their range, or alike; 0 for fewer than five."""
    if len(scores) < _LEAST_BOXES:
        return 0.0
    ordered = np.sort(scores)
    same = np.diff(ordered) < 1e-9
    ends = (scores >= _SATURATED) | (scores <= 1.0 - _SATURATED)
    return float(max(ends.mean(), same.mean()))


class TrackChecks:
    """Whether confirmed tracks go on from frame to frame, and are found where they said they would be."""

    def __init__(self, config: SemanticConfig) -> None:
        self._config = config
        self._lost, self._miss_m = Window(config.recent), Window(config.recent)
        self._last: Tracks | None = None

    def see(self, tracks: Tracks) -> None:
        """Take in the tracks of one frame."""
        last, self._last = self._last, tracks
        if last is None or tracks.frame_id != last.frame_id or len(last) < _LEAST_TRACKS:
            return
        step_ns = tracks.stamp_ns - last.stamp_ns
        if not 0 < step_ns <= _LONGEST_STEP_NS:
            return
        rows, again = same_tracks(last, tracks)
        confirmed = last.state == TrackState.CONFIRMED
        if confirmed.sum() >= _LEAST_TRACKS:
            self._lost.add(1.0 - float(confirmed[rows].sum() / confirmed.sum()))
        if len(rows) >= _LEAST_TRACKS:
            said = last.boxes[rows, :2] + last.velocity_mps[rows] * (step_ns * 1e-9)
            self._miss_m.add(float(np.median(np.linalg.norm(tracks.boxes[again, :2] - said, axis=1))))

    @property
    def checks(self) -> dict[str, float]:
        """continuity and coherence, 0 to 1."""
        return {
            "continuity": grade(self._lost.median(), self._config.lost_share) if len(self._lost) else 1.0,
            "coherence": grade(self._miss_m.median(), self._config.coherence_m) if len(self._miss_m) else 1.0,
        }

    @property
    def notes(self) -> dict[str, str]:
        """What each check measured."""
        return {
            "continuity": f"{100 * self._lost.median():.0f}% of tracks lost a frame" if len(self._lost) else "",
            "coherence": f"{self._miss_m.median():.2f} m off their predictions" if len(self._miss_m) else "",
        }


def same_tracks(before: Tracks, after: Tracks) -> tuple[I64, I64]:
    """Rows in ``before`` and in ``after`` of the tracks that are in both."""
    kind = np.dtype((np.void, 16))
    old = np.ascontiguousarray(before.id).view(kind).ravel()
    new = np.ascontiguousarray(after.id).view(kind).ravel()
    _, rows, again = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    return rows.astype(np.int64), again.astype(np.int64)
