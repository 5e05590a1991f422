"""A detector chain of several groups: which one answers is decided frame by frame, the others may look on.

The plan can change while it runs: a new one is read and its models are loaded beside the path of frames, then one
reference is exchanged between two frames. A plan that cannot be used changes nothing and is told in ``state``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from percept_ros.config import ExperimentConfig
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment_judge import Judge, experiment_state
from percept_ros.detectors.experiment_log import ANSWER, ExperimentLog, Record
from percept_ros.detectors.experiment_plan import PlanFile, stopped_before
from percept_ros.detectors.experiment_setup import OpenGroup, Setup, prepare
from percept_ros.detectors.experiment_shadow import ShadowFrame
from percept_ros.detectors.shadow import Subject
from percept_ros.errors import InferenceError, ModelError, PerceptError, WorkerDied
from percept_ros.inference.experiment import Plan, route
from percept_ros.types import Detections, SensorSet


class ExperimentDetector(DetectorChain):
    """Satisfies what the pipeline wants of a chain; ``group`` names who answered last.

    open_group: makes a group's chain. wait: shadows are waited for (replay). shadow_ms: budget of a candidate.
    """

    def __init__(
        self, config: ExperimentConfig, open_group: OpenGroup, *, wait: bool = False, shadow_ms: float = 1000.0
    ) -> None:
        self._setup: Setup | None = None
        self._first_rank = 0
        super().__init__([])
        self._config, self._open_group, self._wait, self._shadow_ms = config, open_group, wait, shadow_ms
        self._file = PlanFile(config.plan)
        self._next: Setup | None = None
        self._retired: list[Setup] = []
        self._asked = ("", "")
        self._arm: DetectorChain | None = None
        self._trouble = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self.log = ExperimentLog(config.log)
        self.on_change: Callable[[str], None] = lambda text: None
        """Called from any thread with what happened: a new plan, a refused one, a canary that was stopped."""
        self._judge = Judge(self.log, lambda: self._file.path, lambda text: self.on_change(text))

    # Life

    def load(self) -> None:
        """Read the plan and load every group. Raises ConfigError for the plan, ModelError when the control group cannot be used."""
        self._setup = self._prepare(self._file.read())
        self._arm = self._setup.arms[self._setup.plan.control]
        self.refused = [f"group '{name}': {note}" for name, note in self._setup.notes.items()]
        if self._config.watch_s > 0:
            self._watcher = threading.Thread(target=self._watch, name="percept-experiment", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """Close every group. Safe to call twice."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(30.0)
            self._watcher = None
        for setup in [s for s in (self._setup, self._next) if s is not None] + self._retired:
            setup.close()
        self._setup = self._next = self._arm = None
        self._retired = []
        self.log.close()

    # What the pipeline asks

    def ask(self, group: str = "", shadow: str = "") -> None:
        """Wishes for the next frame only: who shall answer it, who shall see it too."""
        self._asked = (group, shadow)

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """The answer of the frame's group; of the control group when that one fails. Raises the control group's error."""
        setup = self._current()
        wished, also = self._asked
        self._asked = ("", "")
        self.group = self._choose(setup, sensors, wished)
        setup.frames += 1
        begin_ns = time.monotonic_ns()
        found, ms = self._answer(setup, sensors, deadline_ns, begin_ns)
        self._show(setup, ShadowFrame(sensors, found, self.group, ms, self._lookers(setup, also)))
        return found

    def begin(self, sensors: SensorSet, *, deadline_ns: int) -> None:
        """Nothing: which group answers is decided with the whole set."""

    def _choose(self, setup: Setup, sensors: SensorSet, wished: str) -> str:
        plan, config = setup.plan, self._config
        wished = wished or config.group
        stopped = setup.canary is not None and setup.canary.stopped
        if wished in setup.arms and not (stopped and plan.canary and wished == plan.canary.group):
            return wished
        key = config.vehicle if plan.route == "vehicle" else str(sensors.stamp_ns)
        return route(plan, key, setup.arms.keys(), canary_share=config.canary_share, stopped=stopped)

    def _answer(
        self, setup: Setup, sensors: SensorSet, deadline_ns: int | None, begin_ns: int
    ) -> tuple[Detections, float]:
        control, group, why = setup.plan.control, self.group, ""
        if group != control:
            try:
                return self._run(setup, group, sensors, _first_half(deadline_ns, begin_ns), begin_ns, "")
            except (InferenceError, ModelError, WorkerDied) as exc:
                why = f"{group} failed: {type(exc).__name__}"
        self.group = control
        return self._run(setup, control, sensors, deadline_ns, begin_ns, why)

    def _run(
        self,
        setup: Setup,
        group: str,
        sensors: SensorSet,
        deadline_ns: int | None,
        begin_ns: int,
        fallback: str,
    ) -> tuple[Detections, float]:
        arm, own_ns, error = setup.arms[group], time.monotonic_ns(), ""
        try:
            found = arm.detect(sensors, deadline_ns=deadline_ns)
            self._arm = arm
            return found, (time.monotonic_ns() - begin_ns) * 1e-6
        except Exception as exc:
            error = type(exc).__name__
            raise
        finally:
            ms = (time.monotonic_ns() - own_ns) * 1e-6
            count = len(found) if not error else 0
            record = Record(sensors.stamp_ns, group, ANSWER, not error, round(ms, 3), count, arm.model, error, fallback)
            self._judge.answered(setup, record)

    def _lookers(self, setup: Setup, also: str) -> tuple[str, ...]:
        """Groups that shall see this frame beside the one that answered."""
        if setup.shadow is None:
            return ()
        plan = setup.plan
        wanted = list(plan.shadow) if setup.frames % plan.shadow_every == 0 else []
        if plan.canary is not None and self.group == plan.canary.group:
            wanted.append(plan.control)
        if also:
            wanted.append(also)
        return tuple(name for name in dict.fromkeys(wanted) if name in setup.shadow.groups and name != self.group)

    def _show(self, setup: Setup, frame: ShadowFrame) -> None:
        if setup.shadow is not None and frame.groups:
            setup.shadow.offer(frame, wait=self._wait)

    def settle(self) -> bool:
        """Wait until the shadows saw what they were shown."""
        return self._setup is None or self._setup.shadow is None or self._setup.shadow.settle()

    @property
    def model(self) -> str:
        """Model that answered last."""
        return self._arm.model if self._arm else ""

    @property
    def artefact_sha256(self) -> str:
        """Hash of what answered last."""
        return self._arm.artefact_sha256 if self._arm else ""

    @property
    def rank(self) -> int:
        """Position of the detector that answered last, in the chain of its group."""
        return self._arm.rank if self._arm else 0

    @property
    def first_rank(self) -> int:
        """Members before it are skipped, in every group."""
        return self._first_rank

    @first_rank.setter
    def first_rank(self, rank: int) -> None:
        self._first_rank = rank
        for arm in self._arms.values():
            arm.first_rank = rank

    @property
    def models(self) -> tuple[str, ...]:
        """Models of all groups, as ``group/model``."""
        return tuple(f"{name}/{model}" for name, arm in self._arms.items() for model in arm.models)

    @property
    def members(self) -> tuple[Any, ...]:
        """Every detector of every group."""
        return tuple(member for arm in self._arms.values() for member in arm.members)

    @property
    def ranks(self) -> dict[str, int]:
        """Model -> its position in the chain of its group."""
        return {model: rank for arm in self._arms.values() for model, rank in arm.ranks.items()}

    @property
    def breakers(self) -> tuple[str, ...]:
        """State of every breaker, as ``group/model: state``."""
        return tuple(f"{name}/{text}" for name, arm in self._arms.items() for text in arm.breakers)

    @property
    def takes_cameras(self) -> bool:
        """Whether a group can detect in images."""
        return any(arm.takes_cameras for arm in self._arms.values())

    def subjects(self) -> list[Subject]:
        """Those of the control group: it is what others are compared with."""
        return self._setup.arms[self._setup.plan.control].subjects() if self._setup else []

    @property
    def _arms(self) -> Mapping[str, DetectorChain]:
        return self._setup.arms if self._setup else {}

    # Change

    def configure(self, config: ExperimentConfig) -> None:
        """Take over changed parameters, from any thread: group and share at once, another plan when it is loaded."""
        if config.plan != self._config.plan:
            self._file = PlanFile(config.plan)
        self._config = config

    def look(self) -> None:
        """Look whether the plan changed, and load the new one. Raises ConfigError or ModelError, and then nothing changes."""
        plan = self._file.changed(self._setup.plan.sha256 if self._setup else "")
        if plan is not None:
            made = self._prepare(plan)
            with self._lock:
                unused, self._next = self._next, made
            if unused is not None:
                unused.close()
            self._trouble = ""
            self.on_change(f"experiment '{plan.name}' ({plan.sha256[:8]}) is loaded and takes over with the next frame")
        while self._retired:
            self._retired.pop().close()

    def _watch(self) -> None:
        while not self._stop.wait(self._config.watch_s):
            try:
                self.look()
            except PerceptError as exc:
                if str(exc) != self._trouble:
                    self._trouble = str(exc)
                    self.on_change(f"the experiment stays as it was: {exc}")

    def _current(self) -> Setup:
        if self._next is not None:
            with self._lock:
                before, self._setup, self._next = self._setup, self._next, None
            if before is not None:
                self._retired.append(before)
                _report_calls_as(before, self.members)
            self.first_rank = self._first_rank
        if self._setup is None:
            raise InferenceError("experiment is used before load or after close")
        return self._setup

    def _prepare(self, plan: Plan) -> Setup:
        stopped = stopped_before(self._file.path, plan)
        return prepare(
            plan, self._open_group, self.log, self._judge.compared, shadow_ms=self._shadow_ms, stopped=stopped
        )

    @property
    def state(self) -> dict[str, Any]:
        """Everything worth knowing, for status and reports."""
        return experiment_state(self._setup, self.log, self._trouble) if self._setup is not None else {}


def _report_calls_as(before: Setup, members: Sequence[Any]) -> None:
    """Calls of the new workers are reported where those of the old ones were."""
    old = [member for arm in before.arms.values() for member in arm.members if hasattr(member, "on_call")]
    for member in members:
        if old and hasattr(member, "on_call"):
            member.on_call = old[0].on_call


def _first_half(deadline_ns: int | None, begin_ns: int) -> int | None:
    """Until when a group may try, so that the control group can still answer."""
    return None if deadline_ns is None else begin_ns + (deadline_ns - begin_ns) // 2
