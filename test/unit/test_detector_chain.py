"""The chain of detectors under faults: the next member answers, breakers open and close, the deadline travels."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from percept_ros.detectors.chain import DetectorChain
from percept_ros.errors import ArtefactRefused, InferenceError, ModelError, NonFiniteOutput, WorkerDied
from percept_ros.inference.breaker import Breaker, BreakerSettings, BreakerState
from percept_ros.inference.engine import TensorSpec
from percept_ros.inference.fallback import FallbackEngine
from percept_ros.inference.scripted import ScriptedEngine, ScriptedStep
from percept_ros.types import Detections, PointCloud, SensorSet

EMPTY = SensorSet(1, None, {}, {}, (), {})
MS = 1_000_000
FAST = BreakerSettings(open_ns=MS, longest_open_ns=MS)
FOREVER = BreakerSettings(open_ns=10**15, longest_open_ns=10**15)


class Member:
    """Answers, or does what ``act`` does."""

    artefact_sha256 = ""

    def __init__(self, model: str, act: Callable[[int | None], None] = lambda deadline_ns: None) -> None:
        self.model, self.act = model, act
        self.calls, self.deadline_ns = 0, 0
        self.box = 1.0

    def load(self) -> None:
        if self.model == "refused":
            raise ArtefactRefused("sha256 differs")

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        self.calls, self.deadline_ns = self.calls + 1, deadline_ns or 0
        self.act(deadline_ns)
        box = np.full((1, 7), self.box)
        nothing = np.full((1, 2), np.nan)
        return Detections(sensors.stamp_ns, "base_link", box, np.ones(1), np.eye(8)[:1], nothing, np.ones(1, np.uint32))

    def close(self) -> None:
        pass


def fail(deadline_ns: int | None) -> None:
    raise InferenceError("a fault")


def chain(*members: Member, breaker: BreakerSettings = FOREVER) -> DetectorChain:
    made = DetectorChain(members, breaker)
    made.load()
    return made


def test_the_next_member_answers_and_the_rank_says_so() -> None:
    used = chain(Member("net", fail), Member("geometric"))
    used.detect(EMPTY)
    assert (used.model, used.rank, used.faults["net/InferenceError"]) == ("geometric", 1, 1)


def test_a_member_that_fails_three_times_is_left_alone_and_others_go_on() -> None:
    bad, good = Member("net", fail), Member("geometric")
    used = chain(bad, good)
    for _ in range(10):
        used.detect(EMPTY)
    assert (bad.calls, good.calls) == (3, 10)
    assert used.breakers == ("net: open", "geometric: closed")


def test_a_member_that_is_well_again_answers_first_again() -> None:
    bad, good = Member("net", fail), Member("geometric")
    used = chain(bad, good, breaker=BreakerSettings(open_ns=0, longest_open_ns=0))
    for _ in range(4):
        used.detect(EMPTY)
    bad.act = lambda deadline_ns: None
    for _ in range(3):
        used.detect(EMPTY)
    assert used.rank == 0
    assert used.breakers[0] == "net: closed"


def test_boxes_that_are_not_finite_are_a_fault() -> None:
    bad = Member("net")
    bad.box = np.nan
    used = chain(bad, Member("geometric"))
    used.detect(EMPTY)
    assert (used.rank, used.faults["net/NonFiniteOutput"]) == (1, 1)
    with pytest.raises(NonFiniteOutput):
        chain(bad).detect(EMPTY)


def test_the_only_member_is_called_though_its_breaker_is_open() -> None:
    bad = Member("net", fail)
    used = chain(bad)
    for _ in range(5):
        with pytest.raises(InferenceError):
            used.detect(EMPTY)
    assert bad.calls == 5
    bad.act = lambda deadline_ns: None
    assert len(used.detect(EMPTY)) == 1


def test_a_member_leaves_time_for_the_one_behind_it() -> None:
    first, second = Member("net"), Member("geometric")
    used = chain(first, second)
    deadline_ns = time.monotonic_ns() + 10_000 * MS
    used.detect(EMPTY, deadline_ns=deadline_ns)
    assert first.deadline_ns == deadline_ns - 20 * MS
    assert chain(second).detect(EMPTY, deadline_ns=deadline_ns)
    assert second.deadline_ns == deadline_ns


def test_a_member_that_would_not_finish_is_passed_over_for_a_cheaper_one() -> None:
    def until_deadline(deadline_ns: int | None) -> None:
        while deadline_ns is not None and time.monotonic_ns() < deadline_ns:
            pass
        raise InferenceError("cut off")

    slow, dear, cheap = Member("net", until_deadline), Member("large"), Member("geometric")
    used = chain(slow, dear, cheap)
    used._usable[1].breaker.record(True, 900 * MS, 0)
    used._usable[2].breaker.record(True, MS // 100, 0)
    used.detect(EMPTY, deadline_ns=time.monotonic_ns() + 40 * MS)
    assert (used.model, dear.calls) == ("geometric", 0)
    assert used.faults["large/no_time_left"] == 1


def test_set_mode_begins_further_down_the_chain() -> None:
    used = chain(Member("net"), Member("geometric"))
    used.first_rank = 1
    used.detect(EMPTY)
    assert used.model == "geometric"


def test_what_cannot_be_loaded_is_left_out_with_its_reason() -> None:
    used = chain(Member("refused"), Member("geometric"))
    used.detect(EMPTY)
    assert (used.rank, used.refused) == (1, ["sha256 differs"])
    with pytest.raises(ModelError, match="sha256 differs"):
        chain(Member("refused"))


def test_a_dead_worker_costs_one_answer_only() -> None:
    def die_once(deadline_ns: int | None) -> None:
        if net.calls == 1:
            raise WorkerDied("killed")

    net = Member("net", die_once)
    used = chain(net, Member("geometric"))
    ranks = [used.detect(EMPTY) and used.rank for _ in range(3)]
    assert ranks == [1, 0, 0]


def test_breaker_opens_on_slow_calls_and_doubles_its_time_with_each_relapse() -> None:
    breaker = Breaker(BreakerSettings(slow_ns=10, open_ns=100, longest_open_ns=350))
    for _ in range(6):
        breaker.record(True, 50, 0)
    assert breaker.state is BreakerState.OPEN
    opened, now_ns = [], 0
    for _ in range(4):
        start_ns = now_ns
        while not breaker.allows(now_ns):
            now_ns += 1
        opened.append(now_ns - start_ns)
        breaker.record(False, 1, now_ns)
    assert opened == [100, 200, 350, 350]


def test_breaker_tolerates_a_few_failures() -> None:
    breaker = Breaker()
    for index in range(100):
        breaker.record(index % 3 != 0, 1, 0)
    assert breaker.state is BreakerState.CLOSED


def scripted(name: str, *steps: ScriptedStep, width: int = 2) -> ScriptedEngine:
    spec = TensorSpec("x", (1, width), np.dtype(np.float32))
    answer = TensorSpec("y", (1, width), np.dtype(np.float32))
    return ScriptedEngine.of([spec], [answer], steps, name=name, repeat="last")


def test_fallback_engine_answers_with_the_next_engine_and_returns() -> None:
    first = scripted("first", *[ScriptedStep(fault="error")] * 2, ScriptedStep())
    engine = FallbackEngine([first, scripted("second")], FAST)
    engine.load()
    engine.warm_up()
    x = {"x": np.zeros((1, 2), np.float32)}
    answered = [engine.infer(x) and engine.answered for _ in range(4)]
    assert answered == [1, 1, 0, 0]
    assert engine.name == "fallback(first, second)"
    engine.close()
    engine.close()
    with pytest.raises(InferenceError):
        engine.infer(x)


def test_fallback_engine_refuses_engines_of_different_models() -> None:
    with pytest.raises(ArtefactRefused, match="differ"):
        FallbackEngine([scripted("first"), scripted("second", width=3)]).load()


class Ahead(Member):
    """A member that can be sent a sweep ahead, as one in a process of its own can."""

    takes_cameras = False
    sent = 0
    lost = False

    def begin(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> bool:
        self.sent += 1
        self.begun = sensors
        return True

    def finish(self) -> tuple[Detections, int] | None:
        return None if self.lost else (super().detect(self.begun), 5 * MS)


def with_cloud(stamp_ns: int = 1) -> SensorSet:
    cloud = PointCloud("lidar", stamp_ns, "lidar", np.zeros((1, 3), np.float32), None)
    return SensorSet(stamp_ns, cloud, {}, {}, (), {})


def soon() -> int:
    return time.monotonic_ns() + 10_000 * MS


def test_sweep_that_was_sent_ahead_is_answered_once() -> None:
    first = Ahead("first")
    made, sensors = chain(first, Member("second")), with_cloud()
    made.begin(sensors, deadline_ns=soon())
    made.begin(with_cloud(2), deadline_ns=soon())  # one at a time
    assert (first.sent, made.begun) == (1, True)
    assert made.detect(sensors).stamp_ns == 1
    assert (first.sent, first.calls, made.begun, made.rank) == (1, 1, False, 0)


def test_another_sweep_than_the_one_sent_ahead_is_detected_in_anew() -> None:
    first = Ahead("first")
    made = chain(first)
    made.begin(with_cloud(1), deadline_ns=soon())
    assert made.detect(with_cloud(2)).stamp_ns == 2
    assert not made.begun


def test_answer_that_was_lost_is_asked_for_again() -> None:
    first = Ahead("first")
    made, sensors = chain(first), with_cloud()
    first.lost = True
    made.begin(sensors, deadline_ns=soon())
    assert made.detect(sensors).stamp_ns == 1


def test_failure_of_a_sweep_sent_ahead_goes_to_the_next_member() -> None:
    first, second = Ahead("first", fail), Member("second")
    made, sensors = chain(first, second), with_cloud()
    made.begin(sensors, deadline_ns=soon())
    made.detect(sensors)
    assert (made.rank, second.calls) == (1, 1)


def test_time_of_a_call_sent_ahead_is_that_of_the_call_alone() -> None:
    made = chain(Ahead("first"), breaker=BreakerSettings(slow_ns=10 * MS, open_ns=10**15))
    for stamp_ns in range(1, 20):
        made.begin(sensors := with_cloud(stamp_ns), deadline_ns=soon())
        made.detect(sensors)
    assert made.breakers == ("first: closed",)


def test_nothing_is_sent_ahead_to_members_that_look_at_cameras_or_whose_breaker_is_not_closed() -> None:
    looks, failing = Ahead("looks"), Ahead("failing", fail)
    looks.takes_cameras = True
    for member in (looks, failing):
        made = chain(member, Member("second"))
        for stamp_ns in range(1, 6):
            made.detect(with_cloud(stamp_ns))
        made.begin(with_cloud(9), deadline_ns=soon())
        made.detect(with_cloud(9))
    assert looks.sent == 0
    assert failing.sent == 0
