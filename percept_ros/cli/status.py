"""``percept status``: look at a running system, and steer it."""

from __future__ import annotations

import time
from typing import Any

import typer

from percept_ros.cli.output import emit_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLE = """\b
Examples:
  percept status                              live table, Ctrl-C ends it
  percept status --once                       the same, once
  percept status set-mode GEOMETRIC           no network any more; "set-mode auto" sets it free
  percept status reload-model lidar_pillars   the model's files were replaced
  percept status --namespace car2 pause       options come before the command

\b
Modes, best first: FULL, REDUCED, LIDAR_ONLY, CAMERA_ONLY, FALLBACK_MODEL,
GEOMETRIC, COASTING, STALE; docs/ladder.md says what each means, docs/health.md
what the checks look at. Exit status 1: refused; 2: nobody is there."""
NAMESPACE = typer.Option("percept", help="Namespace of the nodes.")
WAIT = typer.Option(10.0, min=0.1, help="Seconds to wait for the nodes.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")
_REFRESH_S = 0.5


@app.callback(invoke_without_command=True, epilog=EXAMPLE)
def status(
    context: typer.Context,
    namespace: str = NAMESPACE,
    wait: float = WAIT,
    once: bool = typer.Option(False, help="Print the table once."),
    json: bool = JSON,
) -> None:
    """Show how perception and its nodes are doing: mode and its cause, health, latency, drops. With a command: steer them.

    The nodes must run in the same ROS_DOMAIN_ID; steering needs the supervisor among them.
    """
    context.obj = (namespace, wait, json)
    if context.invoked_subcommand is None:
        _look(namespace, wait, once, json)


@app.command(epilog="Example:  percept status pause")
def pause(context: typer.Context) -> None:
    """Stop all output; models stay loaded."""
    _steer(context, "pause", "")


@app.command(epilog="Example:  percept status resume")
def resume(context: typer.Context) -> None:
    """Go on after pause."""
    _steer(context, "resume", "")


@app.command("set-mode", epilog="Example:  percept status set-mode FALLBACK_MODEL")
def set_mode(
    context: typer.Context,
    mode: str = typer.Argument(
        ..., help="Best mode that may be used: REDUCED, FALLBACK_MODEL, GEOMETRIC, ...; or auto."
    ),
) -> None:
    """Hold perception at a mode, or let it go free with auto."""
    _steer(context, "set-mode", mode)


@app.command("reload-model", epilog="Example:  percept status reload-model models/my_pillars")
def reload_model(
    context: typer.Context,
    model: str = typer.Argument(
        "", help="Name or folder of the new first model; empty = the configured one, read again."
    ),
) -> None:
    """Exchange the first model while the flow goes on; a model that cannot be loaded changes nothing."""
    _steer(context, "reload-model", model)


def _steer(context: typer.Context, command: str, argument: str) -> None:
    from percept_ros.nodes.watch import steer_once

    namespace, wait, json = context.obj
    accepted, message = steer_once(namespace, command, argument, wait)
    if json:
        emit_json({"command": command, "argument": argument, "accepted": accepted, "message": message})
    else:
        typer.echo(message if accepted else f"refused: {message}")
    if not accepted:
        raise typer.Exit(1)


def _look(namespace: str, wait: float, once: bool, json: bool) -> None:
    from percept_ros.nodes.watch import Watch

    with Watch(namespace) as watch:
        watch.wait(wait)
        found = watch.snapshot()
        if json:
            emit_json(found)
        elif once:
            _console().print(_page(found))
        else:
            _live(watch)
    if not _is_well(found):
        raise typer.Exit(1)


def _live(watch: Any) -> None:
    from rich.live import Live

    try:
        with Live(_page(watch.snapshot()), console=_console(), refresh_per_second=4) as live:
            while True:
                time.sleep(_REFRESH_S)
                live.update(_page(watch.snapshot()))
    except KeyboardInterrupt:
        pass


def _is_well(found: dict[str, Any]) -> bool:
    """Whether every node that the supervisor manages is where it should be."""
    supervisor = found["supervisor"]
    return supervisor is None or supervisor["state"] == "all there"


def _console() -> Any:
    from rich.console import Console

    return Console()


def _page(found: dict[str, Any]) -> Any:
    from rich.console import Group

    parts = [_node_table(found)]
    if found["perception"] is not None:
        parts += [_perception_table(found["perception"]), _stage_table(found["perception"])]
    return Group(*parts)


def _node_table(found: dict[str, Any]) -> Any:
    from rich.table import Table

    boss = found["supervisor"] or {}
    title = f"nodes in {found['namespace']}" + (f", goal {boss['goal']}" if boss else ": no supervisor")
    table = Table(
        "node", "state", "tries left", "failures", "recoveries", "respawned", title=title, title_justify="left"
    )
    for name, node in found["nodes"].items():
        colour = {"active": "green", "inactive": "yellow"}.get(node["state"], "red")
        figures = (node.get(key, "") for key in ("tries_left", "failures", "recoveries", "respawned"))
        table.add_row(name, f"[{colour}]{node['state']}[/]", *figures)
    return table


def _perception_table(now: dict[str, Any]) -> Any:
    from rich.table import Table

    colour = {"FULL": "green", "STALE": "red"}.get(now["mode"], "yellow")
    latency = now["latency_ms"]
    table = Table("perception", "", title=f"[{colour}]{now['mode']}[/]: {now['cause']}", title_justify="left")
    rows = {
        "health": f"{now['health']:.2f}" + (" (degraded)" if now["degraded"] else ""),
        "concerns": "\n".join(now["concerns"]) or "none",
        "model": now["model"],
        "rate, Hz": f"{now['rate_hz']:.1f}",
        "latency P50, P99, P99.9, ms": f"{latency['p50']:.0f}, {latency['p99']:.0f}, {latency['p999']:.0f}",
        "sensors": ", ".join(now["sensors_present"]) or "none",
        "absent": ", ".join(now["absent_sensors"]) or "none",
        "breakers": "\n".join(now["breakers"]),
        "known frame": "\n".join(now["shadow"]),
        "dropped": "\n".join(f"{name}: {count}" for name, count in now["drops"].items()) or "nothing",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _stage_table(now: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("stage, ms", "P50", "P99", "over budget", title_justify="left")
    for name, one in now["stages_ms"].items():
        table.add_row(name, f"{one['p50']:.1f}", f"{one['p99']:.1f}", str(one["misses"]))
    return table
