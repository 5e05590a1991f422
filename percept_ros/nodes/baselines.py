"""Watches the figures of a running service against their baselines, in a thread of its own.

When a figure leaves what is usual for it, the slowest frames of the interval are exported, a profile is taken, the stage
that moved is named, and the owner is asked to step down for as long as it lasts, if the error budget burns as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from percept_ros.config import ObserveConfig
from percept_ros.health.baseline_monitor import BaselineEvent, BaselineMonitor, BaselineSettings
from percept_ros.health.baseline_store import BaselineStore
from percept_ros.health.burn_rate import ALERTS, BurnRate
from percept_ros.observe.figures import STAGE, Totals, figures, totals, violations
from percept_ros.observe.meter import Samples
from percept_ros.observe.record import slowest_stage
from percept_ros.observe.telemetry import Telemetry
from percept_ros.types import Mode

_STEP_S = 10.0
_SLOW_FRAMES = 3
_KEPT_HOURS = 30 * 24
_LATE = ("end_to_end", "queue_wait")


@dataclass(frozen=True, slots=True)
class Finding:
    """An event with what was found out about it. stage: that moved most ("" = none). traces: ids of slow frames.

    burning: whether the error budget burns faster than it may.
    """

    event: BaselineEvent
    stage: str
    traces: tuple[str, ...]
    burning: bool

    @property
    def asked(self) -> Mode:
        """The best mode that should be used while it lasts: the next model when detection is what is slow."""
        slow = self.event.kind == "raised" and self.event.value > self.event.expected
        return Mode.FALLBACK_MODEL if slow and self.burning and self.stage == "detect" else Mode.FULL

    @property
    def sheds(self) -> bool:
        """Whether work should be shed while it lasts: something else than detection makes frames late."""
        slow = self.event.kind == "raised" and self.event.value > self.event.expected
        late = self.event.metric in _LATE or self.event.metric.startswith(STAGE)
        return slow and late and self.burning and self.stage != "detect"


class Relief:
    """What all standing findings ask for together. Told by the watch's thread, read by others."""

    def __init__(self) -> None:
        self._standing: dict[str, Finding] = {}
        self.mode, self.sheds, self.turned = Mode.FULL, False, False
        """turned: whether the last finding made it shed, or not any more."""

    def take(self, finding: Finding) -> None:
        """A figure left its baseline, or is back."""
        if finding.event.kind == "raised":
            self._standing[finding.event.metric] = finding
        else:
            self._standing.pop(finding.event.metric, None)
        self.mode = max((one.asked for one in self._standing.values()), default=Mode.FULL)
        before, self.sheds = self.sheds, any(one.sheds for one in self._standing.values())
        self.turned = self.sheds is not before


def open_baselines(
    telemetry: Telemetry, held: ExitStack, on_finding: Callable[[Finding], None]
) -> BaselineWatch | None:
    """Watch a service until ``held`` unwinds, where a file for it is configured.

    Raises SetupError when the file cannot be opened.
    """
    if not telemetry.config.enabled or not telemetry.config.baseline_file:
        return None
    profile = telemetry.profiler.take if telemetry.profiler is not None else None
    watch = BaselineWatch(telemetry, telemetry.config, on_finding=on_finding, profile=profile)
    return held.enter_context(watch)


