"""kill -9 at random moments, in small (the benchmark ``kills`` does a thousand)."""

from __future__ import annotations

from percept_ros.cli.bench import load


def test_kills_leave_no_segment_no_torn_frame_no_deadlock() -> None:
    result = load("kills").run(kills=20, seed=1)
    assert result["kills"] == 20
    assert result["frames_accepted"] > 0
    bad = ("torn_accepted", "wrong_answers", "deadlocks", "leaked_segments", "orphans")
    assert {key: result[key] for key in bad} == dict.fromkeys(bad, 0)
