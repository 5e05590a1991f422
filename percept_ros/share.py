"""Files that are installed beside the package: config/, models/, launch/."""

from __future__ import annotations

import os
from pathlib import Path

import percept_ros
from percept_ros.errors import SetupError


def share(name: str) -> Path:
    """Path of an installed file or folder, from the source tree or the install prefix. Raises SetupError when absent."""
    candidates = []
    for package in map(Path, percept_ros.__path__):
        candidates.append(package.resolve().parent)
        candidates += [parent / "share" / "percept_ros" for parent in package.parents]
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates += [Path(prefix) / "share" / "percept_ros" for prefix in prefixes if prefix]
    for folder in candidates:
        if (folder / name).exists():
            return folder / name
    raise SetupError(f"'{name}' of percept_ros is not installed: build again (make build)")
