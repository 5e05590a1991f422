"""What an array may claim, found from evidence that does not come from the node: what was sent when, which sensor sets the
model really answered, and when processes were dead.

An array is a lie when its mode is better than the evidence allows. Nothing that can be known from a single frame has any
grace. Two things need time to be noticed, and are declared: ``SEMANTIC_GRACE_S`` until a sensor that goes on sending
nonsense (frozen, black, noisy, wrong clock) must be noticed, and ``PAIR_NS``, how far a message's stamp may lie from the set's.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from percept_ros.soak.plan import LIDAR
from percept_ros.soak.records import Records, Seen, Sent
from percept_ros.soak.spoil import ABSENT, GOOD
from percept_ros.types import I64, Mode

PAIR_NS = 60_000_000
SEMANTIC_GRACE_S = 0.5
OLDEST_CLAIM_NS = 500_000_000
"""Sensor data older than this when published may not be called anything better than COASTING."""


class Truth:
    """Best mode that the evidence allows for each array."""

    def __init__(self, records: Records, cameras: Sequence[str]) -> None:
        self._cameras = tuple(cameras)
        self._sent: dict[str, list[Sent]] = defaultdict(list)
        for item in sorted(records.sent, key=lambda sent: sent.stamp_ns):
            self._sent[item.sensor].append(item)
        self._stamps: dict[str, I64] = {
            name: np.array([sent.stamp_ns for sent in items], np.int64) for name, items in self._sent.items()
        }
        self._answers = records.answers
        self._spoilt_since = _first_sent([sent for sent in records.sent if sent.state not in (GOOD, ABSENT)])
        self._dead = [(restart.name, restart.ended_ns, restart.started_ns) for restart in records.restarts]

    def best(self, seen: Seen) -> tuple[Mode, str]:
        """The best truthful mode of an array, and what forbids a better one."""
        if seen.publish_ns - seen.stamp_ns > OLDEST_CLAIM_NS:
            return Mode.COASTING, f"its data was {(seen.publish_ns - seen.stamp_ns) / 1e6:.0f} ms old"
        lidar = self._state(LIDAR, seen)
        used = [name for name in self._cameras if self._state(name, seen) != ABSENT]
        missing = [name for name in self._cameras if name not in used]
        if lidar == ABSENT:
            return (Mode.CAMERA_ONLY, "no sweep") if used else (Mode.COASTING, "no sensor")
        if not self._answered(seen.stamp_ns):
            return Mode.FALLBACK_MODEL, "the first model did not answer this set"
        if not used and self._cameras:
            return Mode.LIDAR_ONLY, "no camera"
        if missing:
            return Mode.REDUCED, f"without {', '.join(missing)}"
        nonsense = [name for name in (LIDAR, *self._cameras) if self._state(name, seen) != GOOD]
        return (Mode.REDUCED, f"nonsense from {', '.join(nonsense)}") if nonsense else (Mode.FULL, "")

    def _state(self, sensor: str, seen: Seen) -> str:
        """State of the nearest message of ``sensor`` that could have been used."""
        near = [sent for sent in self._near(sensor, seen.stamp_ns) if sent.sent_ns <= seen.at_ns]
        usable = [sent for sent in near if sent.state != ABSENT and not self._was_dead(sensor, sent)]
        if not usable:
            return ABSENT
        return GOOD if any(sent.state == GOOD or self._excused(sent) for sent in usable) else usable[0].state

    def _near(self, sensor: str, stamp_ns: int) -> list[Sent]:
        if sensor not in self._stamps:
            return []
        first, last = np.searchsorted(self._stamps[sensor], [stamp_ns - PAIR_NS, stamp_ns + PAIR_NS + 1])
        return self._sent[sensor][int(first) : int(last)]

    def _excused(self, sent: Sent) -> bool:
        """Whether the fault is so young that it need not have been noticed."""
        return sent.sent_ns - self._spoilt_since.get((sent.fault, sent.sensor), 0) < SEMANTIC_GRACE_S * 1e9

    def _was_dead(self, sensor: str, sent: Sent) -> bool:
        process = LIDAR if sensor == LIDAR else f"camera_{sensor}"
        return any(name == process and ended <= sent.sent_ns < started for name, ended, started in self._dead)

    def _answered(self, stamp_ns: int) -> bool:
        at = bisect.bisect_left(self._answers, stamp_ns)
        return at < len(self._answers) and int(self._answers[at]) == stamp_ns


def _first_sent(spoilt: Sequence[Sent]) -> dict[tuple[int, str], int]:
    first: dict[tuple[int, str], int] = {}
    for sent in spoilt:
        key = (sent.fault, sent.sensor)
        first[key] = min(sent.sent_ns, first.get(key, sent.sent_ns))
    return first
