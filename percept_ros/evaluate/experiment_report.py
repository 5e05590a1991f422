"""A folder of an experiment's records as a report: tables, charts, and pictures of the frames that differ most."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.core.geometry import box_corners
from percept_ros.detectors.experiment_log import ANSWER, FRAMES, LINES, Record, difference, read_records
from percept_ros.errors import RecordingError
from percept_ros.evaluate.experiment import summarise

SEEN_SCORE = 0.2


def write_report(folder: Path, out: Path, *, control: str = "", state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write ``report.html``, ``summary.json`` and pictures into ``out``; returns the summary. state: of the detector.

    Raises RecordingError for a folder without records.
    """
    if not (folder / LINES).exists():
        raise RecordingError(f"'{folder}' holds no {LINES}: name the folder of experiment.log", "no_records")
    records = read_records(folder)
    if not records:
        raise RecordingError(f"'{folder / LINES}' holds no record", "no_records")
    out.mkdir(parents=True, exist_ok=True)
    summary = summarise(records, control or (state or {}).get("control", ""))
    pictures = [draw_latencies(records, out / "latency.png"), *draw_differences(folder, out)]
    if shadows := [r for r in records if r.disagreement >= 0.0]:
        pictures.insert(1, draw_disagreement(shadows, out / "disagreement.png"))
    summary = {**summary, **({"state": state} if state else {}), "pictures": [picture.name for picture in pictures]}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(_page(summary), encoding="utf-8")
    return summary


def _plots() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw_latencies(records: Sequence[Record], file: Path) -> Path:
    """Share of frames answered within a time, one line a group and role."""
    plt = _plots()
    figure, axes = plt.subplots(figsize=(7, 4))
    for group, role in dict.fromkeys((r.group, r.role) for r in records):
        spent = np.sort([r.ms for r in records if (r.group, r.role) == (group, role) and r.ok])
        if len(spent):
            style = "-" if role == ANSWER else "--"
            axes.plot(spent, (np.arange(len(spent)) + 1) / len(spent), style, label=f"{group}, {role} ({len(spent)})")
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("share of frames")
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return file


def draw_disagreement(records: Sequence[Record], file: Path) -> Path:
    """Disagreement over the frames, one row of dots a pair."""
    plt = _plots()
    figure, axes = plt.subplots(figsize=(7, 3.2))
    first = min(r.stamp_ns for r in records)
    for group, against in dict.fromkeys((r.group, r.against) for r in records):
        rows = [r for r in records if (r.group, r.against) == (group, against)]
        times = [(r.stamp_ns - first) * 1e-9 for r in rows]
        axes.plot(times, [r.disagreement for r in rows], ".", markersize=4, label=f"{group} beside {against}")
    axes.set_xlabel("time, s")
    axes.set_ylabel("disagreement (1 - F1)")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return file


def draw_differences(folder: Path, out: Path) -> list[Path]:
    """One picture a kept frame, the most different first."""
    kept = []
    for file in sorted((folder / FRAMES).glob("*.npz")):
        with np.load(file) as arrays:
            kept.append((Record(**json.loads(str(arrays["record"]))), {name: arrays[name] for name in arrays.files}))
    kept.sort(key=lambda item: (item[0].group, -difference(item[0])))
    return [_draw_frame(record, arrays, out / f"differs-{n + 1}.png") for n, (record, arrays) in enumerate(kept)]


def _draw_frame(record: Record, arrays: dict[str, Any], file: Path) -> Path:
    plt = _plots()
    figure, axes = plt.subplots(figsize=(8, 5.2))
    points = arrays["points"]
    shown = points[(points[:, 2] > 0.2) & (points[:, 2] < 3.0)]
    axes.scatter(shown[:, 0], shown[:, 1], s=0.4, c="0.55", linewidths=0)
    _draw_boxes(axes, arrays["against_boxes"], arrays["against_scores"], "tab:blue", "-", record.against)
    _draw_boxes(axes, arrays["here_boxes"], arrays["here_scores"], "tab:red", "--", record.group)
    axes.set_aspect("equal")
    axes.set_xlim(-40, 55)
    axes.set_ylim(-30, 30)
    axes.set_xlabel("forward, m")
    axes.set_ylabel("left, m")
    axes.set_title(
        f"{record.group} beside {record.against}: disagreement {record.disagreement:.2f}, {record.matched} matched"
        f" ({record.offset_m:.2f} m apart), {record.only_against} and {record.only_here} alone",
        fontsize=9,
    )
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return file


def _draw_boxes(axes: Any, boxes: Any, scores: Any, colour: str, style: str, name: str) -> None:
    sure = scores >= SEEN_SCORE
    for index, (outline, score) in enumerate(zip(box_corners(boxes[sure])[:, :4, :2], scores[sure], strict=True)):
        ring = np.vstack([outline, outline[:1]])
        label = name if index == 0 else None
        axes.plot(ring[:, 0], ring[:, 1], style, color=colour, linewidth=1.4, label=label)
        axes.annotate(f"{score:.2f}", outline[0], color=colour, fontsize=6)
    if not sure.any():
        axes.plot([], [], style, color=colour, label=f"{name} (nothing)")


def _page(summary: dict[str, Any]) -> str:
    state = summary.get("state", {})
    parts = [f"<h1>Experiment {html.escape(str(state.get('experiment', '')))}</h1>"]
    parts.append(f"<p>{summary['frames']} frames; control group: <b>{html.escape(summary['control'])}</b></p>")
    if notes := state.get("notes"):
        parts += ["<h2>Fallbacks</h2>", _table(["group", "what happened"], [[k, v] for k, v in notes.items()])]
    if canary := state.get("canary"):
        parts += ["<h2>Canary</h2>", _table(["", ""], [[k, _cell(v)] for k, v in canary.items()])]
    for title, key in (
        ("Groups that answered", "groups"),
        ("Against control", "against_control"),
        ("Shadows", "shadows"),
    ):
        if rows := summary.get(key):
            parts += [f"<h2>{title}</h2>", _across(rows)]
    parts += [f'<p><img src="{name}" alt="{name}"></p>' for name in summary["pictures"]]
    style = "body{font:14px system-ui;margin:2em;max-width:1100px}td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:left}img{max-width:100%}"
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>Experiment</title><style>{style}</style>{''.join(parts)}\n"


def _across(rows: dict[str, dict[str, Any]]) -> str:
    names = list(rows)
    figures = list(dict.fromkeys(key for figure in rows.values() for key in figure))
    return _table(["", *names], [[key, *(_cell(rows[name].get(key)) for name in names)] for key in figures])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(v, float) for v in value):
        return " to ".join(f"{v:.4g}" for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
