"""The replay report: one self-contained HTML page with tables, charts and pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from percept_ros.replay.charts import latency_chart, lives_chart, paths_chart, timeline_chart
from percept_ros.replay.gallery import Shot
from percept_ros.replay.runner import ReplayResult
from percept_ros.replay.scene import COLOURS
from percept_ros.types import ObjectClass

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #2b3440; background: #f6f7f9;
  margin: 0 auto; max-width: 1280px; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 19px; margin: 36px 0 10px; } h3 { font-size: 15px; margin: 22px 0 6px; }
p.lead { color: #667384; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.card { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 24px; font-weight: 600; } .card span { color: #667384; font-size: 13px; }
.panel { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px; padding: 12px 16px; overflow-x: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 16px; align-items: start; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: #667384; font-weight: 500; font-size: 13px; } td, th { padding: 4px 10px 4px 0; border-bottom: 1px solid #eef0f3; }
td.n, th.n { text-align: right; }
svg { max-width: 100%; height: auto; display: block; } img { max-width: 100%; display: block; border-radius: 6px; }
.cams { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; margin-top: 8px; } .cams.one { grid-template-columns: 1fr; }
.cams.two { grid-template-columns: 1fr 1fr; }
figure { margin: 0; } figcaption { color: #667384; font-size: 12px; padding: 2px 2px 0; }
.legend span { display: inline-block; margin-right: 16px; font-size: 13px; } .legend i { display: inline-block; width: 12px; height: 12px;
  border-radius: 3px; margin-right: 5px; vertical-align: -1px; }
.warn { border-left: 4px solid #d9822b; } .warn li { margin: 2px 0; }
"""
BIRDSEYE_CAPTION = "bird's-eye view, forward is right, rings 10 m apart"
ORDER = ("front_left", "front", "front_right", "back_left", "back", "back_right", "rear_left", "rear", "rear_right")
"""Cameras of a ring stand in the report as around the vehicle."""


def write_report(result: ReplayResult, file: Path) -> None:
    """Write the page."""
    file.write_text(render_report(result), encoding="utf-8")


def render_report(result: ReplayResult) -> str:
    """The page as text."""
    summary = result.summary
    parts = [
        f"<h1>Replay of {html.escape(Path(str(summary['bag'])).name)}</h1>",
        f'<p class="lead">{html.escape(_lead(summary))}</p>',
        _cards(summary),
        _warnings(summary),
    ]
    if result.record.frames:
        parts += [
            "<h2>Timeline</h2>",
            f'<div class="panel">{timeline_chart(result.record)}</div>',
            "<h2>Time a frame</h2>",
            f'<div class="pair"><div class="panel">{latency_chart(result.record)}</div>{_stages(summary)}</div>',
        ]
    parts += [_truth(summary), _innovations(summary), "<h2>Counts</h2>", _counts(summary)]
    if result.gallery.shots:
        parts += ["<h2>Pictures</h2>", _legend(), *(_shot(shot, summary) for shot in result.gallery.shots)]
    if result.record.lives:
        parts += ["<h2>Tracks and predicted paths from above</h2>", _PATHS]
        parts += [f'<div class="panel">{paths_chart(result.record)}</div>']
        parts += ["<h2>Life lines of tracks</h2>", f'<div class="panel">{lives_chart(result.record)}</div>']
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Replay report</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _lead(summary: Mapping[str, Any]) -> str:
    sensors = summary.get("sensors", {})
    cameras = [name for name in sensors if name != "lidar"]
    lidar = "a LiDAR" if sensors.get("lidar") else "no LiDAR"
    count = {0: "no camera", 1: "1 camera"}.get(len(cameras), f"{len(cameras)} cameras")
    ego = {"none": "no ego motion known (tracks are in the vehicle's frame)"}.get(
        str(summary.get("ego_motion")), f"ego motion from {summary.get('ego_motion')}"
    )
    kind = "deterministic replay" if summary.get("deterministic") else "real-time replay through the nodes"
    return f"{kind}; {lidar} and {count}; {ego}"


