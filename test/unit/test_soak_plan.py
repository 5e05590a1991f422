"""The plan of a soak, and what its sensor faults do to messages."""

from __future__ import annotations

import struct
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import ConfigError
from percept_ros.soak.plan import BY_NAME, LIDAR, Fault, Plan, compares_tracks, make_plan
from percept_ros.soak.spoil import ABSENT, GOOD, JUMP_NS, LATE_NS, SPOILT, SensorMessage, Spoiler, payload_of

CAMERAS = ("back", "front")


def test_ten_minutes_strike_every_kind_five_times_and_leave_room_between() -> None:
    plan = make_plan(600.0, 1, CAMERAS, loop_s=30.0)
    counts = Counter(fault.kind for fault in plan.faults)
    assert set(counts) == set(BY_NAME)
    assert min(counts.values()) >= 5
    starts = [fault.at_s for fault in plan.faults]
    assert all(b - a > 3.0 for a, b in pairwise(starts))
    assert plan.faults[-1].until_s < 600.0
    struck = {fault.target for fault in plan.faults if fault.kind == "sensor_absent"}
    assert struck == {LIDAR, *CAMERAS}


def test_engine_faults_keep_clear_of_the_seam_of_the_drive() -> None:
    for fault in make_plan(600.0, 3, CAMERAS, loop_s=30.0).faults:
        if compares_tracks(fault.kind):
            assert 2.0 <= fault.at_s % 30.0 <= 27.0, fault


def test_a_plan_is_repeatable_and_survives_its_file(tmp_path: Path) -> None:
    plan = make_plan(120.0, 7, CAMERAS)
    assert plan == make_plan(120.0, 7, CAMERAS)
    assert plan != make_plan(120.0, 8, CAMERAS)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_unknown_kinds_and_short_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="earthquake"):
        make_plan(600.0, 1, CAMERAS, kinds=("earthquake",))
    with pytest.raises(ConfigError, match="at least"):
        make_plan(20.0, 1, CAMERAS)
    assert make_plan(5.0, 1, CAMERAS, kinds=()).faults == ()


HEAD = b"\0\1\0\0" + struct.pack("<iI", 1, 2) + b"\0\0\0\0"


def message(sensor: str, data: bytes, tail: int, step: int = 0) -> SensorMessage:
    raw = HEAD + struct.pack("<I", len(data)) + data + b"\1" * tail
    return SensorMessage(sensor, raw, payload_of(raw, len(data), tail), step)


def image(value: int) -> SensorMessage:
    return message("front", bytes([value]) * 300, 0)


def sweep() -> SensorMessage:
    points = np.zeros(50, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
    points["x"] = np.arange(50)
    return message(LIDAR, points.tobytes(), 1, 16)


def play(kind: str, sent: SensorMessage, at_s: float = 1.5) -> list[tuple[int, int, bytes | None, str]]:
    fault = Fault(3, kind, sent.sensor if kind != "message_loss" else "all", 1.0, 1.0, 5)
    spoiler = Spoiler([fault], seed=1)
    before = spoiler.send(image(7) if sent.sensor == "front" else sent, 0.5, 500, 900)
    assert [(s.due_ns, s.stamp_ns, s.state) for s in before] == [(500, 900, GOOD)]
    return [(s.due_ns, s.stamp_ns, s.raw, s.state) for s in spoiler.send(sent, at_s, 1000, 2 * 10**9)]


def test_what_each_sensor_fault_sends() -> None:
    ((due, stamp, raw, state),) = play("sensor_late", image(9))
    assert (due, stamp, state) == (1000 + LATE_NS, 2 * 10**9, GOOD)
    assert raw is not None
    assert struct.unpack_from("<iI", raw, 4) == (2, 0)
    ((due, _, _, _),) = play("sensor_burst", image(9))
    assert due == 1000 + 500_000_000
    assert len(play("sensor_duplicated", image(9))) == 2
    assert play("sensor_absent", image(9))[0][2:] == (None, ABSENT)
    ((_, stamp, _, state),) = play("clock_backward", image(9))
    assert (stamp, state) == (2 * 10**9 - JUMP_NS, SPOILT)
    ((_, _, raw, state),) = play("sensor_frozen", image(9))
    assert raw is not None
    assert (raw[-1], state) == (7, SPOILT), "the last content before the fault"
    assert play("corrupt_messages", image(9))[0][3] == ABSENT
    assert play("sensor_late", image(9), at_s=2.5)[0][0] == 1000, "the fault is over"


def test_black_and_noise_of_images_and_sweeps() -> None:
    ((_, _, black, _),) = play("sensor_black", image(9))
    assert black is not None
    assert set(black[-300:]) == {0}
    ((_, _, noisy, _),) = play("sensor_noisy", image(9))
    assert noisy is not None
    assert np.frombuffer(noisy[-300:], np.uint8).std() > 40
    ((_, _, emptied, _),) = play("sensor_black", sweep())
    ((_, _, rough, _),) = play("sensor_noisy", sweep())
    assert emptied is not None
    assert rough is not None
    layout = [("xyz", "<f4", 3), ("intensity", "<f4")]
    assert np.isnan(np.frombuffer(emptied[-801:-1], layout)["xyz"]).all()
    moved = np.frombuffer(rough[-801:-1], layout)["xyz"][:, 0] - np.arange(50)
    assert 1.5 < moved.std() < 5.0


def test_a_payload_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no sequence"):
        payload_of(HEAD + struct.pack("<I", 10) + bytes(10), 9, 0)
