"""Charts of a replay as SVG text: latency histogram, timeline of modes and drops, life lines of tracks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from percept_ros.replay.record import LifeLine, ReplayRecord
from percept_ros.replay.scene import COLOURS
from percept_ros.types import Mode

INK, FAINT, ACCENT, WARM = "#2b3440", "#c9d1da", "#2f6fb2", "#d9822b"
MODE_COLOURS = {
    Mode.FULL: "#3a9d5d",
    Mode.REDUCED: "#9bc53d",
    Mode.LIDAR_ONLY: "#e8c547",
    Mode.CAMERA_ONLY: "#e8a33d",
    Mode.FALLBACK_MODEL: "#8e7cc3",
    Mode.GEOMETRIC: "#5b8db8",
    Mode.COASTING: "#d9822b",
    Mode.STALE: "#c0392b",
}
LONGEST_LIVES = 60


def svg_figure(width: float, height: float, draw: Callable[[Any], None]) -> str:
    """SVG of one drawing, without the XML head; width and height in inches."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {"font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "percept"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(FAINT)
        axes.tick_params(colors=INK, length=3)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def latency_chart(record: ReplayRecord) -> str:
    """Histogram of measured times a frame."""
    values = np.array([frame.wall_ns for frame in record.frames]) / 1e6

    def draw(axes: Any) -> None:
        axes.hist(values, bins=min(40, max(8, len(values) // 2)), color=ACCENT, edgecolor="white", linewidth=0.5)
        for share, style in ((50, "-"), (99, "--")):
            at = float(np.percentile(values, share))
            axes.axvline(at, color=WARM, linestyle=style, linewidth=1.2, label=f"P{share} {at:.1f} ms")
        axes.set_xlabel("time a frame, bytes to bytes (ms)")
        axes.set_ylabel("frames")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)

    return svg_figure(5.6, 2.8, draw)


def _seconds(record: ReplayRecord) -> Any:
    stamps = np.array([frame.stamp_ns for frame in record.frames], np.int64)
    return (stamps - stamps[0]) / 1e9


def timeline_chart(record: ReplayRecord) -> str:
    """Mode of every frame, number of tracks, and drops as they add up."""
    times = _seconds(record)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1

    def draw(axes: Any) -> None:
        tracks = [frame.tracks for frame in record.frames]
        drops = [frame.drops for frame in record.frames]
        top = max(1.0, float(max(*tracks, *drops, 1)))
        for mode in dict.fromkeys(frame.mode for frame in record.frames):
            spans = [(t - 0.5 * step, step) for t, f in zip(times, record.frames, strict=True) if f.mode is mode]
            axes.broken_barh(
                spans, (-0.16 * top, 0.1 * top), color=MODE_COLOURS[mode], label=f"mode {mode.name.lower()}"
            )
        axes.step(times, tracks, where="mid", color=ACCENT, linewidth=1.4, label="tracks")
        axes.step(times, drops, where="mid", color=WARM, linewidth=1.4, label="drops, sum")
        axes.set_xlabel("time in the recording (s)")
        axes.set_ylim(bottom=-0.2 * top)
        axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return svg_figure(11.4, 2.6, draw)


def lives_chart(record: ReplayRecord) -> str:
    """One line a track: solid where it was measured, pale where it coasted. The longest, by number."""
    first_ns = record.frames[0].stamp_ns
    lives = sorted(record.lives.values(), key=lambda life: -life.span_ns)[:LONGEST_LIVES]
    lives.sort(key=lambda life: life.number)

    def draw(axes: Any) -> None:
        for row, life in enumerate(lives):
            _draw_life(axes, row, life, first_ns)
        axes.set_yticks(range(len(lives)), [str(life.number) for life in lives])
        axes.set_ylim(len(lives) - 0.5, -0.5)
        axes.set_xlabel("time in the recording (s)")
        axes.set_ylabel("track")

    return svg_figure(11.4, 0.9 + 0.17 * max(3, len(lives)), draw)


def _draw_life(axes: Any, row: int, life: LifeLine, first_ns: int) -> None:
    times = (np.array(life.stamps_ns, np.int64) - first_ns) / 1e9
    colour = _colour(life)
    axes.plot(times, np.full(len(times), row), color=colour, linewidth=1.5, alpha=0.35, solid_capstyle="butt")
    measured = ~np.array(life.coasting)
    axes.plot(times[measured], np.full(int(measured.sum()), row), ".", color=colour, markersize=4)


def paths_chart(record: ReplayRecord) -> str:
    """All tracks from above: where they went (solid), and the paths predicted about every two seconds (dotted)."""
    lives = [life for life in record.lives.values() if life.confirmed]

    def draw(axes: Any) -> None:
        for life in lives:
            places = np.array(life.places)
            axes.plot(places[:, 0], places[:, 1], color=_colour(life), linewidth=1.2, alpha=0.8)
            for _, path in life.paths:
                axes.plot(path[:, 0], path[:, 1], ":", color=INK, linewidth=0.8)
                axes.plot(path[-1:, 0], path[-1:, 1], ".", color=INK, markersize=2)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(f"x in {record.frame_id or 'the track frame'} (m)")
        axes.set_ylabel("y (m)")

    return svg_figure(11.4, 6.0, draw)


def _colour(life: LifeLine) -> tuple[float, float, float]:
    blue, green, red = COLOURS[life.class_id]
    return red / 255 * 0.9, green / 255 * 0.85, blue / 255 * 0.9
