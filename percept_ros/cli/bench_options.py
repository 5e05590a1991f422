"""Command-line options of a benchmark, made from the keyword parameters of its ``run``."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from percept_ros.errors import ConfigError

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def parse_options(run: Callable[..., Any], args: Sequence[str], where: str) -> dict[str, Any]:
    """Keyword arguments for ``run`` from ``--name value``, ``--name=value`` and bare ``--flag``. Raises ConfigError."""
    hints, known = typing.get_type_hints(run), inspect.signature(run).parameters
    given, rest = {}, list(args)
    while rest:
        word = rest.pop(0)
        text, joined, value = word.partition("=")
        name = text.removeprefix("--").replace("-", "_")
        if not text.startswith("--") or name not in known:
            raise ConfigError(f"{where}: no option '{text}'; there are {describe_options(run) or 'none'}")
        if not joined:
            bare = hints.get(name) is bool and (not rest or rest[0].startswith("--"))
            if not bare and not rest:
                raise ConfigError(f"{where}: option '{text}' needs a value")
            value = "true" if bare else rest.pop(0)
        given[name] = _convert(hints.get(name, str), value, f"{where}: option '{text}'")
    return given


def describe_options(run: Callable[..., Any]) -> str:
    """One line of the options and their defaults."""
    words = []
    for name, parameter in inspect.signature(run).parameters.items():
        default = parameter.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        words.append(f"--{name.replace('_', '-')}={shown}")
    return " ".join(words)


def _convert(kind: Any, text: str, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(k for k in inner if k is not type(None)), text, where)
    if origin is tuple:
        return tuple(_convert(inner[0], part, where) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ConfigError(f"{where} is '{text}', expected true or false")
        return text.lower() in _TRUE
    if kind not in (int, float, str, Path):
        raise ConfigError(f"{where} has a type that the command line cannot give: {kind}")
    try:
        return kind(text)
    except ValueError as exc:
        raise ConfigError(f"{where} is '{text}', expected {kind.__name__}") from exc
