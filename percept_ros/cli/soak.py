"""``percept soak``: the real processes under planned faults, watched and scored from outside."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.progress import progress_bar
from percept_ros.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

PRIORITY = 20
EXAMPLE = "Example:  percept soak --minutes 10 --seed 1 -o out/soak"


@app.command(epilog=EXAMPLE)
def soak(
    minutes: float = typer.Option(10.0, min=0.1, help="Length of the run."),
    seed: int = typer.Option(1, help="Seed of the drive and of the plan of faults."),
    faults: str = typer.Option("all", help="all, none, or kinds separated by commas."),
    out: Path = typer.Option(Path("out/soak"), "-o", "--output", help="Folder for records, report and logs."),
    config: Path | None = typer.Option(None, help="Configuration (YAML)."),
    cameras: int = typer.Option(2, min=1, max=8, help="Number of cameras."),
    beams: int = typer.Option(32, help="LiDAR beams."),
    loop: float = typer.Option(30.0, min=4.0, help="Length of the simulated drive that is played in a loop, seconds."),
    spacing: float = typer.Option(5.0, min=2.0, help="Time from fault to fault, seconds."),
    priority: int = typer.Option(PRIORITY, min=0, max=90, help="Real-time priority of all processes; 0 = ordinary."),
    json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Run camera, LiDAR, fusion and engine processes on a simulated drive while faults strike them; score what came out.

    Exit status 1: an array lied, a track was lost over an engine fault, or availability is under 0.9999.
    """
    from percept_ros.nodes.soak import SoakJob, run_soak
    from percept_ros.soak.report import write_report
    from percept_ros.soak.score import summarise

    kinds = chosen_kinds(faults)
    job = SoakJob(out.resolve(), minutes * 60.0, seed, kinds, cameras, beams, loop, spacing, priority, config)
    with progress_bar("soak") as update:
        run = run_soak(job, lambda _, done, total: update(done, total))
    summary: dict[str, Any] = {**summarise(run.records, run.cameras), "resources": run.resources}
    summary |= growth(run.resources)
    summary["notes"] = list(run.notes)
    summary["command"] = _command(minutes, seed, faults if faults != "all" else "", priority)
    summary["priority"] = priority
    (out / "summary.json").write_text(json_text.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_report(run.records, summary, out)
    for line in run.notes:
        note(f"note: {line}")
    if json:
        emit_json(summary)
    else:
        _print(summary)
    note(f"report: {out / 'report.html'}")
    if summary["lies"] or summary["lost_tracks"] or summary["availability"] < 0.9999:
        raise typer.Exit(1)


def _command(minutes: float, seed: int, faults: str, priority: int) -> str:
    """The command line of the run, as far as it is not the default."""
    words = [f"percept soak --minutes {minutes:g} --seed {seed}"]
    words += [f"--faults {faults}"] if faults else []
    words += [f"--priority {priority}"] if priority != PRIORITY else []
    return " ".join(words)


def growth(resources: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Worst growth of the processes that lived through most of the run; None for memory when there is none."""
    longest_s = max((figures["seconds"] for figures in resources.values()), default=0.0)
    whole = [figures for figures in resources.values() if figures["seconds"] >= 0.8 * longest_s]
    return {
        "rss_slope_kb_per_1000": max((figures["memory_slope_kb_per_1000"] for figures in whole), default=None),
        "threads_growth": max((figures["threads_growth"] for figures in whole), default=0),
        "descriptors_growth": max((figures["descriptors_growth"] for figures in whole), default=0),
    }


def chosen_kinds(faults: str) -> tuple[str, ...]:
    """Kinds that ``--faults`` names. Raises ConfigError for an unknown one."""
    from percept_ros.soak.plan import BY_NAME

    if faults == "all":
        return tuple(BY_NAME)
    names = tuple(name.strip() for name in faults.split(",") if name.strip()) if faults != "none" else ()
    for name in names:
        if name not in BY_NAME:
            raise ConfigError(f"fault '{name}' is unknown, expected all, none, or some of: {', '.join(BY_NAME)}")
    return names


def _print(summary: dict[str, Any]) -> None:
    names = (
        "seconds",
        "availability",
        "max_gap_ms",
        "max_gap_engine_kill_ms",
        "max_gap_fusion_kill_ms",
        "recovery_to_full_s",
        "recovery_process_kill_s",
        "lost_tracks",
        "lies",
        "out_of_order",
        "invalid_arrays",
        "rss_slope_kb_per_1000",
    )
    emit_table("soak", ("figure", "value"), [(name.replace("_", " "), summary[name]) for name in names])
    rows = [
        (
            kind,
            entry["count"],
            ", ".join(entry["modes"]),
            entry["max_gap_ms"],
            "-" if entry["recovery_s"] is None else entry["recovery_s"],
            entry["lost_tracks"],
            entry["lies"],
        )
        for kind, entry in summary["faults"].items()
    ]
    emit_table("faults", ("fault", "count", "modes", "longest gap, ms", "back to FULL, s", "lost", "lies"), rows)
    note(f"for scale: the service that percept_ros replaces took {summary['peer_healed_s']:.0f} s to heal")
