"""A Typer group whose further commands live in modules of their own, loaded only when called."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """``others`` maps a command's name to the module whose Typer ``app`` holds that one command.

    Commands whose module is not there are not listed.
    """

    others: ClassVar[dict[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, own ones first."""
        return [*super().list_commands(ctx), *self.others]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, loading its module where it has one."""
        if cmd_name not in self.others:
            return super().get_command(ctx, cmd_name)
        module = self.others[cmd_name]
        try:
            command = typer.main.get_command(importlib.import_module(module).app)
        except ModuleNotFoundError as exc:
            if exc.name != module:
                raise
            return None
        command.name = cmd_name
        return command
