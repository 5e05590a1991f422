"""The ladder as a model: random event sequences, and every sequence of a small length."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

from percept_ros.health.ladder import LADDER, Standing, advance, dwell_ns
from percept_ros.types import Mode

MS = 1_000_000
PERIOD_NS = 100 * MS
SEQUENCES = 100_000


def changes(states: Iterable[Standing]) -> list[tuple[Mode, Mode]]:
    modes = [state.mode for state in states]
    return [(a, b) for a, b in itertools.pairwise(modes) if a is not b]


def check_step(before: Standing, after: Standing, rung: Mode, now_ns: int) -> None:
    assert after.mode >= rung, "the published mode is better than the frame earned"
    if rung > before.mode:
        assert after.mode is rung, "a step down waits"
    if after.mode < before.mode:
        need = LADDER[before.mode]
        good = sum(r <= after.mode for r in after.recent[-need.up_m :])
        assert good >= need.up_n, "a step up without its N of M"
        assert before.since_ns is None or now_ns - before.since_ns >= dwell_ns(before), "a step up before its dwell"
        assert after.raised_ns == now_ns
    if after.mode is not before.mode:
        assert after.since_ns == now_ns
        assert after.cause == f"frame {now_ns}", "a change keeps an old cause"
    else:
        assert after.cause == before.cause


def random_rungs(rng: random.Random, length: int) -> list[Mode]:
    pool = rng.sample(list(Mode), rng.choice((2, 2, 3, 8)))
    return rng.choices(pool, k=length)


def test_random_sequences_never_lie_flap_or_dead_end() -> None:
    rng = random.Random(6)
    for _ in range(SEQUENCES):
        state, now_ns, ups = Standing(), 0, []
        for rung in random_rungs(rng, rng.randint(3, 7)):
            now_ns += rng.choice((1, 30, 100, 100, 100, 700)) * MS
            before, state = state, advance(state, rung, f"frame {now_ns}", now_ns)
            check_step(before, state, rung, now_ns)
            if state.mode < before.mode and before.mode is not Mode.STALE:
                ups.append(now_ns)
        assert all(b - a >= 100 * MS for a, b in itertools.pairwise(ups))


def test_good_frames_lead_to_full_from_every_state() -> None:
    rng = random.Random(7)
    for _ in range(2_000):
        state, now_ns = Standing(), 0
        for rung in random_rungs(rng, rng.randint(0, 60)):
            now_ns += PERIOD_NS
            state = advance(state, rung, "", now_ns)
        for _ in range(56):
            now_ns += PERIOD_NS
            state = advance(state, Mode.FULL, "", now_ns)
        assert state.mode is Mode.FULL


def test_every_sequence_of_six_frames_over_four_rungs() -> None:
    rungs = (Mode.FULL, Mode.REDUCED, Mode.COASTING, Mode.STALE)
    reached: set[tuple[Mode, Mode]] = set()
    for sequence in itertools.product(rungs, repeat=6):
        state, now_ns = Standing(), 0
        for rung in sequence:
            now_ns += PERIOD_NS
            before, state = state, advance(state, rung, f"frame {now_ns}", now_ns)
            check_step(before, state, rung, now_ns)
            reached.add((before.mode, state.mode))
    down = {(a, b) for a in rungs for b in rungs if a < b}
    assert down <= reached
    assert {(Mode.STALE, Mode.FULL), (Mode.COASTING, Mode.FULL), (Mode.REDUCED, Mode.FULL)} <= reached


def test_a_fault_that_comes_back_every_second_changes_the_mode_ever_more_rarely() -> None:
    state, now_ns = Standing(), 0
    states = [state]
    for frame in range(600):
        now_ns += PERIOD_NS
        state = advance(state, Mode.REDUCED if frame % 10 == 9 else Mode.FULL, "", now_ns)
        states.append(state)
    faults = 30
    assert len(changes(states[300:])) <= 12 < faults, "the dwell has grown to five seconds: one round in six"
