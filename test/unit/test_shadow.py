"""The known frame: the same answer keeps an engine, a wrong one takes it out until it is well, a late one changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_scene import scan, sensors

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.detectors.known_frame import known_frame
from percept_ros.detectors.shadow import Answer, ShadowTest, compare
from percept_ros.errors import DeadlineExceeded, InferenceError, WorkerDied
from percept_ros.types import Detections, ObjectClass, SensorSet


class Spoiled(GeometricDetector):
    """A real detector whose answers can be spoiled."""

    model = "spoiled"

    def __init__(self) -> None:
        super().__init__()
        self.spoil: str = ""

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        found = super().detect(sensors, deadline_ns=deadline_ns)
        if self.spoil == "moved":
            boxes = found.boxes.copy()
            boxes[:, 0] += 2.0
            return dataclasses.replace(found, boxes=boxes)
        if self.spoil == "nan":
            return dataclasses.replace(found, scores=found.scores * np.nan)
        errors = {"late": DeadlineExceeded, "raises": InferenceError, "dies": WorkerDied}
        if self.spoil:
            raise errors[self.spoil](f"it {self.spoil}")
        return found


def chain() -> tuple[DetectorChain, Spoiled, ShadowTest]:
    first = Spoiled()
    both = DetectorChain([first, GeometricDetector()])
    both.load()
    test = ShadowTest(both.subjects())
    test.learn()
    return both, first, test


ROAD = sensors(scan([(10.0, 2.0, 0.8, 4.5, 1.8, 1.6, 0.0)]))


def test_the_known_frame_holds_two_cars_and_a_pedestrian() -> None:
    assert known_frame() is known_frame()
    detector = GeometricDetector()
    detector.load()
    found = detector.detect(known_frame())
    sure = found.scores > 0.4
    assert sorted(found.class_ids[sure]) == [ObjectClass.CAR, ObjectClass.CAR, ObjectClass.PEDESTRIAN]


def test_engines_are_tested_in_turn_and_stay_in_use() -> None:
    both, _, test = chain()
    tested = [test.run() for _ in range(4)]
    assert [one.name() for one in tested if one] == ["spoiled", "geometric", "spoiled", "geometric"]
    assert [line.split(",")[0] for line in test.lines(0)] == ["spoiled: ok", "geometric: ok"]
    assert not test.suspects
    both.detect(ROAD)
    assert both.model == "spoiled"
    both.close()


@pytest.mark.parametrize("spoil", ["moved", "nan", "raises"])
def test_a_wrong_answer_takes_the_engine_out_until_it_is_right(spoil: str) -> None:
    both, first, test = chain()
    first.spoil = spoil
    tested = test.run()
    assert tested is not None
    assert tested.said.startswith("failed")
    assert test.suspects
    assert both.breakers[0] == "spoiled: open"
    both.detect(ROAD)
    assert (both.model, both.rank) == ("geometric", 1)
    first.spoil = ""
    both.detect(ROAD)
    assert both.model == "geometric", "out until the known answer is given, whatever the breaker's time"
    test.run()
    test.run()
    assert not test.suspects
    assert both.subjects()[0].said == "waiting"
    link = both._usable[0]
    assert not link.suspect
    link.breaker._until_ns = 0
    both.detect(ROAD)
    assert both.model == "spoiled"
    both.close()


@pytest.mark.parametrize(("spoil", "said"), [("late", "ok"), ("dies", "no answer")])
def test_no_answer_says_nothing_of_its_truth(spoil: str, said: str) -> None:
    both, first, test = chain()
    test.run()
    test.run()
    first.spoil = spoil
    tested = test.run()
    assert tested is not None
    assert tested.said.startswith(said)
    assert not test.suspects
    assert both.breakers[0] == "spoiled: closed"
    both.close()


def test_an_engine_without_an_answer_at_warm_up_is_told() -> None:
    first = Spoiled()
    first.spoil = "raises"
    both = DetectorChain([first])
    both.load()
    test = ShadowTest(both.subjects())
    test.learn()
    assert test.subjects[0].said == "failed: no answer at warm-up (it raises)"
    both.close()


def answer(*rows: tuple[float, float, float]) -> Answer:
    table = np.array(rows, float).reshape(-1, 3)
    return Answer(table[:, :2], table[:, 2])


def test_comparison_by_hand() -> None:
    known = answer((1, 1, 0.9), (5, 5, 0.5), (9, 9, 0.1))
    assert compare(known, known) == ""
    assert compare(known, answer((5.1, 5, 0.45), (1, 1.2, 0.85))) == "", "order, noise and weak boxes do not matter"
    assert compare(known, answer((1, 1, 0.9))) == "the answer to the known frame lacks 1 of 2 boxes"
    assert compare(known, answer((1, 1, 0.9), (5, 5, 0.2))) == "the answer to the known frame lacks 1 of 2 boxes"
    made_up = answer((1, 1, 0.9), (5, 5, 0.5), (20, 0, 0.6))
    assert compare(known, made_up) == "the answer to the known frame has made up 1 of 3 boxes"
    assert compare(answer(), answer()) == ""


def test_nothing_to_test() -> None:
    assert ShadowTest([]).run() is None
    assert ShadowTest([]).need_ns == 0
