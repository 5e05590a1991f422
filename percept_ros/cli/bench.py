"""percept bench NAME: measure against a peer in the same run.

Each benchmark is one file ``bench/<name>.py``, found in a source tree (beside ``percept_ros/``) and, installed, in
``share/percept_ros/bench``. It holds

    def run(*, topics: tuple[int, ...] = (2, 7), seconds: float = 1.0) -> dict[str, Any]

whose keyword parameters become options (``--topics 2,7 --seconds 0.5``; dashes for underscores) and whose result is the JSON
object; ``ok`` false in it means "the answer is no" (exit status 1). It may also hold ``table(result) -> (header, rows)``, and
``plot(result, file)`` that draws a PNG. The first line of its docstring is its line in the list. Files whose names begin with
an underscore are shared parts, not benchmarks.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

import percept_ros
from percept_ros.cli.bench_options import describe_options, parse_options
from percept_ros.cli.output import emit_json, emit_table, note, to_json
from percept_ros.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: str = typer.Argument("", help="which benchmark; without it, the list of them and their options"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
    report: Path | None = typer.Option(None, help="folder for NAME.json, NAME.md (table) and NAME.png (plot)"),
) -> None:
    """Measure against a peer in the same run.

    Example: percept bench sync --topics 2,4,7 --json
    """
    if not name:
        _print_list()
        return
    module = load(name)
    result = module.run(**parse_options(module.run, context.args, f"percept bench {name}"))
    if report is not None:
        write_report(module, name, result, report)
    if as_json:
        emit_json(result)
    else:
        emit_table(f"bench {name}", *rows_of(module, result))
    if result.get("ok") is False:
        raise typer.Exit(1)


def folders() -> Iterator[Path]:
    """Folders that may hold benchmarks, the source tree first."""
    package = Path(percept_ros.__file__).resolve().parent
    yield package.parent / "bench"
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    unresolved = Path(percept_ros.__file__).absolute()
    for prefix in (*prefixes, Path(sys.prefix), *package.parents[:5], *unresolved.parents[:6]):
        yield prefix / "share" / "percept_ros" / "bench"


def benchmarks() -> dict[str, Path]:
    """Name -> file of every benchmark."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob("*.py")):
            if not file.name.startswith("_"):
                found.setdefault(file.stem, file)
    return found


def load(name: str) -> ModuleType:
    """The module of a benchmark. Raises ConfigError when there is none of this name."""
    known = benchmarks()
    if name not in known:
        raise ConfigError(f"no benchmark '{name}': there are {', '.join(sorted(known)) or 'none here'}")
    if str(known[name].parent) not in sys.path:
        sys.path.append(str(known[name].parent))  # for the shared parts
    key = f"percept_bench_{name}"
    spec = importlib.util.spec_from_file_location(key, known[name])
    if spec is None or spec.loader is None:
        raise ConfigError(f"benchmark file '{known[name]}' cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    spec.loader.exec_module(module)
    return module


def rows_of(module: ModuleType, result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the benchmark's table, by default one row a figure."""
    if hasattr(module, "table"):
        header, rows = module.table(result)
        return list(header), [list(row) for row in rows]
    return ["figure", "value"], [[key, value] for key, value in _flat(result)]


def write_report(module: ModuleType, name: str, result: dict[str, Any], folder: Path) -> None:
    """Write JSON, table and plot into ``folder`` (made when it is not there)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(to_json(result) + "\n", encoding="utf-8")
    header, rows = rows_of(module, result)
    lines: list[list[object]] = [[*header], ["---"] * len(header), *rows]
    text = "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)
    title = (module.__doc__ or name).strip().splitlines()[0]
    (folder / f"{name}.md").write_text(f"# {title}\n\n{text}\n", encoding="utf-8")
    if hasattr(module, "plot"):
        module.plot(result, folder / f"{name}.png")
    note(f"report written to {folder}")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _print_list() -> None:
    rows = []
    for name, file in benchmarks().items():
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        rows.append([name, text.splitlines()[0] if text else "", describe_options(load(name).run)])
    emit_table("percept bench NAME", ["name", "question", "options"], rows)
