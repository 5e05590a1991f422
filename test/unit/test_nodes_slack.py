"""The shadow test runs between sensor sets, when the time until the next one suffices, and never before that is known."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.detectors.shadow import ShadowTest, Subject, known_call
from percept_ros.nodes.slack import ShadowSlack

SECOND_NS = 1_000_000_000


def geometric() -> ShadowTest:
    detector = GeometricDetector()
    detector.load()
    subject = Subject(lambda: "geometric", known_call(detector.detect), lambda: None, lambda: None)
    test = ShadowTest([subject])
    test.learn()
    return test


def slack_of(test: ShadowTest, gap_ns: int) -> ShadowSlack:
    slack = ShadowSlack(lambda: test, period_s=1e-9)
    slack.answered()
    slack._gaps_ns.extend([gap_ns] * 5)
    return slack


def test_it_runs_when_there_is_time() -> None:
    test = geometric()
    tested = slack_of(test, 3600 * SECOND_NS).use()
    assert tested is not None
    assert tested.said == "ok"
    assert tested.runs == 1


def test_it_waits_when_the_next_set_is_near_late_or_unknown() -> None:
    test = geometric()
    test.subjects[0].typical_ns = 10 * SECOND_NS
    assert slack_of(test, 15 * SECOND_NS).use() is None, "twice its usual time must be left"
    assert slack_of(test, 1).use() is None, "the next set is late"
    assert ShadowSlack(lambda: test, period_s=1e-9).use() is None, "nothing was answered yet"
    assert test.subjects[0].runs == 0


def test_a_period_of_zero_means_never_and_a_suspect_is_asked_again_soon() -> None:
    test = geometric()
    slack = slack_of(test, 3600 * SECOND_NS)
    slack._period_ns = 0
    assert slack.use() is None
    slack._period_ns = 3600 * SECOND_NS
    slack._ran_ns -= 2 * SECOND_NS
    assert slack.use() is None, "an hour is not over"
    test.subjects[0].said = "failed: by hand"
    tested = slack.use()
    assert tested is not None
    assert tested.said == "ok"
