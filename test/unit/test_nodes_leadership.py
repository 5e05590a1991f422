"""Leader and standby on one lease: who answers, with which tracks, and that numbers and ids go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from small_scene import BASE_SE3_LIDAR, scan

from percept_ros.build import build_pipeline
from percept_ros.config import Config, load_config
from percept_ros.nodes.leadership import Leadership, standby_config
from percept_ros.nodes.pulse import Pulse
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.lease import Lease, remove_lease
from percept_ros.types import FrameResult, Mode, PointCloud, SensorSet

NS = 10**9
CLOUD = scan([(10.0, 3.0, 0.8, 4.2, 1.8, 1.6, 0.0), (18.0, -4.0, 0.8, 4.2, 1.8, 1.6, 0.3)], beams=48, columns=900)


def sensors(index: int) -> SensorSet:
    stamp_ns = 100 * NS + index * NS // 10
    shine = np.random.default_rng(index).uniform(0, 1, len(CLOUD)).astype(np.float32)  # else the sweep would be frozen
    cloud = PointCloud("lidar", stamp_ns, "lidar", CLOUD, shine)
    return SensorSet(stamp_ns, cloud, {}, {}, (), {"lidar": BASE_SE3_LIDAR}, np.eye(4))


@dataclass
class End:
    """One process's side, without ROS."""

    pipeline: Pipeline
    pulse: Pulse
    lease: Lease
    leadership: Leadership
    sent: list[tuple[int, FrameResult]]
    took_ns: int = NS
    """How long a rehearsal takes."""

    def hear(self, index: int) -> FrameResult | None:
        """What the fusion worker does with a set; None when it is not answered here."""
        given = sensors(index)
        if not self.leadership.may_answer(given.stamp_ns):
            if self.leadership.rehearses():
                self.pipeline.process(given, given.stamp_ns)
                self.pipeline.tracker.reset()
                self.leadership.rehearsed(self.took_ns)
            return None
        result = self.pipeline.process(given, given.stamp_ns)
        done = self.lease.publish(lambda n: self.sent.append((n, result)), self.leadership.state(result))
        if done:
            self.pulse.heard(result, given.stamp_ns)
        return result if done else None


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    config = load_config(
        None,
        {
            "detector": {"chain": ["geometric", "geometric"], "isolation": "thread"},
            "fusion": {"standby": True, "takeover_ms": 30.0},
        },
    )
    name, sent = f"leadership-{os.getpid()}", list[tuple[int, FrameResult]]()
    with ExitStack() as stack:
        stack.callback(remove_lease, name)
        yield tuple(_end(stack, config, name, sent, standby) for standby in (False, True))  # type: ignore[misc]


def _end(stack: ExitStack, config: Config, name: str, sent: list[tuple[int, FrameResult]], standby: bool) -> End:
    rank = 0
    if standby:
        config, rank = standby_config(config)
    pipeline = stack.enter_context(build_pipeline(config, seed=7 + standby, from_rank=rank))
    pulse = Pulse(config, pipeline.ladder, 100 * NS)
    lease = stack.enter_context(Lease(name))
    return End(pipeline, pulse, lease, Leadership(lease, config, pipeline, pulse, standby), sent)


def wait_until_overdue(end: End) -> None:
    pause = threading.Event()
    while not end.leadership.overdue():
        assert end.leadership.wait_s < 1.0
        pause.wait(max(0.001, end.leadership.wait_s))


def test_a_standby_takes_the_last_model_and_its_rank() -> None:
    config, rank = standby_config(load_config(None, {"detector": {"chain": ["lidar_pillars", "geometric"]}}))
    assert config.detector.chain == ("geometric",)
    assert config.detector.isolation == "thread"
    assert rank == 1
    assert standby_config(load_config(None, {"detector": {"chain": ["geometric"]}}))[1] == 1, "never called the first"


def test_tracks_and_numbers_go_on_from_leader_to_standby_and_back(ends: tuple[End, End]) -> None:
    leader, standby = ends
    for index in range(8):
        assert leader.hear(index) is not None
        assert standby.hear(index) is None
    before = leader.sent[-1][1]
    assert before.mode is Mode.FULL
    assert len(before.tracks) >= 2

    wait_until_overdue(standby)
    standby.leadership.take()
    assert standby.lease.held
    answer = standby.hear(8)
    assert answer is not None
    assert answer.mode is Mode.GEOMETRIC
    assert set(map(bytes, answer.tracks.id)) == set(map(bytes, before.tracks.id))

    assert leader.hear(8) is None, "answered already"
    assert leader.lease.held, "but the lease is taken back with it"
    assert standby.hear(9) is None
    back = leader.hear(9)
    assert back is not None
    assert set(map(bytes, back.tracks.id)) == set(map(bytes, before.tracks.id))
    assert [number for number, _ in leader.sent] == list(range(10))


def test_a_leader_that_was_passed_over_in_the_middle_of_a_set_sends_nothing(ends: tuple[End, End]) -> None:
    leader, standby = ends
    leader.hear(0)
    result = leader.pipeline.process(sensors(1), 101 * NS)
    wait_until_overdue(standby)
    standby.leadership.take()
    assert not leader.lease.publish(lambda n: leader.sent.append((n, result)), None)
    assert len(leader.sent) == 1


def test_a_leader_that_comes_back_rehearses_while_the_standby_answers(ends: tuple[End, End]) -> None:
    leader, standby = ends
    standby.leadership.take()
    answered = []
    for index in range(6):
        assert standby.lease.held or leader.lease.held
        if standby.lease.held:
            standby.hear(index)
        answered.append(leader.hear(index) is not None)
    assert answered[0] is False
    assert answered[-1] is True
    assert len(leader.sent) == 6, "every set was answered by one of them"


@pytest.mark.parametrize(("took_ns", "rehearsals"), [(NS // 1000, 1), (NS, 3)])
def test_a_leader_that_comes_back_rehearses_until_it_is_quick(
    ends: tuple[End, End], took_ns: int, rehearsals: int
) -> None:
    leader, standby = ends
    leader.took_ns = took_ns
    standby.leadership.take()
    for index in range(rehearsals):
        standby.hear(index)
        assert leader.hear(index) is None
    standby.hear(rehearsals)
    leader.hear(rehearsals)
    assert leader.lease.held


def test_without_a_lease_a_process_always_leads(ends: tuple[End, End]) -> None:
    leader, _ = ends
    alone = Leadership(None, Config(), leader.pipeline, leader.pulse, standby=False)
    assert alone.leads
    assert alone.may_answer(1)
    assert not alone.overdue()
    assert alone.wait_s == float("inf")
