"""What a frame earns, how the ladder publishes it, and the page drawn from its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from percept_ros.config import HealthConfig
from percept_ros.health.diagram import markdown
from percept_ros.health.ladder import LADDER, Ladder, Observation, earned
from percept_ros.types import Mode

MS = 1_000_000
GOOD = Observation(lidar=True, cameras_used=2, cameras_total=2, model="net@int8")


def seen(**changes: object) -> Observation:
    return Observation(**{**{f: getattr(GOOD, f) for f in GOOD.__slots__}, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ({}, Mode.FULL),
        ({"cameras_used": 1}, Mode.REDUCED),
        ({"cameras_used": 0}, Mode.LIDAR_ONLY),
        ({"lidar": False}, Mode.CAMERA_ONLY),
        ({"lidar": False, "cameras_used": 0}, Mode.COASTING),
        ({"rank": 1}, Mode.FALLBACK_MODEL),
        ({"rank": 1, "model": "geometric"}, Mode.GEOMETRIC),
        ({"detected": False}, Mode.COASTING),
        ({"health": 0.6}, Mode.REDUCED),
        ({"health": 0.6, "rank": 1, "model": "geometric"}, Mode.COASTING),
        ({"health": 0.7}, Mode.FULL),
        ({"cameras_total": 0, "cameras_used": 0}, Mode.FULL),
    ],
)
def test_what_a_frame_earns(changes: dict[str, object], rung: Mode) -> None:
    assert earned(seen(**changes)) is rung


def run(ladder: Ladder, frames: list[Observation], start_ns: int = 0) -> list[Mode]:
    return [ladder.frame(frame, start_ns + i * 100 * MS).mode for i, frame in enumerate(frames)]


def test_first_frame_leaves_stale_at_once_and_a_missing_camera_steps_down_at_once() -> None:
    ladder = Ladder()
    assert ladder.standing.mode is Mode.STALE
    missing = seen(cameras_used=1, remarks="front late")
    assert run(ladder, [GOOD, missing]) == [Mode.FULL, Mode.REDUCED]
    assert ladder.standing.cause == "front late"


def test_one_bad_frame_costs_three_tenths_of_full() -> None:
    modes = run(Ladder(), [*[GOOD] * 25, seen(cameras_used=1), *[GOOD] * 6])
    assert modes[25:] == [Mode.REDUCED] * 3 + [Mode.FULL] * 4


def test_an_upgrade_that_did_not_last_doubles_the_dwell() -> None:
    modes = run(Ladder(), [GOOD, GOOD, seen(cameras_used=1), *[GOOD] * 8])
    assert modes[2:] == [Mode.REDUCED] * 6 + [Mode.FULL] * 3


def test_a_lost_engine_frame_coasts_and_is_full_within_three_tenths() -> None:
    modes = run(Ladder(), [GOOD, GOOD, seen(detected=False), GOOD, GOOD, GOOD])
    assert modes[2:] == [Mode.COASTING, Mode.COASTING, Mode.FULL, Mode.FULL]


def test_silence_coasts_then_is_stale_and_one_frame_ends_it() -> None:
    ladder = Ladder(HealthConfig(coast_limit_ms=1000.0))
    run(ladder, [GOOD])
    assert ladder.silence(150 * MS, 150 * MS).mode is Mode.COASTING
    assert ladder.silence(1000 * MS, 1000 * MS).mode is Mode.COASTING
    stale = ladder.silence(1100 * MS, 1100 * MS)
    assert (stale.mode, stale.cause) == (Mode.STALE, "no sensor set for 1100 ms")
    assert ladder.frame(GOOD, 1200 * MS).mode is Mode.FULL


def test_frames_without_detections_go_stale_too() -> None:
    modes = run(Ladder(HealthConfig(coast_limit_ms=500.0)), [GOOD, *[seen(detected=False)] * 7])
    assert modes == [Mode.FULL, *[Mode.COASTING] * 5, Mode.STALE, Mode.STALE]


def test_set_mode_is_a_ceiling() -> None:
    ladder = Ladder()
    ladder.hold(Mode.GEOMETRIC)
    assert run(ladder, [GOOD, GOOD]) == [Mode.GEOMETRIC, Mode.GEOMETRIC]
    assert "set-mode" in ladder.standing.cause
    ladder.hold(Mode.FULL)
    assert run(ladder, [GOOD] * 5, 200 * MS)[-1] is Mode.FULL


def test_a_clock_that_goes_back_does_not_freeze_the_ladder() -> None:
    ladder = Ladder()
    run(ladder, [GOOD, seen(cameras_used=1)], 3_600_000 * MS)
    assert run(ladder, [GOOD] * 8)[-1] is Mode.FULL


def test_the_table_lists_every_mode_in_order() -> None:
    assert tuple(rung.mode for rung in LADDER) == tuple(Mode)


def test_the_page_is_what_the_table_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "ladder.md"
    assert page.read_text(encoding="utf-8") == markdown(), "python -m percept_ros.health.diagram > docs/ladder.md"
