"""The report of ``percept evaluate mot``: metrics, sequences, reliability of existence, innovations; one HTML page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from percept_ros.replay.charts import ACCENT, FAINT, svg_figure
from percept_ros.replay.report import STYLE, table

METRICS = (
    "sAMOTA",
    "sAMOTA_unrounded",
    "AMOTA",
    "AMOTP",
    "MOTA",
    "MOTP",
    "IDS",
    "FRAG",
    "FP",
    "FN",
    "HOTA",
    "DetA",
    "AssA",
)


def render_mot(result: Mapping[str, Any]) -> str:
    """The page of one evaluation (the answer of ``percept evaluate mot --json``) as text."""
    labels = [label for label in ("car", "pedestrian") if result[label].get("objects") != 0]
    title = f"KITTI 3D MOT, IoU {result['iou']}, camera {result['camera'] or 'none'}"
    models = ", ".join(sorted(set(result["models"].values())))
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="lead">{html.escape(result["protocol"])}: {html.escape(models)}; {result["fps"]:.0f} frames/s on one core</p>',
        table(("class", *METRICS), [(k, *(result[k][m] for m in METRICS)) for k in labels]),
    ]
    for label in labels:
        parts += _class(label, result[label], result["innovation"][label])
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _class(label: str, scores: Mapping[str, Any], innovation: Mapping[str, Any]) -> list[str]:
    rows = [(n, *(s[k] for k in ("MOTA", "IDS", "FP", "FN"))) for n, s in scores["per_sequence"].items()]
    return [
        f"<h2>{html.escape(label)}</h2>",
        '<div class="pair">',
        table(("sequence", "MOTA", "IDS", "FP", "FN"), rows),
        f'<div class="panel">{reliability_chart(scores["reliability"])}</div>',
        "</div><h3>Innovations (1.00 and 0.05 are honest)</h3>",
        innovation_rows(innovation),
    ]


def innovation_rows(innovation: Mapping[str, Any]) -> str:
    """Table of normalised innovations, all and by range."""
    rows = [("all", innovation), *innovation.get("by_range", {}).items()]
    keys = ("matches", "mean_nis", "beyond_95")
    header = ("range", "matches", "mean square a degree of freedom", "share beyond the 95% point")
    return table(header, [(name, *(row.get(k) for k in keys)) for name, row in rows])


def reliability_chart(curve: Mapping[str, Any]) -> str:
    """Observed share of true objects over predicted existence, with the number of rows, as SVG."""
    bins = curve["bins"]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
        said, seen = [b["predicted"] for b in bins], [b["observed"] for b in bins]
        axes.plot(said, seen, "o-", color=ACCENT, linewidth=1.4, markersize=4)
        for b in bins:
            axes.annotate(str(b["rows"]), (b["predicted"], b["observed"]), (4, -10), textcoords="offset points", size=7)
        axes.set_xlabel("predicted existence")
        axes.set_ylabel("share that is a true object")
        axes.set_title(f"error {curve['ece']:.3f}, Brier {curve['brier']:.4f}" if bins else "no rows", fontsize=9)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)

    return svg_figure(4.4, 3.4, draw)
