"""Config as ROS parameters: same names, with types, ranges and descriptions; unknown names are refused."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from percept_ros.config import CameraConfig, Config
from percept_ros.errors import ConfigError
from percept_ros.settings import Leaf, flatten, parse

_FOREIGN = (
    "use_sim_time",
    "autostart",
    "nodes",
    "retries",
    "spawn",
    "logs",
    "qos_overrides",
    "start_type_description_service",
    "diagnostic_updater",
    "bond",
)


def declare(node: Node) -> None:
    """Declare every setting of Config on ``node`` (made with ``automatically_declare_parameters_from_overrides``)."""
    for leaf in leaves(camera_names(node)):
        given = node.get_parameter(leaf.name).value if node.has_parameter(leaf.name) else None
        if node.has_parameter(leaf.name):
            node.undeclare_parameter(leaf.name)
        value = leaf.default if given is None else given
        node.declare_parameter(leaf.name, _ros_value(leaf, value), _descriptor(leaf), ignore_override=True)


def camera_names(node: Node) -> tuple[str, ...]:
    """Cameras named by the parameters that were given."""
    return tuple(sorted({name.split(".")[0] for name in node.get_parameters_by_prefix("cameras")}))


def leaves(cameras: tuple[str, ...]) -> Iterator[Leaf]:
    """Every leaf of Config, with one camera section for each name."""
    yield from flatten(Config)
    for camera in cameras:
        yield from flatten(CameraConfig, f"cameras.{camera}.")


def read(node: Node, changes: Mapping[str, Any] | None = None) -> Config:
    """The typed Config that the node's parameters (with ``changes`` laid over) describe. Raises ConfigError."""
    values = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name.split(".")[0] not in _FOREIGN
    }
    values.update(changes or {})
    tree: dict[str, Any] = {}
    for name, value in values.items():
        _plant(tree, name.split("."), value)
    return parse(Config, tree)


def _plant(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value


def check_change(node: Node, parameters: list[Parameter], *, configured: bool) -> SetParametersResult:
    """Whether these parameters may be set now; says why not."""
    known = {leaf.name: leaf for leaf in leaves(camera_names(node))}
    ours = [p for p in parameters if p.name.split(".")[0] not in _FOREIGN]
    fixed = [p.name for p in ours if configured and p.name in known and not known[p.name].live]
    if fixed:
        reason = (
            f"{', '.join(fixed)} shapes what configure built: set it in state unconfigured (deactivate, cleanup first)"
        )
        return SetParametersResult(successful=False, reason=reason)
    try:
        read(node, {p.name: p.value for p in ours})
    except ConfigError as exc:
        return SetParametersResult(successful=False, reason=str(exc))
    return SetParametersResult(successful=True)


def _ros_value(leaf: Leaf, value: Any) -> Any:
    if leaf.annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(leaf.annotation) is tuple:
        kind = typing.get_args(leaf.annotation)[0]
        if not len(value):
            return Parameter(leaf.name, _ARRAYS[kind], []).value
        return [kind(v) for v in value]
    return value


_ARRAYS = {str: Parameter.Type.STRING_ARRAY, float: Parameter.Type.DOUBLE_ARRAY, int: Parameter.Type.INTEGER_ARRAY}
_SCALARS = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


def _descriptor(leaf: Leaf) -> ParameterDescriptor:
    limits = f" One of: {', '.join(leaf.choices)}." if leaf.choices else ""
    when = "" if leaf.live else " Takes effect at configure."
    array = typing.get_origin(leaf.annotation) is tuple
    kind = typing.get_args(leaf.annotation)[0] if array else leaf.annotation
    described = ParameterDescriptor(
        name=leaf.name,
        description=f"{leaf.doc}.{limits}{when}",
        type=(_ARRAYS if array else _SCALARS)[kind].value,
        dynamic_typing=array,  # an empty array has no element type of its own
    )
    if leaf.low is not None and leaf.high is not None and not array:
        if kind is float:
            described.floating_point_range = [FloatingPointRange(from_value=float(leaf.low), to_value=float(leaf.high))]
        elif kind is int:
            described.integer_range = [IntegerRange(from_value=int(leaf.low), to_value=int(leaf.high))]
    return described
