"""Trajectories from a user's own recordings: the track arrays in bags, as ``percept replay`` writes them or nodes publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from percept_ros.core.path_features import GROUP_OF_CLASS
from percept_ros.errors import RecordingError
from percept_ros.evaluate.prediction_data import Trajectory, runs
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.track_array import TRUTH, TrackArray, track_array_of
from percept_ros.types import F64, I64, TrackState

STEP_S, STEP_NS = 0.1, 100_000_000
PART_S = 20.0
LEAST_STEPS = 10
MESSAGE = "percept_ros/msg/ObstacleTrackArray"


def bags(paths: Sequence[Path]) -> list[Trajectory]:
    """Confirmed tracks of all bags at 10 Hz. Where they went later is told by the tracks themselves.

    A bag's sequences are its parts of 20 s, so that one bag can be learned from and held out. Raises RecordingError.
    """
    found = [t for path in paths for t in _bag(path)]
    if not found:
        raise RecordingError("the bags hold no track of at least 1 s: longer recordings are needed", "empty")
    return found


def _bag(path: Path) -> list[Trajectory]:
    arrays = _arrays(path)
    rows: dict[bytes, list[tuple[int, int, F64, F64]]] = {}
    for array in arrays:
        tracks = array.tracks
        step = round((tracks.stamp_ns - arrays[0].tracks.stamp_ns) / STEP_NS)
        for row in np.flatnonzero(tracks.state != TrackState.TENTATIVE):
            seen = (step, int(tracks.class_ids[row]), tracks.boxes[row, :2], tracks.velocity_mps[row])
            rows.setdefault(tracks.id[row].tobytes(), []).append(seen)
    return [t for seen in rows.values() for t in _trajectories(path.stem, seen)]


def _arrays(path: Path) -> list[TrackArray]:
    """The track arrays of a bag in order of time: those of a tracker, else ground truth."""
    with BagReader(path) as bag:
        topics = [name for name, kind in bag.topics.items() if kind == MESSAGE]
        if not topics:
            raise RecordingError(
                f"bag '{path}' has no {MESSAGE}: run percept replay {path} -o DIR and train on DIR/tracks.mcap",
                "missing",
            )
        arrays = [track_array_of(m.message) for m in bag.messages(topics)]
    tracked = [a for a in arrays if not a.model.startswith(TRUTH)]
    return sorted(tracked or arrays, key=lambda a: a.tracks.stamp_ns)


def _trajectories(name: str, seen: list[tuple[int, int, F64, F64]]) -> list[Trajectory]:
    steps: I64 = np.array([s for s, _, _, _ in seen], np.int64)
    _, first = np.unique(steps, return_index=True)
    steps, place = steps[first], np.array([p for _, _, p, _ in seen])[first]
    velocity = np.array([v for _, _, _, v in seen])[first]
    kinds = np.bincount([k for _, k, _, _ in seen])
    group = int(GROUP_OF_CLASS[int(kinds.argmax())])
    found = []
    for part in runs(steps):
        if part.stop - part.start >= LEAST_STEPS:
            start = int(steps[part.start])
            sequence = f"{name}#{int(start * STEP_S / PART_S)}"
            found.append(Trajectory(sequence, start, group, place[part], place[part], velocity[part]))
    return found
