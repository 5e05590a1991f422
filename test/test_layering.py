"""Dependencies between the rooms point one way; only nodes imports ROS; vendors are imported where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "percept_ros"

BASE = frozenset({"types", "errors", "settings", "native", "wire", "share"})
MAY_IMPORT: dict[str, frozenset[str]] = {
    "types": frozenset(),
    "errors": frozenset(),
    "settings": frozenset({"errors"}),
    "native": frozenset({"errors"}),
    "wire": frozenset({"types", "native"}),
    "share": frozenset({"errors"}),
    "config": BASE,
    "core": BASE | {"config"},
    "inference": BASE | {"config"},
    "health": BASE | {"config"},
    "observe": BASE | {"config"},
    "runtime": BASE | {"config"},
    "detectors": BASE | {"config", "core", "inference", "health", "observe", "runtime"},
    "pipeline": BASE | {"config", "core", "inference", "health", "observe", "runtime", "detectors"},
    "build": BASE | {"config", "core", "inference", "health", "observe", "runtime", "detectors", "pipeline"},
}
EVERYTHING = frozenset(MAY_IMPORT)
MAY_IMPORT |= {
    "simulate": EVERYTHING,
    "evaluate": EVERYTHING | {"simulate", "replay"},
    "train": EVERYTHING | {"simulate", "evaluate", "replay"},
    "replay": EVERYTHING | {"evaluate", "simulate"},
    "gateway": EVERYTHING | {"replay"},
    "soak": EVERYTHING | {"simulate", "replay"},
    "nodes": EVERYTHING | {"replay", "simulate", "soak", "gateway"},
    "cli": EVERYTHING | {"simulate", "evaluate", "train", "replay", "gateway", "soak", "nodes"},
}
ROS = frozenset(
    {"rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "nav_msgs", "visualization_msgs", "lifecycle_msgs", "tf2_ros",
     "tf2_msgs", "message_filters", "diagnostic_msgs", "builtin_interfaces", "cv_bridge"}
)  # fmt: skip
VENDORS = {
    "onnxruntime": {"inference", "train"},
    "tensorrt": {"inference"},
    "pycuda": {"inference"},
    "torch": {"train"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], file


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "percept_ros":
                yield from (f"percept_ros.{alias.name}" for alias in node.names)
            else:
                yield node.module


ALL = list(modules())


@pytest.mark.parametrize(("room", "file"), ALL, ids=[str(f.relative_to(PACKAGE)) for _, f in ALL])
def test_imports_point_one_way(room: str, file: Path) -> None:
    assert room in MAY_IMPORT, f"room '{room}' is not in the house: see docs/design.md"
    for name in imports(file):
        top, _, rest = name.partition(".")
        if top == "percept_ros" and rest:
            target = rest.split(".")[0]
            allowed = MAY_IMPORT[room] | {room, "msg", "srv", "__version__"}
            assert target in allowed, f"{file.name} ({room}) imports {name}"


@pytest.mark.parametrize(("room", "file"), ALL, ids=[str(f.relative_to(PACKAGE)) for _, f in ALL])
def test_ros_and_vendors_stay_where_they_belong(room: str, file: Path) -> None:
    tops = {name.partition(".")[0] for name in imports(file)}
    if room != "nodes":
        assert not tops & ROS, f"{file.name} ({room}) imports {sorted(tops & ROS)}"
    for vendor, rooms in VENDORS.items():
        assert vendor not in tops or room in rooms, f"{file.name} ({room}) imports {vendor}"


def test_core_reads_no_clock() -> None:
    for room, file in ALL:
        if room == "core":
            assert not {"time", "datetime"} & set(imports(file)), file.name
