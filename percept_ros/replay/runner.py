"""Deterministic replay of a bag: the same bag and configuration give the same bytes of tracks.

No wall clock decides anything. The simulated clock runs with the recording's log times, moved once so that it fits the
stamps. Tracks are published ``PUBLISH_LATENCY_NS`` after the newest stamp of their set, and later by as long as the set
waited for a sensor. Deadlines of detectors are lifted,
engines run in this process, track ids come from a fixed seed. Measured times go to the summary only.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from percept_ros.build import build_pipeline
from percept_ros.config import Config
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_types import SyncedSet, SyncSettings
from percept_ros.core.tracking import Tracker
from percept_ros.core.tracking_kernel import innovation_table
from percept_ros.errors import InputError, StampError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.discovery import LIDAR, BagTopics, discover
from percept_ros.replay.gallery import Gallery
from percept_ros.replay.record import ReplayRecord
from percept_ros.replay.score import MotScore, detections_as_tracks, nearest
from percept_ros.replay.source import Arrival, BagSource, Refusal
from percept_ros.replay.track_array import TrackArray, track_array_of
from percept_ros.replay.typestore import TRACKS_TYPE
from percept_ros.types import F64, AbsenceReason, CameraFrame, FrameResult, ObjectClass, PointCloud, SensorSet
from percept_ros.wire import ArrayHeader, encode_track_array

Progress = Callable[[int, int], None]
Released = SyncedSet[PointCloud, CameraFrame]

TRACKS_TOPIC = "/fusion/tracks"
PUBLISH_LATENCY_NS = 20_000_000
SAME_CLOCK_NS = 1_000_000_000
UNHURRIED_MS = 10_000.0
SEED = 0


class Processor(Protocol):
    """What is replayed: the pipeline."""

    def process(self, sensors: SensorSet, now_ns: int) -> FrameResult: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What to replay. remap: topic in the bag -> name to read it under. pictures: frames drawn in the report."""

    bag: Path
    out: Path
    config: Config = field(default_factory=Config)
    remap: dict[str, str] = field(default_factory=dict)
    pictures: int = 10


@dataclass(slots=True)
class ReplayResult:
    """Everything a replay found: the JSON summary and what the report draws."""

    summary: dict[str, Any]
    record: ReplayRecord
    gallery: Gallery


def deterministic(config: Config) -> Config:
    """``config`` without anything that the speed of this machine decides."""
    budget = dataclasses.replace(config.budget, detect_ms=UNHURRIED_MS, predict_ms=UNHURRIED_MS)
    detector = dataclasses.replace(config.detector, isolation="thread")
    return dataclasses.replace(config, budget=budget, detector=detector)


def make_pipeline(config: Config) -> Processor:
    """The pipeline of ``config`` with repeatable track ids."""
    return build_pipeline(config, seed=SEED, isolation="thread")


