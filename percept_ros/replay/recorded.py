"""Scores and draws what the real nodes published, with the same code as a deterministic replay.

The bag is read once more; where the pipeline would run, the array that the nodes published for that stamp is put in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percept_ros.config import Config
from percept_ros.errors import StampError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.record import percentiles
from percept_ros.replay.runner import TRACKS_TOPIC, Progress, ReplayJob, ReplayResult, replay
from percept_ros.replay.track_array import TrackArray, track_array_of
from percept_ros.replay.typestore import TRACKS_TYPE, typestore
from percept_ros.types import Detections, FrameResult, Mode, SensorSet


@dataclasses.dataclass(frozen=True, slots=True)
class NodeOutput:
    """What the nodes said. tracks: (arrival stamp, serialised array) in order of arrival.

    moved_ns: by how much stamps of the bag were moved when it was played. stages_ms, drops, modes: as the status said.
    """

    tracks: Sequence[tuple[int, bytes]]
    moved_ns: int
    stages_ms: Mapping[str, Mapping[str, float]]
    drops: Mapping[str, int]


class _Recorded:
    """Stands where the pipeline stands and gives back what the nodes published."""

    def __init__(self, arrays: Sequence[TrackArray], moved_ns: int) -> None:
        self._arrays = {pivot_ns(array) - moved_ns: array for array in reversed(arrays)}
        self._moved_ns = moved_ns

    def process(self, sensors: SensorSet, now_ns: int) -> FrameResult:
        """The array published for the set's stamp. Raises StampError (reason unanswered) when there is none."""
        array = self._arrays.get(sensors.stamp_ns)
        if array is None:
            raise StampError(f"no array was published for stamp {sensors.stamp_ns} ns", "unanswered")
        tracks = dataclasses.replace(array.tracks, stamp_ns=array.tracks.stamp_ns - self._moved_ns)
        nothing = Detections.empty(sensors.stamp_ns, "base_link")
        return FrameResult(
            sensors,
            nothing,
            {},
            tracks,
            array.forecasts,
            array.mode,
            {},
            array.model,
            array.artefact_sha256,
            array.group,
        )

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


def pivot_ns(array: TrackArray) -> int:
    """Stamp of the sensor set that an array is about."""
    return array.tracks.stamp_ns - array.extrapolated_ns


def answers(arrays: Sequence[TrackArray]) -> list[TrackArray]:
    """The first array about each sensor set; what came between, without sensors, is left out."""
    first: dict[int, TrackArray] = {}
    for array in arrays:
        if array.mode is not Mode.STALE:
            first.setdefault(pivot_ns(array), array)
    return list(first.values())


def summarise(
    bag: Path, config: Config, out: Path, output: NodeOutput, pictures: int, progress: Progress
) -> ReplayResult:
    """Write ``tracks.mcap`` as published, and make the summary and pictures of a real-time replay."""
    arrays = [_read(raw) for _, raw in output.tracks]
    job = ReplayJob(bag, out, config, pictures=pictures)
    result = replay(job, progress, build=lambda _: _Recorded(arrays, output.moved_ns))
    _write(out / "tracks.mcap", output.tracks)
    result.summary.update(_measured(arrays, output))
    return result


def _read(raw: bytes) -> TrackArray:
    return track_array_of(typestore().deserialize_cdr(raw, TRACKS_TYPE))


def _write(file: Path, tracks: Sequence[tuple[int, bytes]]) -> None:
    file.unlink(missing_ok=True)
    with BagWriter(file) as bag:
        for arrival_ns, raw in tracks:
            bag.write_raw(TRACKS_TOPIC, TRACKS_TYPE, raw, arrival_ns)


def _measured(arrays: Sequence[TrackArray], output: NodeOutput) -> dict[str, Any]:
    answered = answers(arrays)
    latencies = [array.publish_ns - array.oldest_ns for array in answered]
    stamps = [array.publish_ns for array in answered]
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    return {
        "frames_out": len(answered),
        "arrays_without_sensors": len(arrays) - len(answered),
        "latency_ms": percentiles(latencies, (50.0, 99.0, 99.9)),
        "latency_from_newest_ms": percentiles([a.publish_ns - a.newest_ns for a in answered], (50.0, 99.0, 99.9)),
        "stages_ms": {name: dict(times) for name, times in output.stages_ms.items()},
        "drops": dict(output.drops),
        "modes": dict(sorted(Counter(array.mode.name.lower() for array in answered).items())),
        "longest_gap_ms": max(gaps, default=0) / 1e6,
        "deterministic": False,
    }
