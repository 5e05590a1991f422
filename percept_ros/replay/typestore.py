"""The message types that bags hold: ROS 2 Jazzy's own and this package's, for writing and reading without ROS."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import percept_ros
from percept_ros.errors import SetupError

TRACKS_TYPE = "percept_ros/msg/ObstacleTrackArray"


def definitions_folder() -> Path:
    """Folder with this package's .msg files: ``msg`` of the source tree, or ``share/percept_ros/msg`` of a prefix.

    Raises SetupError when neither is found.
    """
    candidates = []
    for package in map(Path, percept_ros.__path__):
        candidates.append(package.resolve().parent / "msg")
        candidates += [parent / "share" / "percept_ros" / "msg" for parent in package.parents]
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates += [Path(prefix) / "share" / "percept_ros" / "msg" for prefix in prefixes if prefix]
    for folder in candidates:
        if (folder / "ObstacleTrackArray.msg").is_file():
            return folder
    raise SetupError("message definitions of percept_ros not found (share/percept_ros/msg): build again (make build)")


@functools.cache
def typestore() -> Any:
    """The rosbags type store with all types that this package writes. Shared: do not register in it."""
    return new_typestore()


def new_typestore() -> Any:
    """A fresh type store, to which types found in a foreign bag may be added."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    added: dict[str, Any] = {}
    for file in sorted(definitions_folder().glob("*.msg")):
        added.update(get_types_from_msg(file.read_text(encoding="utf-8"), f"percept_ros/msg/{file.stem}"))
    store.register(added)
    return store


def register_unknown(store: Any, msgtype: str, definition: str) -> bool:
    """Add ``msgtype`` from the definition a bag carries; whether the store knows it now."""
    from rosbags.typesys import get_types_from_msg

    if msgtype in store.types:
        return True
    if not definition or definition.startswith("=" * 80 + "\nIDL"):
        return False
    found = get_types_from_msg(definition, msgtype)
    store.register({name: fields for name, fields in found.items() if name not in store.types})
    return msgtype in store.types
