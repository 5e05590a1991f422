"""How verbs answer: one JSON object last on standard output, or a table; progress and logs on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def to_json(result: Mapping[str, Any]) -> str:
    """``result`` as one line of JSON; numpy values are written as plain ones."""
    return json.dumps(result, default=_plain, allow_nan=False)


def emit_json(result: Mapping[str, Any]) -> None:
    """Write ``result`` as one line of JSON on standard output."""
    sys.stdout.write(to_json(result) + "\n")
    sys.stdout.flush()


def emit_table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console().print(table)


def note(text: str) -> None:
    """One line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)
