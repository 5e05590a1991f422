"""The plan's file: read when it changed, and beside it a note that its canary was stopped (a restart must not try again)."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from percept_ros.errors import ConfigError
from percept_ros.inference.experiment import Plan, load_plan


class PlanFile:
    """A file that is looked at now and then. One thread at a time."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> Plan:
        """The plan. Raises ConfigError."""
        self._seen = self._mark()
        return load_plan(self.path)

    def changed(self, sha256: str) -> Plan | None:
        """The plan when the file changed and says something else than that of ``sha256``. Raises ConfigError, once a change."""
        mark = self._mark()
        if mark == self._seen:
            return None
        plan = self.read()
        return None if plan.sha256 == sha256 else plan

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path)
        except OSError as exc:
            raise ConfigError(f"experiment plan '{self.path}' cannot be read: {exc}") from exc
        return found.st_mtime_ns, found.st_size, found.st_ino


def _note_file(plan_file: Path) -> Path:
    return plan_file.with_name(f"{plan_file.name}.stopped.json")


def stopped_before(plan_file: Path, plan: Plan) -> str:
    """Why the canary of just this plan was stopped, "" when it was not."""
    try:
        note = json.loads(_note_file(plan_file).read_text(encoding="utf-8"))
        return str(note["reason"]) if note["plan_sha256"] == plan.sha256 else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remember_stop(plan_file: Path, plan: Plan, reason: str) -> None:
    """Note that the plan's canary was stopped. Where that cannot be written a restart will try again."""
    target = _note_file(plan_file)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps({"plan_sha256": plan.sha256, "reason": reason}) + "\n", encoding="utf-8")
        partial.replace(target)