def replay(job: ReplayJob, progress: Progress, build: Callable[[Config], Processor] = make_pipeline) -> ReplayResult:
    """Run the pipeline over a bag and write ``tracks.mcap``.

    Raises RecordingError for a bag that cannot be read at all or has no sensor, ModelError for models.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    with BagReader(job.bag, job.remap) as reader:
        topics = discover(reader.topics, job.config)
        config = deterministic(topics.configured(job.config))
        truth = _read_truth(reader, topics)
        source = BagSource(reader, topics, config)
        pipeline = build(config)
        try:
            with BagWriter(job.out / "tracks.mcap") as tracks:
                run = _Run(config, source, pipeline, tracks, truth, _gallery(reader, topics, job.pictures))
                run.run(progress)
        finally:
            pipeline.close()
        return ReplayResult(_summary(job, reader, run), run.record, run.gallery)


def _read_truth(reader: BagReader, topics: BagTopics) -> list[TrackArray]:
    if not topics.truth:
        return []
    found = [track_array_of(item.message) for item in reader.messages([topics.truth])]
    return sorted(found, key=lambda array: array.tracks.stamp_ns)


def _gallery(reader: BagReader, topics: BagTopics, pictures: int) -> Gallery:
    pivots = [topics.lidar] if topics.lidar else [topics.cameras[0].image]
    return Gallery.evenly(reader.count(pivots), pictures)


class _Run:
    """One pass over the bag."""

    def __init__(
        self,
        config: Config,
        source: BagSource,
        pipeline: Processor,
        tracks: BagWriter,
        truth: list[TrackArray],
        gallery: Gallery,
    ) -> None:
        self.source, self.gallery = source, gallery
        self.record, self.score, self.found = ReplayRecord(), MotScore(), MotScore()
        self.refused: Counter[str] = Counter()
        self.resets: list[str] = []
        self._config, self._pipeline, self._tracks, self._truth = config, pipeline, tracks, truth
        self._truth_stamps = [array.tracks.stamp_ns for array in truth]
        self._sync: Synchroniser[PointCloud, CameraFrame] = Synchroniser(SyncSettings.of(config, LIDAR), self._on_reset)
        self._decode_ns: dict[tuple[str, int], int] = {}
        self._mounted: dict[str, F64] = {}
        self._why: dict[str, AbsenceReason] = {}
        self._now_ns = 0

    @property
    def drops(self) -> dict[str, int]:
        """Reason -> messages dropped, everywhere."""
        total = Counter(self._sync.drops) + self.source.drops + self.refused
        return dict(sorted(total.items()))

    def innovation(self) -> dict[str, Any]:
        """Class -> innovation consistency of its tracks (``innovation_table``); classes without matches are left out."""
        tracker = getattr(self._pipeline, "tracker", None)
        if not isinstance(tracker, Tracker):
            return {}
        tables = {
            kind.name.lower(): innovation_table(row)
            for kind, row in zip(ObjectClass, tracker.kernel.consistency(), strict=True)
        }
        return {name: table for name, table in tables.items() if table["matches"]}

    def run(self, progress: Progress) -> None:
        """Read the bag to its end."""
        for item in self.source.arrivals():
            self._advance(item)
            self._answer(self._refuse(item) if isinstance(item, Refusal) else self._take(item))
            if isinstance(item, Arrival):
                progress(item.done, self.source.total)
        self._answer(self._sync.flush(self._now_ns))
        progress(self.source.total, self.source.total)

    def _advance(self, item: Arrival | Refusal) -> None:
        """Move the simulated clock to ``item``, and wake at every deadline before it as a timer would."""
        now_ns = item.log_ns + self.source.clock_offset_ns
        while (due_ns := self._sync.next_deadline_ns) is not None and due_ns <= now_ns:
            self._answer(self._sync.poll(due_ns))
            if self._sync.next_deadline_ns == due_ns:
                break
        self._now_ns = now_ns

    def _refuse(self, item: Refusal) -> list[Released]:
        self._why[item.sensor] = AbsenceReason.NO_TRANSFORM if item.no_transform else AbsenceReason.INVALID
        return self._sync.note_invalid(item.sensor, item.stamp_ns, self._now_ns, item.reason)

    def _take(self, item: Arrival) -> list[Released]:
        payload = item.payload
        self._why.pop(payload.sensor, None)
        self._mounted[payload.sensor] = self.source.extrinsic(payload.sensor, payload.frame_id, payload.stamp_ns)
        self._decode_ns[payload.sensor, payload.stamp_ns] = item.decode_ns
        try:
            if isinstance(payload, PointCloud):
                return self._sync.add_cloud(payload, self._now_ns)
            return self._sync.add_image(payload, self._now_ns)
        except InputError as exc:
            self.source.complaints.setdefault(exc.reason, str(exc))
            return []

    def _answer(self, ready: list[Released]) -> None:
        for released in ready:
            self._answer_one(released)

    def _answer_one(self, released: Released) -> None:
        sensors = self._sensor_set(released)
        started = time.perf_counter_ns()
        try:
            result = self._pipeline.process(sensors, released.released_ns)
        except StampError as exc:
            self.refused[exc.reason] += 1
            self.source.complaints.setdefault(exc.reason, str(exc))
            return
        processed = time.perf_counter_ns()
        self._publish(result, released)
        encode_ns = time.perf_counter_ns() - processed
        decode_ns = self._decoding(released)
        stages = {"decode": decode_ns, **result.stage_ns, "encode": encode_ns}
        wall_ns = decode_ns + processed - started + encode_ns
        self._remember(result, wall_ns, stages)

    def _decoding(self, released: Released) -> int:
        """Wall time that the messages of a set took to decode; forgets what is older."""
        used = [(frame.sensor, frame.stamp_ns) for frame in released.cameras.values()]
        if released.cloud is not None:
            used.append((LIDAR, released.cloud.stamp_ns))
        spent = sum(self._decode_ns.get(key, 0) for key in used)
        if len(self._decode_ns) > 500:
            self._decode_ns = {k: v for k, v in self._decode_ns.items() if released.stamp_ns - k[1] < SAME_CLOCK_NS}
        return spent

    def _sensor_set(self, released: Released) -> SensorSet:
        return SensorSet(
            released.stamp_ns,
            released.cloud,
            released.cameras,
            {name: self._why.get(name, reason) for name, reason in released.absent.items()},
            self._config.camera_order,
            dict(self._mounted),
            self.source.pose_at(released.stamp_ns),
        )

    def _publish(self, result: FrameResult, released: Released) -> None:
        newest_ns = max(released.stamps_ns.values(), default=released.stamp_ns)
        waited_ns = max(0, released.released_ns - released.arrival_ns)
        publish_ns = newest_ns + waited_ns + PUBLISH_LATENCY_NS
        data = encode_track_array(result, ArrayHeader(publish_ns, len(self.record.frames)))
        self._tracks.write_raw(TRACKS_TOPIC, TRACKS_TYPE, data, publish_ns)

    def _remember(self, result: FrameResult, wall_ns: int, stages: dict[str, int]) -> None:
        index = len(self.record.frames)
        self.record.add(result, wall_ns, stages, sum(self.drops.values()))
        found = nearest(self._truth_stamps, result.sensors.stamp_ns)
        truth = None if found is None else self._truth[found]
        if truth is not None:
            self.score.add(result.tracks, truth, result.sensors)
            self.found.add(detections_as_tracks(result.detections), truth, result.sensors)
        self.gallery.take(index, result, self.record.names, None if truth is None else truth.tracks)

    def _on_reset(self, text: str) -> None:
        self.resets.append(text)
        self._pipeline.reset()


def _summary(job: ReplayJob, reader: BagReader, run: _Run) -> dict[str, Any]:
    topics, seen = run.source.topics, run.source.seen
    frames_in = seen[LIDAR] if topics.lidar else max(seen.values(), default=0)
    return {
        "bag": str(job.bag),
        "frames_in": frames_in,
        **run.record.summary(),
        "drops": run.drops,
        "mot": run.score.summary() if run.score.frames or run.score.unscored else None,
        "detections": _single_frame(run.found),
        "innovation": run.innovation(),
        "ego_motion": run.source.pose_source,
        "sensors": {"lidar": topics.lidar, **{camera.name: camera.image for camera in topics.cameras}},
        "messages_read": dict(sorted(seen.items())),
        "lacking": list(topics.lacking),
        "damage": _damage(reader, run),
        "lost_bytes": reader.lost_bytes,
        "complaints": dict(sorted(run.source.complaints.items())),
        "resets": run.resets,
        "points_dropped": dict(run.source.points_dropped),
        "first_stamp_ns": run.record.frames[0].stamp_ns if run.record.frames else None,
        "deterministic": True,
    }


def _single_frame(found: MotScore) -> dict[str, Any] | None:
    """How well frames were detected, tracking aside."""
    keys = (
        "frames",
        "recall",
        "precision",
        "objects",
        "matches",
        "false_positives",
        "centre_error_m",
        "recall_by_class",
    )
    scored = found.summary()
    return {key: scored[key] for key in keys} if found.frames else None


def _damage(reader: BagReader, run: _Run) -> list[str]:
    lines = reader.damage
    expected, there = reader.expected_messages, reader.count()
    if expected is not None and there < expected:
        lines.append(f"{expected - there} of {expected} messages that metadata.yaml promises are missing")
    if lines and run.record.frames:
        last_s = (run.record.frames[-1].stamp_ns - run.record.frames[0].stamp_ns) / 1e9
        lines.append(f"frames up to {last_s:.1f} s after the first were answered")
    return lines
