"""Sensor faults on serialised messages: what is really sent instead of a good message, and when. No clock, no ROS."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.soak.plan import LIDAR, Fault

_NS = 1_000_000_000
LATE_NS = 300_000_000
JUMP_NS = 3 * _NS
LOSS_SHARE = 0.4
_NOISE_M = 3.0
GOOD, SPOILT, ABSENT = "good", "spoilt", "absent"


@dataclass(frozen=True, slots=True)
class SensorMessage:
    """One serialised Image or PointCloud2 as recorded. payload: (first byte, count) of its data. point_step: of clouds."""

    sensor: str
    raw: bytes
    payload: tuple[int, int]
    point_step: int = 0


@dataclass(frozen=True, slots=True)
class Sending:
    """One message to send. due_ns: when, monotonic. stamp_ns: its header stamp. state: ``good``, ``spoilt`` or ``absent``
    (nothing usable reaches the node); raw is None when nothing is sent."""

    sensor: str
    due_ns: int
    stamp_ns: int
    raw: bytes | None
    state: str
    fault: int = -1


def payload_of(raw: bytes, count: int, tail: int) -> tuple[int, int]:
    """Where ``count`` data bytes lie in a message that has ``tail`` bytes behind them. Raises ValueError."""
    first = len(raw) - tail - count
    if first < 4 or struct.unpack_from("<I", raw, first - 4)[0] != count:
        raise ValueError(f"no sequence of {count} bytes {tail} bytes before the end of a message of {len(raw)}")
    return first, count


def stamped(raw: bytes, stamp_ns: int) -> bytes:
    """``raw`` (a type that begins with a Header) with another stamp."""
    return raw[:4] + struct.pack("<iI", stamp_ns // _NS, stamp_ns % _NS) + raw[12:]


class Spoiler:
    """Turns each message of the drive into what is sent while faults are active. One for all sensors, one thread."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = list(faults)
        self._rng = np.random.default_rng([seed, 43])
        self._last: dict[str, SensorMessage] = {}
        self._frozen: dict[tuple[int, str], SensorMessage] = {}

    def active(self, sensor: str, at_s: float) -> Fault | None:
        """The sensor fault that strikes ``sensor`` at ``at_s``."""
        for fault in self._faults:
            if fault.target in (sensor, "all") and fault.at_s <= at_s < fault.until_s:
                return fault
        return None

    def send(self, message: SensorMessage, at_s: float, due_ns: int, stamp_ns: int) -> list[Sending]:
        """What to send for ``message``, due ``at_s`` after the start, with ``stamp_ns`` as its true stamp."""
        fault = self.active(message.sensor, at_s)
        if fault is None:
            self._last[message.sensor] = message
            return [Sending(message.sensor, due_ns, stamp_ns, stamped(message.raw, stamp_ns), GOOD)]
        sent = self._spoil(fault, message, at_s, due_ns, stamp_ns)
        self._last[message.sensor] = message
        return sent

    def _spoil(self, fault: Fault, message: SensorMessage, at_s: float, due_ns: int, stamp_ns: int) -> list[Sending]:
        sensor, number = message.sensor, fault.number
        good = stamped(message.raw, stamp_ns)
        match fault.kind:
            case "sensor_late":
                return [Sending(sensor, due_ns + LATE_NS, stamp_ns, good, GOOD, number)]
            case "sensor_burst":
                until_ns = due_ns + int((fault.until_s - at_s) * 1e9)
                return [Sending(sensor, until_ns, stamp_ns, good, GOOD, number)]
            case "sensor_duplicated":
                return [Sending(sensor, due_ns + k * 1_000_000, stamp_ns, good, GOOD, number) for k in range(2)]
            case "clock_forward" | "clock_backward":
                moved_ns = stamp_ns + (JUMP_NS if fault.kind == "clock_forward" else -JUMP_NS)
                return [Sending(sensor, due_ns, moved_ns, stamped(message.raw, moved_ns), SPOILT, number)]
            case "corrupt_messages":
                return [Sending(sensor, due_ns, stamp_ns, self._corrupt(good), ABSENT, number)]
            case "message_loss" if self._rng.random() >= LOSS_SHARE:
                return [Sending(sensor, due_ns, stamp_ns, good, GOOD, number)]
            case "sensor_absent" | "message_loss":
                return [Sending(sensor, due_ns, stamp_ns, None, ABSENT, number)]
        changed = self._changed(fault, message)
        return [Sending(sensor, due_ns, stamp_ns, stamped(changed, stamp_ns), SPOILT, number)]

    def _changed(self, fault: Fault, message: SensorMessage) -> bytes:
        if fault.kind == "sensor_frozen":
            return self._frozen.setdefault((fault.number, message.sensor), self._last.get(message.sensor, message)).raw
        first, count = message.payload
        data = np.frombuffer(message.raw, np.uint8, count, first).copy()
        if message.sensor == LIDAR:
            points = data.reshape(-1, message.point_step)[:, :12].copy().view(np.float32)
            noisy = points + self._rng.normal(0.0, _NOISE_M, points.shape).astype(np.float32)
            points = noisy if fault.kind == "sensor_noisy" else np.full_like(points, np.nan)
            data.reshape(-1, message.point_step)[:, :12] = points.view(np.uint8)
        elif fault.kind == "sensor_noisy":
            data = self._rng.integers(0, 256, count, np.uint8)
        else:
            data[:] = 0
        return message.raw[:first] + data.tobytes() + message.raw[first + count :]

    def _corrupt(self, raw: bytes) -> bytes:
        """Cut in the middle, random bytes from somewhere on, or noise altogether."""
        way = int(self._rng.integers(3))
        if way == 0:
            return raw[: len(raw) // 2]
        keep = 4 if way == 1 else 16
        return raw[:keep] + self._rng.integers(0, 256, min(len(raw), 4096), np.uint8).tobytes()
