"""A canary on probation: three sequential tests say whether it fails, is slow or disagrees more often than allowed.

Each test is Wald's sequential probability ratio test of a rate: "at most ``ok``" against "at least ``bad``". With error rates
alpha and beta it stops the canary when the likelihood ratio reaches (1 - beta) / alpha, and accepts it at beta / (1 - alpha);
then the next round begins. The overall alpha is shared out among the three (Bonferroni), so a canary that is as good as
allowed is stopped in one round with probability at most alpha; one that is as bad as ``bad`` in any respect is accepted with
probability at most beta. Source: A. Wald, Sequential Tests of Statistical Hypotheses, Annals of Mathematical Statistics 16,
1945, sections 3.2 and 5.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

from percept_ros.settings import setting

CRITERIA = ("failure", "latency", "disagreement")
LEAST_CONTROL = 20
"""Latencies of the control group needed before the canary's are judged."""
CONTROL_WINDOW = 200


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """The group on probation and what it may do. A rate ``_ok`` is allowed, one of ``_bad`` must be found."""

    group: str = setting("", "group on probation")
    share: float = setting(0.05, "share of frames that it answers", low=0.0, high=1.0)
    alpha: float = setting(0.01, "chance a round of stopping a canary that is as good as allowed", low=1e-6, high=0.5)
    beta: float = setting(0.05, "chance a round of accepting one that is as bad as named", low=1e-6, high=0.5)
    failure_ok: float = setting(0.01, "allowed rate of failed frames", low=1e-6, high=1.0)
    failure_bad: float = setting(0.05, "rate of failed frames that must be found", low=1e-6, high=1.0)
    slower: float = setting(1.2, "a frame is slow above this many times the control group's P90", low=0.1, high=100.0)
    slow_ok: float = setting(0.1, "allowed rate of slow frames (an equal group has 0.1 or less)", low=1e-6, high=1.0)
    slow_bad: float = setting(0.3, "rate of slow frames that must be found", low=1e-6, high=1.0)
    disagreement: float = setting(
        0.5, "disagreement (1 - F1 of the boxes) above which a frame counts", low=0.0, high=1.0
    )
    disagree_ok: float = setting(0.1, "allowed rate of frames that disagree", low=1e-6, high=1.0)
    disagree_bad: float = setting(0.3, "rate of frames that disagree that must be found", low=1e-6, high=1.0)

    def problems(self) -> list[str]:
        """Rates that cannot be told apart."""
        pairs = {
            "failure": (self.failure_ok, self.failure_bad),
            "slow": (self.slow_ok, self.slow_bad),
            "disagree": (self.disagree_ok, self.disagree_bad),
        }
        return [
            f"canary.{name}_ok {ok:g} must be below {name}_bad {bad:g}, and that below 1"
            for name, (ok, bad) in pairs.items()
            if not ok < bad < 1.0
        ]


class Verdict(Enum):
    """What a sequential test says."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Sprt:
    """Wald's test of a rate. ``llr`` is the log likelihood ratio of ``bad`` to ``ok``; it stays at a bound once reached."""

    def __init__(self, ok: float, bad: float, alpha: float, beta: float) -> None:
        self.upper, self.lower = math.log((1.0 - beta) / alpha), math.log(beta / (1.0 - alpha))
        self._event, self._none = math.log(bad / ok), math.log((1.0 - bad) / (1.0 - ok))
        self.llr, self.events, self.trials = 0.0, 0, 0

    def add(self, event: bool) -> Verdict:
        """Take one trial in."""
        self.trials += 1
        self.events += event
        if self.verdict is Verdict.OPEN:
            self.llr += self._event if event else self._none
        return self.verdict

    @property
    def verdict(self) -> Verdict:
        """What it says now."""
        if self.llr >= self.upper:
            return Verdict.REJECTED
        return Verdict.ACCEPTED if self.llr <= self.lower else Verdict.OPEN


@dataclass(frozen=True, slots=True)
class CanaryState:
    """Where the probation stands. rounds: accepted in full. reason: why it was stopped, "" while it runs."""

    group: str
    stopped: bool
    reason: str
    rounds: int
    frames: int
    llr: dict[str, float]
    bounds: tuple[float, float]
    rates: dict[str, float]


class CanaryTest:
    """One probation. Calls from one thread at a time."""

    def __init__(self, plan: CanaryPlan, *, stopped: str = "") -> None:
        """stopped: why it was stopped before, "" = it was not."""
        self.plan = plan
        self.reason, self.rounds, self.frames = stopped, 0, 0
        self._control_ms: deque[float] = deque(maxlen=CONTROL_WINDOW)
        self._totals = {name: [0, 0] for name in CRITERIA}
        self._tests = self._fresh()

    @property
    def stopped(self) -> bool:
        """Whether the canary was stopped."""
        return bool(self.reason)

    def control(self, latency_ms: float) -> None:
        """The control group answered a frame."""
        self._control_ms.append(latency_ms)

    def answered(self, ok: bool, latency_ms: float) -> None:
        """The canary answered a frame, or failed to."""
        self.frames += 1
        self._add("failure", not ok)
        if ok and len(self._control_ms) >= LEAST_CONTROL:
            self._add("latency", latency_ms > self.plan.slower * self.control_p90_ms)

    def compared(self, disagreement: float) -> None:
        """The canary's answer was compared with the control group's on the same frame."""
        self._add("disagreement", disagreement > self.plan.disagreement)

    @property
    def control_p90_ms(self) -> float:
        """90th percentile of the control group's latest latencies."""
        ordered = sorted(self._control_ms)
        return ordered[int(0.9 * (len(ordered) - 1))] if ordered else math.inf

    @property
    def state(self) -> CanaryState:
        """A snapshot."""
        first = self._tests["failure"]
        rates = {name: events / trials if trials else 0.0 for name, (events, trials) in self._totals.items()}
        llr = {name: test.llr for name, test in self._tests.items()}
        bounds = (first.lower, first.upper)
        return CanaryState(self.plan.group, self.stopped, self.reason, self.rounds, self.frames, llr, bounds, rates)

    def _fresh(self) -> dict[str, Sprt]:
        plan = self.plan
        alpha = plan.alpha / len(CRITERIA)
        return {
            "failure": Sprt(plan.failure_ok, plan.failure_bad, alpha, plan.beta),
            "latency": Sprt(plan.slow_ok, plan.slow_bad, alpha, plan.beta),
            "disagreement": Sprt(plan.disagree_ok, plan.disagree_bad, alpha, plan.beta),
        }

    def _add(self, name: str, event: bool) -> None:
        if self.stopped:
            return
        total = self._totals[name]
        total[0] += event
        total[1] += 1
        test = self._tests[name]
        if test.add(event) is Verdict.REJECTED:
            self.reason = f"{name}: {test.events} of {test.trials} frames, {self._allowed(name):g} of them allowed"
        elif all(one.verdict is Verdict.ACCEPTED for one in self._tests.values()):
            self.rounds += 1
            self._tests = self._fresh()

    def _allowed(self, name: str) -> float:
        plan = self.plan
        return {"failure": plan.failure_ok, "latency": plan.slow_ok, "disagreement": plan.disagree_ok}[name]
