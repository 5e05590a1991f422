"""percept profile: profiles of running nodes, as flame graphs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.errors import InputError
from percept_ros.observe.flame import heaviest
from percept_ros.observe.profiles import ProfileEntry, ProfileStore

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def profile(
    folder: Path = typer.Argument(..., help="folder of one service: observe.profile_folder, then the node's name"),
    take: str = typer.Option("", help="ask the running node for a new profile first: cpu or heap"),
    seconds: float = typer.Option(5.0, help="length of the profile that is asked for"),
    name: str = typer.Option("", help="which profile; the newest unless told otherwise"),
    out: Path | None = typer.Option(None, "-o", "--out", help="write its flame graph there (HTML)"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """List profiles, take one, draw a flame graph.

    Example: percept profile /var/lib/percept/profiles/fusion --take cpu --seconds 5 -o flame.html
    """
    if not folder.is_dir():
        raise InputError(
            f"'{folder}' is no folder of profiles: set observe.profile_folder and start the node", "profile"
        )
    store = ProfileStore(folder)
    fresh = _take(store, take, seconds) if take else None
    entries = store.entries()
    chosen = name or (fresh.name if fresh else entries[0].name if entries else "")
    if out is not None:
        if not chosen:
            raise InputError(f"there are no profiles in '{folder}' yet: ask for one with --take cpu", "profile")
        out.write_text(store.flame_html(chosen), encoding="utf-8")
        note(f"flame graph of {chosen}: {out}")
    if as_json:
        top = (
            [{"frame": frame, "weight": weight} for frame, weight in heaviest(store.stacks(chosen), 10)]
            if chosen
            else []
        )
        emit_json({"profiles": [_row(entry) for entry in entries], "name": chosen, "heaviest": top})
        return
    rows = [[e.name, e.kind, _age(e), e.seconds, e.total, e.reason] for e in entries]
    emit_table(f"profiles in {folder}", ["name", "kind", "taken", "seconds", "weight", "reason"], rows)


def _take(store: ProfileStore, kind: str, seconds: float) -> ProfileEntry:
    """Ask, and wait for what comes."""
    known = {entry.name for entry in store.entries()}
    store.ask(kind, seconds)
    pause, until_s = threading.Event(), time.monotonic() + seconds + 10.0
    while time.monotonic() < until_s:
        new = [entry for entry in store.entries() if entry.name not in known and entry.kind == kind]
        if new:
            return new[0]
        pause.wait(0.2)
    store.requests()  # nobody took it
    raise InputError(f"no node answered in {store.folder}: is it running with observe.profile_folder set?", "profile")


def _row(entry: ProfileEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "at_s": entry.at_s,
        "seconds": entry.seconds,
        "total": entry.total,
        "reason": entry.reason,
    }


def _age(entry: ProfileEntry) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at_s))
