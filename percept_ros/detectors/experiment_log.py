"""Records of an experiment: one line a frame and group, and the frames on which its answers differ most."""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from percept_ros.detectors.compare import Difference
from percept_ros.types import F32, Detections, SensorSet

ANSWER, SHADOW = "answer", "shadow"
RECENT, WORST, DRAWN_POINTS, LEAST_DIFFERENCE = 5000, 6, 20_000, 1e-4
LINES, FRAMES = "records.jsonl", "worst"
MAX_LINES = 2_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One group on one frame. role: answer (published) or shadow. against: group of the answer it was compared with, "" =
    not compared. against_ms: latency of that answer. fallback: why another group answered instead.
    """

    stamp_ns: int
    group: str
    role: str
    ok: bool
    ms: float
    boxes: int = 0
    model: str = ""
    error: str = ""
    fallback: str = ""
    against: str = ""
    against_ms: float = 0.0
    matched: int = 0
    only_against: int = 0
    only_here: int = 0
    class_changes: int = 0
    offset_m: float = 0.0
    score: float = 0.0
    disagreement: float = -1.0


def compared(record: Record, against: str, against_ms: float, found: Difference) -> Record:
    """The record with how it differs from another group's answer."""
    return Record(
        record.stamp_ns,
        record.group,
        record.role,
        record.ok,
        record.ms,
        record.boxes,
        record.model,
        record.error,
        record.fallback,
        against,
        round(against_ms, 3),
        found.matched,
        found.only_a,
        found.only_b,
        found.class_changes,
        round(found.offset_m, 4),
        round(found.score, 4),
        round(found.disagreement, 4),
    )


class ExperimentLog:
    """Thread-safe. folder: where records are kept too, "" = in memory only (the latest ``RECENT``)."""

    def __init__(self, folder: str = "") -> None:
        self.recent: deque[Record] = deque(maxlen=RECENT)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """(group, role, outcome) -> frames. Outcomes: ok, failed, skipped."""
        self.unwritten = 0
        self._lock = threading.Lock()
        self._folder = Path(folder) if folder else None
        self._file: IO[str] | None = None
        self._lines = 0
        self._worst: dict[str, list[tuple[float, int]]] = {}
        self._closed = False

    def add(self, record: Record) -> None:
        """Take a record in. A full disk loses lines, counted in ``unwritten``; nothing else."""
        with self._lock:
            self.recent.append(record)
            self.counts[record.group, record.role, "ok" if record.ok else "failed"] += 1
            if self._folder is None or self._closed:
                return
            try:
                self._write(self._folder, json.dumps(asdict(record), separators=(",", ":")))
            except OSError:
                self.unwritten += 1

    def _write(self, folder: Path, line: str) -> None:
        if self._file is None:
            (folder / FRAMES).mkdir(parents=True, exist_ok=True)
            self._file = (folder / LINES).open("a", encoding="utf-8")
        if self._lines >= MAX_LINES:
            raise OSError("the records are long enough")
        self._file.write(line + "\n")
        self._file.flush()
        self._lines += 1

    def skipped(self, group: str) -> None:
        """A shadow had no time for a frame."""
        with self._lock:
            self.counts[group, SHADOW, "skipped"] += 1

    def picture(self, record: Record, sensors: SensorSet, against: Detections, here: Detections) -> None:
        """Keep the frame when it is one of those on which this group differs most. Not for the hot path."""
        if self._folder is None or difference(record) < LEAST_DIFFERENCE:
            return
        worst = self._worst.setdefault(record.group, [])
        entry = (difference(record), record.stamp_ns)
        if len(worst) >= WORST and entry <= worst[0]:
            return
        heapq.heappush(worst, entry)
        try:
            _save(self._picture_file(record.group, record.stamp_ns), record, sensors, against, here)
            if len(worst) > WORST:
                self._picture_file(record.group, heapq.heappop(worst)[1]).unlink(missing_ok=True)
        except OSError:
            self.unwritten += 1

    def _picture_file(self, group: str, stamp_ns: int) -> Path:
        assert self._folder is not None
        return self._folder / FRAMES / f"{group}-{stamp_ns}.npz"

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()
                self._file = None


def difference(record: Record) -> float:
    """What frames are ranked by: objects first, then how far and how sure the matched ones are apart."""
    return record.disagreement + 0.1 * record.offset_m + 0.1 * abs(record.score)


def _save(file: Path, record: Record, sensors: SensorSet, against: Detections, here: Detections) -> None:
    np.savez_compressed(
        file,
        points=_points_base(sensors),
        against_boxes=against.boxes,
        against_scores=against.scores,
        here_boxes=here.boxes,
        here_scores=here.scores,
        record=np.array(json.dumps(asdict(record))),
    )


def _points_base(sensors: SensorSet) -> F32:
    cloud = sensors.cloud
    if cloud is None or cloud.sensor not in sensors.base_SE3:
        return np.zeros((0, 3), np.float32)
    pose = sensors.base_SE3[cloud.sensor].astype(np.float32)
    points = cloud.points[:: max(1, len(cloud.points) // DRAWN_POINTS)]
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3], np.float32)


def read_records(folder: Path) -> list[Record]:
    """All records of a folder; a line that was cut at the end is left out."""
    records = []
    for line in (folder / LINES).read_text(encoding="utf-8").splitlines():
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return records
