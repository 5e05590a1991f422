"""Typed settings trees: frozen dataclasses whose fields carry range, unit and description.

``setting`` declares a field, ``parse`` turns nested mappings (YAML, ROS parameters, command line) into the tree and
refuses unknown keys, wrong types and values out of range by full dotted name, ``flatten`` lists every leaf so that ROS
parameters can be declared from the same source.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from percept_ros.errors import ConfigError

T = TypeVar("T")


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """Declare a settings field.

    low, high: inclusive range. choices: allowed strings. live: may change while the node runs.
    """
    meta = {"doc": doc, "low": low, "high": high, "choices": choices, "live": live}
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One settable value: dotted name, default, declared type and its limits."""

    name: str
    default: Any
    annotation: Any
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool


def parse(cls: type[T], values: Mapping[str, Any] | None, where: str = "") -> T:
    """Build ``cls`` from nested mappings. Raises ConfigError naming the full key."""
    given = {} if values is None else values
    if not isinstance(given, Mapping):
        raise ConfigError(f"config '{where or 'root'}' must be a mapping, got {type(given).__name__}: {given!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise ConfigError(_unknown(f"{where}{key}", str(key), list(fields)))
    parsed = {
        name: _convert(hints[name], given[name], f"{where}{name}", fields[name].metadata)
        for name in fields
        if name in given
    }
    return cls(**parsed)


def flatten(cls: type[Any], prefix: str = "") -> Iterator[Leaf]:
    """Every leaf of the tree, depth first, with dotted names. Mappings of sub-trees have no fixed leaves."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        kind, name = hints[item.name], f"{prefix}{item.name}"
        if dataclasses.is_dataclass(kind):
            yield from flatten(typing.cast("type[Any]", kind), f"{name}.")
        elif typing.get_origin(kind) not in (dict, Mapping, typing.get_origin(Mapping[str, str])):
            factory = item.default_factory
            default = factory() if factory is not dataclasses.MISSING else item.default
            m = item.metadata
            yield Leaf(
                name,
                default,
                kind,
                m.get("doc", ""),
                m.get("low"),
                m.get("high"),
                m.get("choices", ()),
                m.get("live", False),
            )


def to_dict(tree: Any) -> Any:
    """Plain nested mappings and lists of a settings tree (for YAML and JSON)."""
    if dataclasses.is_dataclass(tree):
        return {f.name: to_dict(getattr(tree, f.name)) for f in dataclasses.fields(tree)}
    if isinstance(tree, Mapping):
        return {k: to_dict(v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return [to_dict(v) for v in tree]
    return tree


def _unknown(full: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys here: {', '.join(known)}"
    return f"unknown config key '{full}': {hint}"


def _convert(kind: Any, value: Any, name: str, meta: Mapping[str, Any]) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, name, meta)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast("type[Any]", kind), value, f"{name}.")
    if origin is tuple:
        return _convert_tuple(args, value, name, meta)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"config '{name}' must be a mapping, got {value!r}")
        return {str(k): _convert(args[1], v, f"{name}.{k}", meta) for k, v in value.items()}
    return _check_scalar(kind, value, name, meta)


def _convert_tuple(args: tuple[Any, ...], value: Any, name: str, meta: Mapping[str, Any]) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise ConfigError(f"config '{name}' must be a list, got {value!r}")
    items = list(value)
    if args and args[-1] is not Ellipsis and len(items) != len(args):
        raise ConfigError(f"config '{name}' must have {len(args)} values, got {len(items)}")
    kinds = [args[0]] * len(items) if not args or args[-1] is Ellipsis else list(args)
    return tuple(_convert(k, v, f"{name}[{i}]", meta) for i, (k, v) in enumerate(zip(kinds, items, strict=True)))


def _check_scalar(kind: Any, value: Any, name: str, meta: Mapping[str, Any]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"config '{name}' must be of type {kind.__name__}, got {value!r}")
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"config '{name}' must be a number, got NaN")
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices", ())
    outside = (low is not None and value < low) or (high is not None and value > high)
    if outside:
        raise ConfigError(f"config '{name}' is {value}, expected {low} to {high}")
    if choices and isinstance(value, str) and value not in choices:
        raise ConfigError(f"config '{name}' is '{value}', expected one of {', '.join(choices)}")
    return value
