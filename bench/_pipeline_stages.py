"""Where the time of a frame set goes: moments of every set, read from the traces that the fusion node wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MOMENTS = (
    "first written",
    "last written",
    "last handle in fusion",
    "set released",
    "taken up",
    "engine called",
    "engine starts",
    "engine ends",
    "engine answered",
    "detections",
    "tracks",
    "paths",
    "judged",
    "published",
)
"""In order, each counted from the oldest sensor stamp."""


def stages(folder: Path, begin_ns: int) -> dict[str, dict[str, float]]:
    """P50 and P99 in milliseconds of every moment since the oldest sensor stamp, and of the step since the one before."""
    sets = [found for spans in _sets(folder) if (found := _moments(spans)) and spans["frame_set"][0][0] >= begin_ns]
    table = np.array([[one[name] for name in _MOMENTS] for one in sets])
    if not len(table):
        return {}
    step = np.diff(table, axis=1, prepend=0.0)
    rows = {}
    for column, name in enumerate(_MOMENTS):
        (at50, at99), (step50, step99) = (np.percentile(values[:, column], (50, 99)) for values in (table, step))
        rows[name] = {"at_p50_ms": at50, "at_p99_ms": at99, "step_p50_ms": step50, "step_p99_ms": step99}
    return {name: {key: float(value) for key, value in row.items()} for name, row in rows.items()}


def _sets(folder: Path) -> Iterator[dict[str, list[tuple[int, int]]]]:
    """Span name -> start and end of each, set by set."""
    for line in (folder / "fusion" / "traces.jsonl").read_text(encoding="utf-8").splitlines():
        spans: dict[str, list[tuple[int, int]]] = {}
        for block in json.loads(line)["resourceSpans"]:
            for span in block["scopeSpans"][0]["spans"]:
                times = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                spans.setdefault(span["name"], []).append(times)
        yield spans


def _moments(spans: dict[str, list[tuple[int, int]]]) -> dict[str, float] | None:
    if "engine.infer" not in spans or not any(name.endswith(".prepare") for name in spans):
        return None
    zero = spans["frame_set"][0][0]
    written = [times[0][1] for name, times in spans.items() if name.endswith(".prepare")]
    arrived = [times[0][1] for name, times in spans.items() if name.endswith(".transport")]

    def end(name: str) -> int:
        return spans[name][0][1]

    at: dict[str, Any] = {
        "first written": min(written),
        "last written": max(written),
        "last handle in fusion": max(arrived),
        "set released": end("sync"),
        "taken up": end("queue"),
        "engine called": spans["engine.call"][0][0],
        "engine starts": spans["engine.infer"][0][0],
        "engine ends": end("engine.infer"),
        "engine answered": end("engine.call"),
        "detections": end("detect"),
        "tracks": end("track"),
        "paths": end("predict"),
        "judged": end("judge"),
        "published": end("frame_set"),
    }
    return {name: (at_ns - zero) * 1e-6 for name, at_ns in at.items()}


def table(found: dict[str, dict[str, float]]) -> tuple[list[str], list[list[object]]]:
    """One row a moment."""
    header = ["moment", "at P50 ms", "at P99 ms", "step P50 ms", "step P99 ms"]
    return header, [[name, *row.values()] for name, row in found.items()]
