"""Everything that belongs to one plan of an experiment: groups that answer, groups that look on, the canary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment_log import ExperimentLog, Record
from percept_ros.detectors.experiment_shadow import ShadowRunner
from percept_ros.errors import ModelError, WorkerDied
from percept_ros.inference.experiment import GroupPlan, Plan
from percept_ros.inference.experiment_artefacts import fallback_note
from percept_ros.inference.experiment_canary import CanaryTest

OpenGroup = Callable[[str, GroupPlan, Plan], DetectorChain]
"""Group, what the plan says of it, the plan -> its chain, not loaded."""


@dataclass(slots=True)
class Setup:
    """One plan in use; exchanged as a whole. arms: groups that may answer, loaded. notes: what is to be said of a group."""

    plan: Plan
    arms: Mapping[str, DetectorChain]
    notes: Mapping[str, str]
    shadow: ShadowRunner | None
    canary: CanaryTest | None
    frames: int = 0
    answered: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Close every group."""
        if self.shadow is not None:
            self.shadow.close()
        for arm in self.arms.values():
            arm.close()


def prepare(
    plan: Plan,
    open_group: OpenGroup,
    log: ExperimentLog,
    on_compared: Callable[[Setup, Record], None],
    *,
    shadow_ms: float,
    stopped: str,
) -> Setup:
    """Load every group of a plan. stopped: why its canary was stopped before, "" = it was not.

    Raises ModelError when the control group cannot be used.
    """
    canary = plan.canary
    arms, notes = _open(plan, [name for name in plan.groups if _may_answer(plan, name)], open_group)
    if plan.control not in arms:
        for arm in arms.values():
            arm.close()
        raise ModelError(f"control group '{plan.control}' cannot be used: {notes[plan.control]}")
    looking = list(dict.fromkeys([*plan.shadow, *([plan.control] if canary else [])]))
    seconds, more = _open(plan, looking, open_group)
    setup = Setup(plan, arms, {**more, **notes}, None, None)
    if seconds:
        setup.shadow = ShadowRunner(seconds, log, lambda record: on_compared(setup, record), shadow_ms)
    if canary is not None and canary.group in arms:
        setup.canary = CanaryTest(canary, stopped=stopped)
    return setup


def _open(plan: Plan, names: Sequence[str], open_group: OpenGroup) -> tuple[dict[str, DetectorChain], dict[str, str]]:
    """Loaded chains, and what is to be said about each group."""
    chains, notes = {}, {}
    for name in names:
        chain = open_group(name, plan.groups[name], plan)
        try:
            chain.load()
        except (ModelError, WorkerDied) as exc:
            notes[name] = f"left out, its frames go to '{plan.control}': {exc}"
            continue
        chains[name] = chain
        if note := _note(chain, name, plan):
            notes[name] = note
    return chains, notes


def _may_answer(plan: Plan, name: str) -> bool:
    """Whether a group may answer frames, if only when asked for by name: all but those that only look on."""
    canary = plan.canary is not None and name == plan.canary.group
    return name == plan.control or canary or plan.groups[name].share > 0.0 or name not in plan.shadow


def _note(chain: DetectorChain, name: str, plan: Plan) -> str:
    """What is not as the plan has it: a member left out, another artefact than the first."""
    said = list(chain.refused)
    folder = plan.root / name
    if not plan.groups[name].chain and (folder / "model.yaml").exists() and chain.rank == 0:
        said += [text for text in [fallback_note(folder, chain.artefact_sha256)] if text]
    return "; ".join(said)