class BaselineWatch:
    """Start with ``start``, end with ``close``; ``step`` may be called directly (tests, replay).

    on_finding: called in the watch's thread. profile: takes a profile and returns its name.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        config: ObserveConfig,
        *,
        on_finding: Callable[[Finding], None] = lambda finding: None,
        profile: Callable[[str], str] | None = None,
    ) -> None:
        self._telemetry, self._config = telemetry, config
        self._on_finding, self._profile = on_finding, profile
        self.store = BaselineStore(Path(config.baseline_file).expanduser())
        settings = BaselineSettings(
            config.baseline_interval_s,
            config.baseline_sigma,
            config.baseline_n,
            config.baseline_m,
            config.baseline_trend_days,
        )
        limit_ms = telemetry.tier.limit_ns * 1e-6
        self.monitor = BaselineMonitor(self.store, settings, limits={"end_to_end": limit_ms, "queue_wait": 200.0})
        self.burn = BurnRate(config.availability, self.store.budget())
        self.relief = Relief()
        self._begun: Totals | None = None
        self._interval = -1
        self._interval_s = 0.0
        self._counted = (0, 0)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="baselines", daemon=True)
        self._register()

    def start(self) -> BaselineWatch:
        """Begin to watch."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching and close the file. Safe to call twice."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.store.close()

    def __enter__(self) -> BaselineWatch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, now_s: float) -> list[Finding]:
        """Look once. now_s: time of day in seconds."""
        families = self._telemetry.meter.collect()
        self._count_frames(now_s, violations(families))
        after, interval = totals(families), int(now_s // self._config.baseline_interval_s)
        if self._begun is None or interval == self._interval:
            if self._begun is None:
                self._begun, self._interval, self._interval_s = after, interval, now_s
            return []
        seconds = max(1e-3, now_s - self._interval_s)
        at_s = self._interval * self._config.baseline_interval_s
        made = figures(self._begun, after, seconds)
        self._begun, self._interval, self._interval_s = after, interval, now_s
        events = [event for name, value in made.items() if (event := self.monitor.add(name, at_s, value)) is not None]
        return [self._look_into(event, now_s, seconds) for event in events]

    def _count_frames(self, now_s: float, counted: tuple[int, int]) -> None:
        good, bad = counted[0] - self._counted[0], counted[1] - self._counted[1]
        self._counted = counted
        if good or bad:
            self.burn.add(now_s, good, bad)
            hour = int(now_s // 3600)
            with self.store.transaction():
                self.store.add_budget(hour, good, bad, hour - _KEPT_HOURS)

    def _look_into(self, event: BaselineEvent, now_s: float, seconds: float) -> Finding:
        traces: tuple[str, ...] = ()
        stage = self._stage_that_moved()
        if event.kind == "raised":
            since_ns = time.monotonic_ns() - int(seconds * 1e9)
            recent = [record for record in list(self._telemetry.recent) if record.end_ns >= since_ns]
            slow = sorted(recent, key=lambda record: -record.latency_ns)[:_SLOW_FRAMES]
            for record in slow:
                if not record.wanted:  # those that were wanted are out already
                    self._telemetry.export(record)
            traces = tuple(record.frame.trace_id for record in slow)
            stage = stage or (slowest_stage(slow[0]) if slow else "")
        finding = Finding(event, stage, traces, bool(self.burn.alerts(now_s)))
        self._say(finding)
        self.relief.take(finding)
        self._on_finding(finding)
        return finding

    def _stage_that_moved(self) -> str:
        moved = {name.removeprefix(STAGE): self.monitor.deviation(name) for name in self._begun or () if STAGE in name}
        stage = max(moved, key=lambda name: moved[name], default="")
        return stage if stage and moved[stage] > self._config.baseline_sigma / 2 else ""

    def _say(self, finding: Finding) -> None:
        event = finding.event
        profile = self._profile(f"{event.metric} {event.kind}") if self._profile and event.kind == "raised" else ""
        text = f"{event.metric}: {event.value:.2f}, usual {event.expected:.2f}"
        fields = {"stage": finding.stage, "traces": finding.traces, "profile": profile, "burning": finding.burning}
        self._telemetry.log.say("warning", f"baseline_{event.kind}/{event.metric}", text, fields=fields)

    def _run(self) -> None:
        while not self._end.wait(_STEP_S):
            try:
                self.step(time.time())
            except Exception as exc:  # a full disk must not end what is watched
                self._telemetry.log.say("error", "baseline_failed", f"{type(exc).__name__}: {exc}")

    def _register(self) -> None:
        meter = self._telemetry.meter
        windows = {f"{window_s}s": window_s for alert in ALERTS for window_s in (alert.long_s, alert.short_s)}

        def rates() -> Samples:
            now_s = time.time()
            return [((name,), self.burn.rate(window_s, now_s)) for name, window_s in windows.items()]

        meter.gauge("percept_error_budget_left_ratio", "error budget of 30 days that is left", read=self._budget)
        meter.gauge(
            "percept_burn_rate", "how fast the error budget is spent; 1 = just used up in 30 days", "window", read=rates
        )
        meter.gauge("percept_baseline_deviation_sigma", "mean of the last deviations", "figure", read=self._deviations)
        meter.gauge(
            "percept_baseline_raised", "1 while a figure is not what is usual for it", "figure", read=self._raised
        )

        meter.gauge(
            "percept_shedding",
            "1 while work should be shed: frames are unusually late, not by detection",
            read=lambda: [((), float(self.relief.sheds))],
        )

    def _budget(self) -> Samples:
        return [((), self.burn.budget_left)]

    def _deviations(self) -> Samples:
        return [((name,), self.monitor.deviation(name)) for name in self.monitor.names]

    def _raised(self) -> Samples:
        raised = self.monitor.raised
        return [((name,), float(name in raised)) for name in self.monitor.names]
