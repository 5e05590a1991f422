"""What a soak leaves behind, read back: arrays seen, what was sent, calls of the model, strokes and restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from percept_ros.detectors.drill import CALL
from percept_ros.soak.array_reader import SeenTrack
from percept_ros.types import I64


@dataclass(frozen=True, slots=True)
class Seen:
    """One array as the observer got it. at_ns: monotonic, wall_ns: clock of the stamps. invalid: why it is worth nothing."""

    at_ns: int
    wall_ns: int = 0
    stamp_ns: int = 0
    oldest_ns: int = 0
    publish_ns: int = 0
    mode: int = 7
    absent: tuple[str, ...] = ()
    model: str = ""
    sequence: int = 0
    tracks: tuple[SeenTrack, ...] = ()
    invalid: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A change of the published status."""

    at_ns: int
    topic: str
    mode: int
    cause: str
    health: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One sensor message of the drive. state: see soak/spoil.py."""

    sensor: str
    stamp_ns: int
    sent_ns: int
    state: str
    fault: int = -1


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault as it was played, monotonic times. pid: of what was killed. skipped: why it was not played."""

    number: int
    kind: str
    target: str
    begin_ns: int
    end_ns: int
    pid: int = 0
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A node process that ended and was started again."""

    name: str
    ended_ns: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class Stall:
    """A time in which not even the most urgent thread of a processor ran."""

    processor: int
    from_ns: int
    to_ns: int


@dataclass(slots=True)
class Records:
    """Everything about one run. start_ns, end_ns: monotonic. answers: stamps that the first model answered well (sorted).

    broken_lines: of the observer; what stood in them counts as not seen.
    """

    start_ns: int
    end_ns: int
    seen: Sequence[Seen] = ()
    said: Sequence[Said] = ()
    sent: Sequence[Sent] = ()
    answers: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    strokes: Sequence[Struck] = ()
    restarts: Sequence[Restart] = ()
    stalls: Sequence[Stall] = ()
    broken_lines: int = 0


_BROKEN = "broken"


class Observed(NamedTuple):
    """What the observer wrote down. broken: lines that cannot be read; each may have been an array."""

    seen: list[Seen]
    said: list[Said]
    stalls: list[Stall]
    broken: int


def read_seen(path: Path) -> Observed:
    """Lines of the observer; a last line cut short is left out."""
    broken = 0
    seen: list[Seen] = []
    said: list[Said] = []
    stalls: list[Stall] = []
    for tree in _lines(path):
        if _BROKEN in tree:
            broken += 1
        elif "stall" in tree:
            stalls.append(Stall(tree["stall"], tree["from_ns"], tree["at_ns"]))
        elif "status" in tree:
            said.append(Said(tree["at_ns"], tree["status"], tree["mode"], tree["cause"], tree["health"]))
        elif "invalid" in tree:
            seen.append(Seen(tree["at_ns"], tree["wall_ns"], invalid=tree["invalid"]))
        else:
            tracks = tuple(SeenTrack(*row) for row in tree.pop("tracks"))
            seen.append(Seen(**{**tree, "absent": tuple(tree["absent"])}, tracks=tracks))
    return Observed(seen, said, stalls, broken)


def read_sent(path: Path) -> list[Sent]:
    """Lines of the drive."""
    return [Sent(**tree) for tree in _lines(path) if _BROKEN not in tree]


def read_answers(path: Path) -> I64:
    """Sorted stamps of the sets that the drilled model answered well; empty without a file."""
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: len(raw) // CALL.size * CALL.size]
    return np.sort(np.array([stamp for stamp, _, _, good in CALL.iter_unpack(whole) if good], np.int64))


def last_caller(path: Path) -> int:
    """Process that answered last, 0 when none did."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            whole = file.tell() // CALL.size
            if not whole:
                return 0
            file.seek((whole - 1) * CALL.size)
            return int(CALL.unpack(file.read(CALL.size))[2])
    except OSError:
        return 0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every line; those that are broken under ``_BROKEN``, except a last one without its end."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                if line.endswith("\n"):
                    yield {_BROKEN: line}
