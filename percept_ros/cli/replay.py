"""``percept replay``: the pipeline over a bag."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.progress import progress_bar
from percept_ros.config import Config, load_config
from percept_ros.errors import RecordingError

if TYPE_CHECKING:
    from percept_ros.replay.runner import ReplayResult

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLE = "Example:  percept replay drive.mcap --camera-model models/yolox_nano -o out && xdg-open out/report.html"


@app.command(epilog=EXAMPLE)
def replay(
    bag: Path = typer.Argument(..., metavar="BAG", help="rosbag2 folder, or a .mcap or .db3 file."),
    out: Path = typer.Option(..., "-o", "--output", help="Folder for tracks.mcap, summary.json and report.html."),
    config: Path | None = typer.Option(None, help="Configuration (YAML)."),
    model: list[str] = typer.Option([], help="Detector to use, best first; may be given more than once."),
    camera_model: Path | None = typer.Option(None, help="Folder of a 2D camera model whose boxes are fused in."),
    engine: str = typer.Option("", help="Inference engine to use, for example onnx."),
    remap: list[str] = typer.Option([], help="BAG_TOPIC:=NAME, may be given more than once."),
    realtime: bool = typer.Option(False, help="At the recording's pace through the real nodes, over DDS."),
    composed: bool = typer.Option(False, help="With --realtime: all nodes in one process."),
    pictures: int = typer.Option(10, min=0, max=200, help="Frames drawn in the report."),
    report: bool = typer.Option(True, help="Write report.html."),
    json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Run the pipeline over a bag: tracks, a summary and a report with pictures.

    Deterministic unless --realtime is given: two runs write the same bytes of tracks. Exit status 1: no frame was answered.
    """
    if realtime and remap:
        raise RecordingError("--remap and --realtime do not go together: name the topics in the configuration instead")
    settings = load_config(config, _overrides(model, camera_model, engine))
    started = time.perf_counter()
    with progress_bar("replay") as update:
        if realtime:
            from percept_ros.replay.realtime import replay_realtime

            result = replay_realtime(bag, settings, out, update, pictures=pictures if report else 0, composed=composed)
        else:
            result = _deterministic(bag, out, settings, parse_remaps(remap), pictures if report else 0, update)
    summary = result.summary
    summary["seconds"] = round(time.perf_counter() - started, 3)
    if report:
        from percept_ros.replay.report import write_report

        write_report(result, out / "report.html")
    (out / "summary.json").write_text(json_text.dumps(summary, indent=1) + "\n", encoding="utf-8")
    _say(summary, out, json, report)
    if not summary["frames_out"]:
        raise typer.Exit(1)


def _overrides(model: list[str], camera_model: Path | None, engine: str) -> dict[str, Any]:
    detector: dict[str, Any] = {}
    if model:
        detector["chain"] = model
    if camera_model is not None:
        detector["camera_model"] = str(camera_model)
    if engine:
        detector["engine"] = engine
    return {"detector": detector} if detector else {}


def parse_remaps(texts: list[str]) -> dict[str, str]:
    """``/a:=/b`` texts as a mapping. Raises RecordingError for anything else."""
    remaps = {}
    for text in texts:
        old, found, new = text.partition(":=")
        if not found or not old.startswith("/") or not new.startswith("/"):
            raise RecordingError(f"remap '{text}' should read /topic_in_bag:=/other_name")
        remaps[old] = new
    return remaps


def _deterministic(
    bag: Path, out: Path, config: Config, remap: dict[str, str], pictures: int, update: Any
) -> ReplayResult:
    from percept_ros.replay.runner import ReplayJob
    from percept_ros.replay.runner import replay as run

    return run(ReplayJob(bag, out, config, remap, pictures), update)


def _say(summary: dict[str, Any], out: Path, json: bool, report: bool) -> None:
    for line in [*summary.get("damage", ()), *summary.get("lacking", ()), *summary.get("complaints", {}).values()]:
        note(f"note: {line}")
    if json:
        emit_json(summary)
        return
    rows = [
        ("frames answered", f"{summary['frames_out']} of {summary['frames_in']}"),
        ("tracks confirmed", summary["tracks_confirmed"]),
        ("tracks over 2 s", summary["tracks_over_2s"]),
        *((f"time a frame {name}, ms", value) for name, value in summary["latency_ms"].items()),
        *_figures(summary.get("mot"), "tracks", ("mota", "recall", "precision", "id_switches")),
        *_figures(summary.get("detections"), "detections", ("recall", "precision")),
        *((f"dropped: {reason}", count) for reason, count in summary["drops"].items()),
        *((f"mode {mode}", count) for mode, count in summary["modes"].items()),
        ("ego motion", summary.get("ego_motion")),
    ]
    rows = [(name, "-" if value is None else value) for name, value in rows]
    emit_table(f"replay of {summary['bag']}", ("figure", "value"), rows)
    if report:
        note(f"report: {out / 'report.html'}")


def _figures(scored: dict[str, Any] | None, of: str, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    return [(f"{of}: {name.replace('_', ' ')}", scored[name]) for name in names] if scored else []
