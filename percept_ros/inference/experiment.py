"""Experiment plans: groups of detectors, and which of them answers a frame.

A plan is one YAML file, read whole and strictly; changing the experiment is replacing the file (see docs/experiments.md):

    name: int8
    control: fp32                      # answers whatever no other group takes
    groups:
      fp32: {chain: [lidar_pillars, geometric], precision: fp32}
      int8: {chain: [lidar_pillars, geometric], precision: int8}
      next: {}                         # models/next/{model}_{runtime}_{precision}.{ext}
    shadow: [next]                     # sees the same frames; compared, never published
    canary: {group: int8, share: 0.05}

Everything here is pure: no clock, no thread, no chance. The same key always gives the same group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from percept_ros.errors import ConfigError
from percept_ros.inference.experiment_canary import CanaryPlan
from percept_ros.settings import parse, setting

_STEPS = 2**53


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group: a variant of model, engine, precision or post-processing."""

    chain: tuple[str, ...] = setting(
        (), "detectors in order, names or folders; empty = the group's folder of artefacts"
    )
    engine: str = setting("", "engine that must be used; empty = as the model prefers")
    precision: str = setting(
        "", "precision that must be used; empty = as the model prefers", choices=("", "fp32", "fp16", "int8")
    )
    share: float = setting(0.0, "share of frames (or vehicles) that this group answers", low=0.0, high=1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """One experiment. sha256, folder: set by reading, not by the file."""

    name: str = setting("", "name of the experiment")
    control: str = setting("", "group that answers what no other group takes")
    groups: Mapping[str, GroupPlan] = setting({}, "groups by name")
    route: str = setting("stamp", "what decides the group of a frame", choices=("stamp", "vehicle"))
    salt: str = setting("", "another salt deals the groups anew")
    shadow: tuple[str, ...] = setting((), "groups that see frames beside the one that answers")
    shadow_every: int = setting(1, "every how many frames", low=1, high=1_000_000)
    canary: CanaryPlan | None = setting(None, "group on probation")
    artefacts: str = setting("models", "folder that holds a folder of artefacts for each group")
    sha256: str = ""
    folder: Path = Path()

    @property
    def root(self) -> Path:
        """Folder of the groups' artefacts."""
        return self.folder / Path(self.artefacts).expanduser()


def load_plan(file: Path) -> Plan:
    """The plan in ``file``; its paths are relative to the file. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"experiment plan '{file}' cannot be read: {exc}") from exc
    return read_plan(text, file.resolve().parent, str(file))


def read_plan(text: str, folder: Path, where: str = "plan") -> Plan:
    """The plan in ``text``. Raises ConfigError naming ``where``."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"experiment plan '{where}' is no YAML: {exc}") from exc
    if not isinstance(tree, Mapping) or {"sha256", "folder"} & set(tree):
        raise ConfigError(f"experiment plan '{where}' must hold a mapping of the plan's keys")
    try:
        plan = parse(Plan, tree)
    except ConfigError as exc:
        raise ConfigError(f"experiment plan '{where}': {exc}") from exc
    for problem in problems(plan):
        raise ConfigError(f"experiment plan '{where}': {problem}")
    return replace(plan, sha256=hashlib.sha256(text.encode()).hexdigest(), folder=folder)


def problems(plan: Plan) -> list[str]:
    """What is wrong with a plan beyond the types of its fields."""
    found, known = [], ", ".join(plan.groups) or "none"
    named = {"control": [plan.control], "shadow": plan.shadow, "canary": [plan.canary.group] if plan.canary else []}
    for key, names in named.items():
        found += [f"'{key}' names group '{name}'; there are {known}" for name in names if name not in plan.groups]
    for name in plan.groups:
        if not name or not all(c.isalnum() or c in "_-." for c in name) or ".." in name or len(name) > 64:
            found.append(f"group '{name[:80]}' must be named by letters, digits, _ - and .")
    canary = plan.canary
    if canary and canary.group == plan.control:
        found.append(f"canary '{canary.group}' is the control group: there is nothing to compare it with")
    if canary and canary.group in plan.groups and plan.groups[canary.group].share:
        found.append(f"group '{canary.group}' is the canary: give its share there, not in groups")
    total = sum(group.share for name, group in plan.groups.items() if name != plan.control)
    total += canary.share if canary else 0.0
    if total > 1.0 + 1e-9:
        found.append(f"shares sum up to {total:g}, at most 1 can be given away")
    if canary:
        found += canary.problems()
    return found


def position(salt: str, key: str) -> float:
    """Where a key falls in [0, 1): uniform over keys, the same for ever."""
    digest = hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / _STEPS


def route(plan: Plan, key: str, usable: Collection[str], *, canary_share: float = -1.0, stopped: bool = False) -> str:
    """Group that answers the frame of ``key``.

    usable: groups that are loaded; the share of another falls to the control group. canary_share: instead of the plan's,
    negative = the plan's. stopped: the canary was stopped and gets nothing.
    """
    at, canary = position(plan.salt, key), plan.canary
    if canary is not None and not stopped and at < (canary.share if canary_share < 0.0 else canary_share):
        return canary.group if canary.group in usable else plan.control
    edge = 1.0  # the others are dealt from the other end: the canary's share does not deal them anew
    for name, group in plan.groups.items():
        if name == plan.control or (canary is not None and name == canary.group):
            continue
        edge -= group.share
        if at >= edge:
            return name if name in usable else plan.control
    return plan.control