def _number(value: Any, digits: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _cards(summary: Mapping[str, Any]) -> str:
    latency = summary["latency_ms"]
    cards = [
        (f"{summary['frames_out']} / {summary['frames_in']}", "frames answered"),
        (summary["tracks_confirmed"], "tracks confirmed"),
        (summary["tracks_over_2s"], "tracks over 2 s"),
        (f"{_number(latency['p50'])} ms", "median time a frame"),
        (f"{_number(latency['p99'])} ms", "P99 time a frame"),
        (sum(summary["drops"].values()), "messages dropped"),
    ]
    if (mot := summary.get("mot")) and mot["frames"]:
        cards += [
            (_number(mot["recall"], 3), "recall"),
            (_number(mot["precision"], 3), "precision"),
            (_number(mot["mota"], 3), "MOTA"),
            (mot["id_switches"], "id switches"),
        ]
    inner = "".join(
        f'<div class="card"><b>{html.escape(str(value))}</b><span>{text}</span></div>' for value, text in cards
    )
    return f'<div class="cards">{inner}</div>'


def _warnings(summary: Mapping[str, Any]) -> str:
    lines = [*summary.get("damage", ()), *summary.get("lacking", ()), *summary.get("resets", ())]
    lines += [f"{reason}: {text}" for reason, text in summary.get("complaints", {}).items()]
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(str(line))}</li>" for line in lines)
    return f'<h2>What was missing or refused</h2><div class="panel warn"><ul>{items}</ul></div>'


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """HTML table; the first column holds names, the others numbers (None is a dash)."""
    cells = [f"<th{'' if i == 0 else ' class=n'}>{html.escape(name)}</th>" for i, name in enumerate(header)]
    lines = [f"<tr>{''.join(cells)}</tr>"]
    for row in rows:
        cells = [
            f"<td{'' if i == 0 else ' class=n'}>{html.escape(_number(value, 2))}</td>" for i, value in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="panel"><table>{"".join(lines)}</table></div>'


def _stages(summary: Mapping[str, Any]) -> str:
    rows = [(name, times["p50"], times["p99"]) for name, times in summary["stages_ms"].items()]
    latency = summary["latency_ms"]
    return table(("stage", "P50 ms", "P99 ms"), [*rows, ("all", latency["p50"], latency["p99"])])


def _truth(summary: Mapping[str, Any]) -> str:
    mot = summary.get("mot")
    if not mot:
        return ""
    scalars = [(name.replace("_", " "), value) for name, value in mot.items() if not isinstance(value, dict)]
    classes = [(f"recall, {name}", value) for name, value in mot["recall_by_class"].items()]
    found = summary.get("detections") or {}
    single = [(f"detections, {name}", found[name]) for name in ("recall", "precision") if name in found]
    return "<h2>Against the ground truth of the bag</h2>" + table(("figure", "value"), scalars + classes + single)


def _innovations(summary: Mapping[str, Any]) -> str:
    """How far measurements fell from where the tracks expected them, in units of what they said of themselves."""
    found = summary.get("innovation") or {}
    if not found:
        return ""
    rows = []
    for name, table_of in found.items():
        for where, row in (("all", table_of), *table_of["by_range"].items()):
            if row["matches"]:
                rows.append((f"{name}, {where}", row["matches"], row["mean_nis"], row["beyond_95"]))
    header = ("class and range", "matches", "mean square a degree of freedom", "share beyond the 95% point")
    return f"<h2>Innovation consistency</h2>{_NIS}" + table(header, rows)


_NIS = "<p>Normalised innovations squared against chi-square with two degrees of freedom: 1.00 and 0.05 are honest, less is too cautious.</p>"
_PATHS = "<p>Solid: where confirmed tracks went. Dotted: the paths predicted about every two seconds.</p>"


def _counts(summary: Mapping[str, Any]) -> str:
    drops = table(("dropped because", "messages"), list(summary["drops"].items()) or [("nothing dropped", 0)])
    modes = table(("mode", "frames"), list(summary["modes"].items()) or [("-", 0)])
    return f'<div class="pair">{drops}{modes}</div>'


def _legend() -> str:
    entries = []
    for kind in ObjectClass:
        blue, green, red = COLOURS[kind]
        entries.append(f'<span><i style="background:rgb({red},{green},{blue})"></i>{kind.name.lower()}</span>')
    entries.append('<span><i style="background:rgb(200,200,200)"></i>ground truth</span>')
    note = "<p>Thick boxes are tracks measured now, thin ones coast; thin boxes with a score are detections that are no track (yet); dots and lines on the road are predicted paths; dashed are 2D detections.</p>"
    return f'<div class="legend">{"".join(entries)}</div>{note}'


def _image(data: bytes, caption: str) -> str:
    source = base64.b64encode(data).decode("ascii")
    name = html.escape(caption)
    return f'<figure><img alt="{name}" src="data:image/jpeg;base64,{source}"><figcaption>{name}</figcaption></figure>'


def camera_rank(name: str) -> tuple[int, str]:
    """Where a camera stands in a row of pictures."""
    places = [i for i, place in enumerate(ORDER) if name.lower().endswith(place)]
    return (max(places, key=lambda i: len(ORDER[i])) if places else len(ORDER), name)


def _shot(shot: Shot, summary: Mapping[str, Any]) -> str:
    begin = summary.get("first_stamp_ns", shot.stamp_ns)
    title = f"<h3>Frame {shot.index}, {(shot.stamp_ns - begin) / 1e9:.1f} s, {shot.tracks} tracks</h3>"
    layout = {1: " one", 2: " two"}.get(len(shot.cameras), "")
    cameras = "".join(_image(shot.cameras[name], name) for name in sorted(shot.cameras, key=camera_rank))
    views = f'<div class="cams{layout}">{cameras}</div>' if cameras else ""
    return title + _image(shot.birdseye, BIRDSEYE_CAPTION) + views
