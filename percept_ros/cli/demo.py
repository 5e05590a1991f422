"""``percept demo``: simulate a drive, play it through the real nodes over DDS, print how they did."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.progress import progress_bar
from percept_ros.config import load_config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLE = "Example:  percept demo --seconds 20 --cameras 6 -o demo"


@app.command(epilog=EXAMPLE)
def demo(
    out: Path = typer.Option(Path("out/demo"), "-o", "--output", help="Folder for the bag, the tracks and the report."),
    seconds: float = typer.Option(20.0, min=2.0, help="Length of the drive."),
    cameras: int = typer.Option(6, min=0, max=8, help="Number of cameras."),
    beams: int = typer.Option(64, help="LiDAR beams."),
    seed: int = typer.Option(1, help="Seed of the drive."),
    config: Path | None = typer.Option(None, help="Configuration (YAML)."),
    composed: bool = typer.Option(False, help="All nodes in one process."),
    json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Simulate a drive, replay it in real time through the ROS 2 nodes, print a table. All data are simulated."""
    from percept_ros.replay.realtime import replay_realtime
    from percept_ros.replay.report import write_report
    from percept_ros.replay.simulated import record_drive
    from percept_ros.simulate.drive import SimulateConfig

    out.mkdir(parents=True, exist_ok=True)
    bag = out / "drive.mcap"
    bag.unlink(missing_ok=True)
    with progress_bar("simulate the drive") as update:
        record_drive(bag, SimulateConfig(seconds=seconds, cameras=cameras, beams=beams), seed, update)
    with progress_bar("play it through the nodes") as update:
        result = replay_realtime(bag, load_config(config), out, update, composed=composed)
    write_report(result, out / "report.html")
    (out / "summary.json").write_text(json_text.dumps(result.summary, indent=1) + "\n", encoding="utf-8")
    if json:
        emit_json(result.summary)
    else:
        _print(result.summary)
    note(f"report: {out / 'report.html'}   (simulated data; nodes' logs in {out / 'nodes'})")
    if not result.summary["frames_out"]:
        raise typer.Exit(1)


def _print(summary: dict[str, Any]) -> None:
    mot = summary.get("mot") or {}
    rows: list[tuple[str, object]] = [
        ("frames answered", f"{summary['frames_out']} of {summary['frames_in']}"),
        ("tracks confirmed", summary["tracks_confirmed"]),
        ("tracks over 2 s", summary["tracks_over_2s"]),
        *((f"{key.replace('_', ' ')} against ground truth", mot[key]) for key in ("recall", "precision") if key in mot),
        ("longest gap, ms", summary["longest_gap_ms"]),
        *((f"mode {mode}, frames", count) for mode, count in summary["modes"].items()),
        *((f"dropped: {reason}", count) for reason, count in summary["drops"].items()),
    ]
    emit_table("simulated drive through the ROS 2 nodes", ("figure", "value"), rows)
    oldest, newest = summary["latency_ms"], summary["latency_from_newest_ms"]
    times = [
        ("oldest sensor stamp to publication", oldest["p50"], oldest["p99"], oldest["p999"]),
        ("newest sensor stamp to publication", newest["p50"], newest["p99"], newest["p999"]),
    ]
    times += [(f"stage {name}", t["p50"], t["p99"], "") for name, t in summary["stages_ms"].items()]
    emit_table("latency, ms", ("", "P50", "P99", "P99.9"), times)
