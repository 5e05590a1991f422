"""The report of a soak: one HTML page with the timeline of modes, gaps and faults, and a table fault by fault."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.replay.charts import ACCENT, FAINT, MODE_COLOURS, WARM, svg_figure
from percept_ros.soak.records import Records
from percept_ros.types import Mode

_COLUMNS = (
    "fault",
    "times",
    "modes",
    "what the node said",
    "longest gap, ms",
    "back to FULL, s (median, worst)",
    "lies",
)


def write_report(records: Records, summary: Mapping[str, Any], out: Path) -> None:
    """Write report.html and timeline.svg into ``out``."""
    picture = timeline(records)
    (out / "timeline.svg").write_text(picture, encoding="utf-8")
    parts = [
        "<!doctype html><meta charset='utf-8'><title>percept soak</title>",
        "<style>body{font:14px sans-serif;margin:2em;max-width:1200px}table{border-collapse:collapse}"
        "td,th{border-bottom:1px solid #ccc;padding:3px 8px;text-align:left;vertical-align:top}</style>",
        "<h1>Soak</h1>",
        _table(("figure", "value"), headline(summary)),
        "<h2>Timeline</h2>",
        picture,
        "<h2>Faults</h2>",
        _table(_COLUMNS, fault_rows(summary)),
        "<h2>Processes</h2>",
        _table(
            ("process", "seconds", "MB", "kB per 1000 frames", "threads +", "descriptors +", "CPU share"),
            [(name, *figures.values()) for name, figures in summary.get("resources", {}).items()],
        ),
    ]
    (out / "report.html").write_text("\n".join(parts), encoding="utf-8")


def headline(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The figures that matter most."""
    names = (
        "seconds",
        "availability",
        "slots",
        "bad_slots",
        "max_gap_ms",
        "max_gap_engine_kill_ms",
        "max_gap_fusion_kill_ms",
        "recovery_to_full_s",
        "recovery_process_kill_s",
        "lost_tracks",
        "lies",
        "out_of_order",
        "invalid_arrays",
        "peer_healed_s",
    )
    return [(name.replace("_", " "), summary.get(name)) for name in names]


def fault_rows(summary: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """One row a kind of fault, as in ``_COLUMNS``."""
    rows = []
    for kind, entry in summary["faults"].items():
        back = "never left" if entry["worst_recovery_s"] == 0 else f"{entry['recovery_s']}, {entry['worst_recovery_s']}"
        said = "; ".join(entry["said"])
        rows.append((kind, entry["count"], ", ".join(entry["modes"]), said, entry["max_gap_ms"], back, entry["lies"]))
    return rows


def timeline(records: Records) -> str:
    """Mode over time, gaps between arrays, and when faults struck, as SVG text."""
    seen = [s for s in records.seen if not s.invalid and records.start_ns <= s.at_ns <= records.end_ns]
    times = (np.array([s.at_ns for s in seen], np.int64) - records.start_ns) / 1e9
    modes = np.array([s.mode for s in seen], np.int64)
    gaps_ms = np.diff(times, prepend=times[:1]) * 1e3

    def draw(axes: Any) -> None:
        axes.vlines(times, 0, gaps_ms, colors=[MODE_COLOURS[Mode(m)] for m in modes], linewidth=0.8)
        for stroke in records.strokes:
            axes.axvline((stroke.begin_ns - records.start_ns) / 1e9, color=FAINT, linewidth=0.5, zorder=0)
        axes.axhline(200, color=WARM, linewidth=0.8, linestyle="--")
        for mode in sorted(set(modes.tolist())):
            axes.plot([], [], color=MODE_COLOURS[Mode(mode)], linewidth=4, label=Mode(mode).name)
        axes.set_xlabel("time (s); grey lines: faults")
        axes.set_ylabel("since the last array (ms)")
        axes.set_ylim(0, max(250.0, float(gaps_ms.max(initial=0.0)) * 1.05))
        axes.legend(frameon=False, ncols=4, loc="upper left", labelcolor=ACCENT)

    return svg_figure(11.0, 3.2, draw)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
