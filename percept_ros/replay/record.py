"""What a replay remembers of each frame, and the summary made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from percept_ros.replay.scene import TrackNames
from percept_ros.types import F64, FrameResult, Mode, TrackState

LASTING_NS = 2_000_000_000
PATH_EVERY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One answered frame. wall_ns: measured time from bytes to bytes. stages_ns: where it went. drops: sums so far."""

    stamp_ns: int
    wall_ns: int
    stages_ns: dict[str, int]
    mode: Mode
    tracks: int
    drops: int


@dataclass(slots=True)
class LifeLine:
    """One track over the replay. stamps_ns, coasting and places (x, y) are parallel.

    paths: predicted paths, about one every two seconds: (stamp, (T, 2) x, y), in the frame of the places.
    """

    number: int
    class_id: int
    stamps_ns: list[int] = field(default_factory=list)
    coasting: list[bool] = field(default_factory=list)
    confirmed: bool = False
    places: list[tuple[float, float]] = field(default_factory=list)
    paths: list[tuple[int, F64]] = field(default_factory=list)

    @property
    def span_ns(self) -> int:
        """From first to last appearance."""
        return self.stamps_ns[-1] - self.stamps_ns[0]


@dataclass(slots=True)
class ReplayRecord:
    """Filled frame by frame with ``add``."""

    names: TrackNames = field(default_factory=TrackNames)
    frames: list[FrameRecord] = field(default_factory=list)
    lives: dict[int, LifeLine] = field(default_factory=dict)
    _frame_id: str = ""

    def add(self, result: FrameResult, wall_ns: int, stages_ns: dict[str, int], drops: int) -> None:
        """Note one answered frame."""
        tracks = result.tracks
        self._frame_id = tracks.frame_id
        stamp_ns = result.sensors.stamp_ns
        self.frames.append(FrameRecord(stamp_ns, wall_ns, stages_ns, result.mode, len(tracks), drops))
        for row, class_id in enumerate(tracks.class_ids):
            number = self.names.of(tracks.id[row].tobytes())
            life = self.lives.setdefault(number, LifeLine(number, int(class_id)))
            life.class_id = int(class_id)
            life.stamps_ns.append(stamp_ns)
            life.coasting.append(bool(tracks.state[row] == TrackState.COASTING))
            life.confirmed |= bool(tracks.state[row] == TrackState.CONFIRMED)
            life.places.append((float(tracks.boxes[row, 0]), float(tracks.boxes[row, 1])))
            if not life.paths or stamp_ns - life.paths[-1][0] >= PATH_EVERY_NS:
                life.paths.append((stamp_ns, _path(result, row)))

    @property
    def frame_id(self) -> str:
        """Frame of the places of tracks, that of the last frame; "" before the first."""
        return self._frame_id

    def summary(self) -> dict[str, Any]:
        """frames_out, tracks_confirmed, tracks_over_2s, latency_ms, stages_ms, modes."""
        confirmed = [life for life in self.lives.values() if life.confirmed]
        names = sorted({name for frame in self.frames for name in frame.stages_ns})
        return {
            "frames_out": len(self.frames),
            "tracks_confirmed": len(confirmed),
            "tracks_over_2s": sum(life.span_ns >= LASTING_NS for life in confirmed),
            "latency_ms": percentiles([frame.wall_ns for frame in self.frames], (50.0, 99.0, 99.9)),
            "stages_ms": {
                name: percentiles([f.stages_ns[name] for f in self.frames if name in f.stages_ns], (50.0, 99.0))
                for name in names
            },
            "modes": dict(sorted(Counter(frame.mode.name.lower() for frame in self.frames).items())),
        }


def _path(result: FrameResult, row: int) -> F64:
    """(T, 2) most likely predicted path of a track, T = 0 without one."""
    forecasts = result.forecasts
    if row >= len(forecasts.steps):
        return np.zeros((0, 2))
    best = int(np.argmax(forecasts.confidence[row])) if forecasts.confidence.shape[1] else 0
    return (
        forecasts.paths[row, best, : int(forecasts.steps[row]), :2].copy()
        if forecasts.paths.shape[1]
        else np.zeros((0, 2))
    )


def percentiles(durations_ns: list[int], percents: tuple[float, ...]) -> dict[str, float | None]:
    """``p50``, ``p99``, ``p999`` ... in milliseconds; None without frames."""
    keys = [f"p{percent:g}".replace(".", "") for percent in percents]
    if not durations_ns:
        return dict.fromkeys(keys)
    values = np.percentile(np.array(durations_ns, np.float64) / 1e6, percents)
    return {key: round(float(value), 3) for key, value in zip(keys, values, strict=True)}
