"""ROS message packages load what is asked for, not every message that they have.

``from sensor_msgs.msg import Image`` imports 27 message modules, and the packages that a node uses some 300: a sixth of its
start. The ``__init__`` of such a package is a list of imports; it is read and each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = re.compile(r"[a-z]\w*\.(msg|srv|action)")
_IMPORT = re.compile(r"from ([\w.]+) import (\w+)  # noqa: F401\n")


def lean_imports() -> None:
    """From now on. Also keeps messages from importing their code generator (and its grammars), which costs 80 ms."""
    sys.modules.setdefault("rosidl_generator_py.generate_py_impl", None)  # type: ignore[arg-type]
    if not any(isinstance(finder, _Messages) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Messages())


class _Messages(MetaPathFinder):
    """Finds the packages whose ``__init__`` is nothing but a list of imports of message classes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not _PACKAGE.fullmatch(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not spec.origin.endswith("__init__.py"):
            return None
        homes = _homes(Path(spec.origin))
        if homes:
            spec.loader = _Lazy(homes)
        return spec


class _Lazy(Loader):
    """Makes a package that imports a name when it is first asked for. homes: name -> module that has it."""

    def __init__(self, homes: dict[str, str]) -> None:
        self._homes = homes

    def exec_module(self, module: ModuleType) -> None:
        homes = self._homes

        def get(name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
            value = getattr(importlib.import_module(homes[name]), name)
            setattr(module, name, value)
            return value

        module.__dict__.update({"__getattr__": get, "__dir__": lambda: sorted({*module.__dict__, *homes})})


def _homes(init: Path) -> dict[str, str]:
    """Name -> module, empty when the file does anything else than import names."""
    lines = init.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [_IMPORT.fullmatch(line) for line in lines]
    return {match[2]: match[1] for match in found if match} if all(found) else {}
