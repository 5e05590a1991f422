"""Plans, routing and the sequential tests of a canary."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import ConfigError
from percept_ros.inference.experiment import Plan, load_plan, read_plan, route
from percept_ros.inference.experiment_canary import CanaryPlan, CanaryTest, Sprt, Verdict

PLAN = """
name: int8
control: fp32
groups:
  fp32: {chain: [lidar_pillars], precision: fp32}
  int8: {chain: [lidar_pillars], precision: int8}
  soft: {chain: [lidar_pillars], share: 0.3}
shadow: [int8]
canary: {group: int8, share: 0.2}
"""
KEYS = [str(1_750_000_000_000_000_000 + i * 100_000_000) for i in range(20_000)]


def plan(text: str = PLAN) -> Plan:
    return read_plan(text, Path("/plans"))


def dealt(given: Plan, **options: object) -> Counter[str]:
    return Counter(route(given, key, given.groups, **options) for key in KEYS)  # type: ignore[arg-type]


def test_a_plan_is_read_with_its_folder_and_hash(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    found = load_plan(file)
    assert found.groups["fp32"].precision == "fp32"
    assert found.root == tmp_path / "models"
    assert found.sha256 != plan(PLAN + "\n").sha256
    with pytest.raises(ConfigError, match="cannot be read"):
        load_plan(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("control: fp32", "control: fp64", "'control' names group 'fp64'"),
        ("shadow: [int8]", "shadow: [x]", "'shadow' names group 'x'"),
        ("group: int8", "group: fp32", "is the control group"),
        ("share: 0.3", "share: 0.9", "sum up to 1.1"),
        ("precision: int8}", "precision: int8, share: 0.1}", "give its share there"),
        ("share: 0.3", "sahre: 0.3", "did you mean 'share'"),
        ("share: 0.2}", "share: 0.2, slow_ok: 0.5}", "must be below slow_bad"),
        ("soft:", "../up:", "must be named by letters"),
        ("name: int8", "name: [", "is no YAML"),
        ("name: int8", "sha256: x", "must hold a mapping"),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(old: str, new: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        plan(PLAN.replace(old, new, 1))


def test_groups_get_their_shares_and_a_key_always_the_same_group() -> None:
    given, salted = plan(), plan(PLAN + "salt: other\n")
    counts = dealt(given)
    assert counts["int8"] / len(KEYS) == pytest.approx(0.2, abs=0.01)
    assert counts["soft"] / len(KEYS) == pytest.approx(0.3, abs=0.01)
    assert dealt(given) == counts
    same = sum(route(given, key, given.groups) == route(salted, key, given.groups) for key in KEYS)
    assert same / len(KEYS) == pytest.approx(0.2**2 + 0.3**2 + 0.5**2, abs=0.02)


def test_a_stopped_or_absent_group_gives_its_share_to_control_and_deals_nobody_anew() -> None:
    given = plan()
    assert dealt(given, stopped=True)["int8"] == 0
    assert dealt(given, canary_share=0.0)["int8"] == 0
    for key in KEYS[:2000]:
        before = route(given, key, given.groups)
        for options in ({"stopped": True}, {"canary_share": 0.5}):
            after = route(given, key, given.groups, **options)  # type: ignore[arg-type]
            assert after in (before, "fp32", "int8")
            assert (before == "soft") == (after == "soft")
    assert route(given, next(k for k in KEYS if route(given, k, given.groups) == "soft"), ["fp32"]) == "fp32"


def test_the_ratio_test_by_hand() -> None:
    test = Sprt(0.1, 0.3, 0.01, 0.05)
    assert (test.upper, test.lower) == (pytest.approx(math.log(95.0)), pytest.approx(math.log(0.05 / 0.99)))
    assert [test.add(True) for _ in range(4)] == [Verdict.OPEN] * 4
    assert test.llr == pytest.approx(4 * math.log(3.0))
    assert test.add(True) is Verdict.REJECTED
    assert (test.events, test.trials) == (5, 5)


@pytest.mark.parametrize(("rate", "wanted", "limit"), [(0.1, Verdict.REJECTED, 0.01), (0.3, Verdict.ACCEPTED, 0.05)])
def test_error_rates_are_as_stated(rate: float, wanted: Verdict, limit: float) -> None:
    """Share of 4,000 simulated tests that err; Wald's bound plus three standard errors."""
    rng, wrong, runs = np.random.default_rng(0), 0, 4000
    for _ in range(runs):
        test = Sprt(0.1, 0.3, 0.01, 0.05)
        while test.verdict is Verdict.OPEN:
            test.add(bool(rng.random() < rate))
        wrong += test.verdict is wanted
    assert wrong / runs <= limit + 3 * math.sqrt(limit * (1 - limit) / runs)


def probation(latencies_ms: np.ndarray, failures: float = 0.0, differs: float = 0.0, frames: int = 1000) -> CanaryTest:
    rng = np.random.default_rng(1)
    test = CanaryTest(CanaryPlan("next"))
    for _ in range(frames):
        test.control(float(rng.choice(latencies_ms)))
        test.answered(bool(rng.random() >= failures), float(rng.choice(latencies_ms)) * 1.0)
        test.compared(0.9 if rng.random() < differs else 0.0)
        if test.stopped:
            break
    return test


LATENCIES = np.random.default_rng(0).lognormal(3.4, 0.3, 500)


def test_an_equal_canary_passes_rounds() -> None:
    state = probation(LATENCIES).state
    assert not state.stopped
    assert state.rounds >= 3
    assert state.rates["latency"] < 0.1


def test_a_failing_and_a_disagreeing_canary_are_stopped_soon_with_the_reason() -> None:
    failing, differing = probation(LATENCIES, failures=0.1).state, probation(LATENCIES, differs=0.5).state
    assert failing.reason.startswith("failure: ")
    assert differing.reason.startswith("disagreement: ")
    assert failing.frames < 200
    assert differing.frames < 40


def test_a_slow_canary_is_stopped_and_a_slow_machine_is_not_its_fault() -> None:
    slow, busy = CanaryTest(CanaryPlan("next")), CanaryTest(CanaryPlan("next"))
    rng = np.random.default_rng(2)
    for index in range(400):
        load = 1.0 if index < 100 else 4.0
        for test, factor in ((slow, 1.0), (busy, load)):
            test.control(float(rng.choice(LATENCIES)) * factor)
            test.control(float(rng.choice(LATENCIES)) * factor)
        slow.answered(True, 2.0 * float(rng.choice(LATENCIES)))
        busy.answered(True, float(rng.choice(LATENCIES)) * load)
    assert slow.state.reason.startswith("latency: ")
    assert slow.state.frames >= 20
    assert slow.state.rates["latency"] > 0.5


def test_a_stop_is_for_good() -> None:
    test = CanaryTest(CanaryPlan("next"), stopped="failure: before")
    for _ in range(1000):
        test.control(10.0)
        test.answered(True, 10.0)
        test.compared(0.0)
    assert test.state.reason == "failure: before"
