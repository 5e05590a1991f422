"""``percept experiment``: groups of models against one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.progress import progress_bar
from percept_ros.config import load_config
from percept_ros.errors import RecordingError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)

_OUT = typer.Option(..., "-o", "--output", help="Folder for report.html, summary.json, pictures and records.")
_JSON = typer.Option(False, "--json", help="Print one JSON object.")
_SECONDS = typer.Option(10.0, min=1.0, help="Length of the simulated drive.")
_BEAMS = typer.Option(32, help="Beams of the simulated LiDAR.")


@app.command(epilog="Example:  percept experiment demo -o out && xdg-open out/report.html")
def demo(
    out: Path = typer.Option(Path("build/experiment_demo"), "-o", "--output", help="Folder for the report."),
    seconds: float = _SECONDS,
    beams: int = _BEAMS,
    seed: int = typer.Option(1, help="Seed of the drive."),
    json: bool = _JSON,
) -> None:
    """On a simulated drive: int8 shadows fp32, a slowed canary is stopped, a corrupt artefact is replaced within its group.

    Exit status 1: one of them was not seen.
    """
    from percept_ros.evaluate.experiment_run import demonstrate

    with progress_bar("experiment") as update:
        result = demonstrate(load_config(), _simulated(seconds, beams, seed), out, update)
    _say(result, json)
    if not result["ok"]:
        raise typer.Exit(1)


@app.command(epilog="Example:  percept experiment run plan.yaml --bag drive.mcap -o out")
def run(
    plan: Path = typer.Argument(..., help="Plan (YAML, see docs/experiments.md)."),
    out: Path = _OUT,
    bag: Path | None = typer.Option(
        None, help="Recording (rosbag2 folder, .mcap, .db3); without it a simulated drive."
    ),
    remap: list[str] = typer.Option([], help="With --bag: BAG_TOPIC:=NAME, may be given more than once."),
    config: Path | None = typer.Option(None, help="Configuration (YAML)."),
    seconds: float = _SECONDS,
    beams: int = _BEAMS,
    seed: int = typer.Option(1, help="Seed of the drive."),
    json: bool = _JSON,
) -> None:
    """Run a plan over a recording or a simulated drive and report; every shadow is waited for, nothing is cut off.

    --seconds, --beams and --seed are those of the simulated drive.
    """
    from percept_ros.cli.replay import parse_remaps
    from percept_ros.evaluate.experiment_run import run_experiment, run_recorded
    from percept_ros.replay.runner import ReplayJob

    if remap and bag is None:
        raise RecordingError("--remap needs --bag: a simulated drive has no topics")
    settings = load_config(config, {"experiment": {"plan": str(plan)}})
    with progress_bar("experiment") as update:
        if bag is not None:
            result = run_recorded(ReplayJob(bag, out, settings, parse_remaps(remap), pictures=0), update)
        else:
            result = run_experiment(settings, _simulated(seconds, beams, seed), out, update)
    _say({**result, "report": str(out / "report.html")}, json)


@app.command(epilog="Example:  percept experiment report /var/log/percept/experiment -o out")
def report(
    records: Path = typer.Argument(..., help="Folder of experiment.log."),
    out: Path = _OUT,
    control: str = typer.Option("", help="Control group; without it the one that answered most often."),
    json: bool = _JSON,
) -> None:
    """Compare the groups with confidence intervals, with pictures of the frames on which they differ most."""
    from percept_ros.evaluate.experiment_report import write_report

    _say({**write_report(records, out, control=control), "report": str(out / "report.html")}, json)


@app.command(epilog="Example:  percept experiment stage lidar_pillars models/next --precision int8 --precision fp32")
def stage(
    model: str = typer.Argument(..., help="Model to take the artefacts from (name or folder)."),
    group: Path = typer.Argument(..., help="Folder of the group, models/GROUP beside the plan."),
    precision: list[str] = typer.Option([], help="Precisions in order of preference; without it all."),
    runtime: str = typer.Option("", help="Run-time in the names, for example tensorrt10.16; without it the format."),
    postprocess: list[str] = typer.Option([], help="KEY=NUMBER of the post-processing to change."),
    json: bool = _JSON,
) -> None:
    """Make the folder of a group: artefacts named {model}_{runtime}_{precision}.{ext}, with the manifest that vouches for them."""
    import yaml

    from percept_ros.inference.experiment_artefacts import stage as make

    changes = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in postprocess)}
    manifest = make(model, group, precision, runtime=runtime, postprocess=changes)
    _say({"folder": str(group), "artefacts": [a.file for a in manifest.artefacts]}, json)


@app.command(epilog="Example:  percept experiment check plan.yaml")
def check(plan: Path = typer.Argument(..., help="Plan (YAML)."), json: bool = _JSON) -> None:
    """Read a plan and the folders of its groups, and say how frames are dealt. Exit status 2: the plan is wrong."""
    from percept_ros.inference.experiment import load_plan
    from percept_ros.inference.experiment_artefacts import group_manifest

    found = load_plan(plan)
    groups: dict[str, Any] = {}
    for name, group in found.groups.items():
        canary = found.canary is not None and found.canary.group == name
        share = found.canary.share if canary and found.canary else group.share
        chain = list(group.chain) or [artefact.file for artefact in group_manifest(found.root / name).artefacts]
        groups[name] = {"share": share, "role": _role(found, name, canary), "chain": chain}
    given = sum(g["share"] for name, g in groups.items() if name != found.control)
    groups[found.control]["share"] = 1.0 - given
    _say({"name": found.name, "sha256": found.sha256, "groups": groups}, json)


def _role(plan: Any, name: str, canary: bool) -> str:
    if name == plan.control:
        return "control"
    return "canary" if canary else "shadow" if name in plan.shadow else "group"


def _simulated(seconds: float, beams: int, seed: int) -> Iterator[Any]:
    from percept_ros.simulate.drive import SimulateConfig, simulate_drive

    config = SimulateConfig(seconds=seconds, cameras=0, beams=beams, density=0.9)
    return (frame.sensors for frame in simulate_drive(config, seed))


def _say(result: dict[str, Any], json: bool) -> None:
    if json:
        emit_json(result)
        return
    rows = [(key, _short(value)) for key, value in result.items() if key not in ("state", "pictures")]
    emit_table("percept experiment", ("figure", "value"), rows)
    if "report" in result:
        note(f"report: {result['report']}")


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value) or not isinstance(value, dict):
        return str(value)
    return "\n".join(f"{key}: {item}" for key, item in value.items())
