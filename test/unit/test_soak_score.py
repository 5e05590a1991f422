"""Scores of hand-made soaks: the arrays, the evidence and the right answers are all written down here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from percept_ros.soak.array_reader import SeenTrack
from percept_ros.soak.lost import lost_tracks
from percept_ros.soak.page import faults_page
from percept_ros.soak.records import Records, Restart, Seen, Sent, Stall, Struck, read_seen
from percept_ros.soak.report import fault_rows, timeline
from percept_ros.soak.score import availability, find_lies, summarise, total_loss
from percept_ros.soak.spoil import ABSENT, GOOD, SPOILT
from percept_ros.soak.truth import Truth
from percept_ros.types import Mode, TrackState

MS = 1_000_000
CAMERAS = ("back", "front")
LATENCY_NS = 50 * MS


def seen(index: int, mode: Mode = Mode.FULL, late_ms: int = 0) -> Seen:
    """Array of the sensor set with stamp index * 100 ms, 50 ms later; monotonic clock and clock of stamps are equal."""
    stamp_ns = index * 100 * MS
    at_ns = stamp_ns + LATENCY_NS + late_ms * MS
    return Seen(at_ns, at_ns, stamp_ns, stamp_ns, at_ns, int(mode), sequence=index)


def sent(count: int, bad: dict[tuple[str, int], str] | None = None, fault: int = 0) -> list[Sent]:
    """Messages of all sensors for sets 1 to count; bad: (sensor, set) -> state."""
    made = []
    for index in range(1, count + 1):
        for sensor in ("lidar", *CAMERAS):
            state = (bad or {}).get((sensor, index), GOOD)
            made.append(Sent(sensor, index * 100 * MS, index * 100 * MS, state, fault if state != GOOD else -1))
    return made


def records(arrays: Sequence[Seen], messages: Sequence[Sent], **more: object) -> Records:
    answers = np.unique(np.array([m.stamp_ns for m in messages], np.int64))
    end_ns = max(m.sent_ns for m in messages) + LATENCY_NS
    return Records(150 * MS, end_ns, arrays, (), messages, answers, **more)  # type: ignore[arg-type]


def lies(given: Records) -> list[tuple[int, Mode, str]]:
    return [(s.stamp_ns // (100 * MS), best, why) for s, best, why in find_lies(given, Truth(given, CAMERAS))]


def test_a_run_without_faults_scores_one() -> None:
    summary = summarise(records([seen(i) for i in range(1, 51)], sent(50)), CAMERAS)
    assert summary["availability"] == 1.0
    assert summary["lies"] == summary["lost_tracks"] == summary["bad_slots"] == summary["out_of_order"] == 0
    assert summary["max_gap_ms"] == pytest.approx(100.0)


def test_full_without_a_camera_is_a_lie_and_reduced_is_none() -> None:
    messages = sent(10, {("front", 5): ABSENT, ("front", 6): ABSENT})
    arrays = [seen(i, Mode.REDUCED if i == 6 else Mode.FULL) for i in range(1, 11)]
    assert lies(records(arrays, messages)) == [(5, Mode.REDUCED, "without front")]


def test_a_message_that_came_after_the_array_cannot_have_been_used() -> None:
    messages = [replace(m, sent_ns=m.sent_ns + 300 * MS) if m.sensor == "front" else m for m in sent(10)]
    assert {why for _, _, why in lies(records([seen(i) for i in range(1, 11)], messages))} == {"without front"}


def test_a_network_mode_needs_an_answer_of_the_network() -> None:
    given = records([seen(i, Mode.GEOMETRIC if i == 4 else Mode.FULL) for i in range(1, 11)], sent(10))
    given.answers = np.setdiff1d(given.answers, np.array([300 * MS, 400 * MS]))
    assert lies(given) == [(3, Mode.FALLBACK_MODEL, "the first model did not answer this set")]


def test_nonsense_of_a_sensor_may_go_unnoticed_for_the_grace_only() -> None:
    messages = sent(20, {("front", i): SPOILT for i in range(3, 15)})
    wrong = [index for index, _, _ in lies(records([seen(i) for i in range(1, 21)], messages))]
    assert wrong == list(range(8, 15)), "grace of 0.5 s from the first spoilt message, at 0.3 s"


def test_without_a_sweep_only_coasting_is_true() -> None:
    messages = sent(10, {(name, i): ABSENT for name in ("lidar", *CAMERAS) for i in range(4, 7)})
    arrays = [seen(i, Mode.COASTING if i in (4, 5) else Mode.GEOMETRIC if i == 6 else Mode.FULL) for i in range(1, 11)]
    assert lies(records(arrays, messages)) == [(6, Mode.COASTING, "no sensor")]


def test_messages_to_a_dead_process_do_not_count() -> None:
    dead = [Restart("camera_front", 350 * MS, 650 * MS)]
    arrays = [seen(i) for i in range(1, 11)]
    assert [i for i, _, _ in lies(records(arrays, sent(10), restarts=dead))] == [4, 5, 6]


def test_old_data_may_only_be_called_coasting() -> None:
    old = replace(seen(8), publish_ns=8 * 100 * MS + 3000 * MS)
    given = records([*(seen(i) for i in range(1, 8)), old], sent(10))
    assert lies(given) == [(8, Mode.COASTING, "its data was 3000 ms old")]


def test_slots_without_a_fresh_truthful_array_are_bad() -> None:
    arrays = [seen(i) for i in range(1, 51) if not 20 <= i < 24]
    share, slots, bad = availability(records(arrays, sent(50)), np.array([s.at_ns for s in arrays]), [])
    assert (slots, bad) == (49, 2), "arrays at 1.95 s and 2.45 s: the slots that end at 2.25 s and 2.35 s"
    assert share == pytest.approx(1 - bad / slots)


def test_stale_arrays_and_lies_do_not_make_slots_good() -> None:
    messages = sent(50, {("lidar", i): ABSENT for i in range(20, 30)})
    lying = summarise(records([seen(i) for i in range(1, 51)], messages), CAMERAS)
    assert lying["lies"] == 10
    arrays = [seen(i, Mode.STALE if 20 <= i < 30 else Mode.FULL) for i in range(1, 51)]
    honest = summarise(records(arrays, messages), CAMERAS)
    assert honest["lies"] == 0
    assert honest["bad_slots"] == lying["bad_slots"] == 8, "good arrays at 1.95 s and 3.05 s; slots from 2.25 to 2.95 s"


def test_total_sensor_loss_beyond_the_coasting_limit_is_not_counted() -> None:
    bad = {(name, i): ABSENT for name in ("lidar", *CAMERAS) for i in range(10, 40)}
    messages = sent(50, bad)
    given = records([seen(i) for i in range(1, 51) if not 12 <= i < 40], messages)
    assert total_loss(given, 1000 * MS) == [(1900 * MS, 4000 * MS)]


def test_stalls_of_the_machine_are_told_apart() -> None:
    arrays = [seen(i) for i in range(1, 51) if not 20 <= i < 25]
    given = records(arrays, sent(50), stalls=[Stall(0, 1960 * MS, 2460 * MS)])
    summary = summarise(given, CAMERAS)
    assert summary["bad_slots"] == 3
    assert summary["bad_slots_outside_stalls"] == 0
    assert summary["machine_stalls"] == 1


def test_recovery_counts_from_the_end_of_the_condition() -> None:
    modes = dict.fromkeys(range(20, 33), Mode.GEOMETRIC)
    struck = Struck(0, "engine_slow", "worker", 1950 * MS, 2950 * MS)
    given = records([seen(i, modes.get(i, Mode.FULL)) for i in range(1, 51)], sent(50), strokes=[struck])
    entry = summarise(given, CAMERAS)["faults"]["engine_slow"]  # type: ignore[index]
    assert entry["recovery_s"] == pytest.approx(0.4), "FULL again with set 33, at 3.35 s"
    assert set(entry["modes"]) == {"GEOMETRIC", "FULL"}
    summary = summarise(given, CAMERAS)
    assert summary["recovery_to_full_s"] == entry["recovery_s"]
    assert summary["recovery_process_kill_s"] is None, "no node was killed"
    killed = records(given.seen, given.sent, strokes=[replace(struck, kind="kill_fusion")])
    assert summarise(killed, CAMERAS)["recovery_process_kill_s"] == entry["recovery_s"]
    assert entry["not_recovered"] == 0


def track(name: str, x_m: float, age_s: float, speed_mps: float = 0.0, state: int = TrackState.CONFIRMED) -> SeenTrack:
    return SeenTrack(name, int(state), x_m, 0.0, speed_mps, 0.0, 0.9, age_s, 0.0)


def test_an_object_that_goes_on_under_another_id_is_a_lost_track() -> None:
    struck = Struck(0, "engine_nan", "worker", 1000 * MS, 2000 * MS)
    before = replace(seen(9), tracks=(track("a", 10.0, 5.0, 10.0), track("b", 50.0, 5.0), track("young", 90.0, 0.3)))
    kept = (track("a", 31.0, 7.1, 10.0), track("b", 50.0, 7.0))
    changed = (track("c", 31.0, 0.8, 10.0), track("b", 50.0, 7.0), track("new", 90.0, 0.5))
    gone = (track("b", 50.0, 7.0), track("d", 70.0, 0.5))
    for after, lost in ((kept, 0), (changed, 1), (gone, 0)):
        assert lost_tracks([before, replace(seen(30), tracks=after)], struck, 9000 * MS) == lost


def test_a_sequence_number_that_goes_back_is_out_of_order() -> None:
    arrays = [replace(seen(i), sequence=i if i != 7 else 3) for i in range(1, 11)]
    assert summarise(records(arrays, sent(10)), CAMERAS)["out_of_order"] == 1


def test_the_report_draws_what_was_seen() -> None:
    struck = Struck(0, "engine_nan", "worker", 400 * MS, 500 * MS)
    given = records(
        [seen(i, Mode.GEOMETRIC if i == 5 else Mode.FULL) for i in range(1, 21)], sent(20), strokes=[struck]
    )
    assert "<svg" in timeline(given)
    summary = summarise(given, CAMERAS)
    assert fault_rows(summary)[0][:2] == ("engine_nan", 1)
    page = faults_page({"here": summary, "there": {**summary, "lies": 7}})
    assert "| lies | 0 | 7 | 0 |" in page
    assert "| `engine_nan` | every answer is NaN | 1 |" in page
    assert "{" not in page


def test_a_broken_line_is_counted_and_what_comes_after_it_is_read(tmp_path: Path) -> None:
    array = {"stamp_ns": 1, "oldest_ns": 1, "publish_ns": 2, "mode": 0, "absent": [], "model": "m", "sequence": 1}
    lines = [json.dumps({"at_ns": k, "wall_ns": k, **array, "tracks": []}) for k in range(4)]
    stall = json.dumps({"stall": 1, "from_ns": 5, "at_ns": 9})
    file = tmp_path / "seen.jsonl"
    file.write_text("\n".join([lines[0], lines[1][30:] + lines[1], stall, lines[2], lines[3][:20]]), encoding="utf-8")
    found = read_seen(file)
    assert [seen.at_ns for seen in found.seen] == [0, 2]
    assert (len(found.stalls), found.broken) == (1, 1)
