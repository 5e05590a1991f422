"""``percept simulate``: a bag of a simulated drive with ground truth."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, emit_table
from percept_ros.cli.progress import progress_bar

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLE = (
    "Example:  percept simulate -o drive.mcap --seconds 20 --cameras 6 --seed 1 && percept replay drive.mcap -o out"
)


@app.command(epilog=EXAMPLE)
def simulate(
    output: Path = typer.Option(
        ..., "-o", "--output", help="Bag to write: a .mcap or .db3 file, or any other name for a rosbag2 folder."
    ),
    seconds: float = typer.Option(20.0, help="Length of the drive."),
    cameras: int = typer.Option(6, help="Number of cameras, 0 to 8."),
    beams: int = typer.Option(64, help="LiDAR beams: 16, 32, 40, 64 or 128."),
    seed: int = typer.Option(0, help="The same seed gives the same bytes."),
    size: str = typer.Option("800x450", help="Image size in pixels, WIDTHxHEIGHT."),
    density: float = typer.Option(0.5, help="How much traffic, 0 to 1."),
    speed: float = typer.Option(10.0, help="Speed the ego vehicle wants, m/s."),
    raw: bool = typer.Option(False, help="Write sensor_msgs/Image instead of JPEG CompressedImage."),
    threads: int = typer.Option(2, help="Threads; the result does not depend on it."),
    json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Simulate a drive: spinning LiDAR, a ring of cameras, odometry, transforms and ground truth tracks."""
    from percept_ros.replay.simulated import record_drive
    from percept_ros.settings import parse
    from percept_ros.simulate.drive import SimulateConfig

    width, height = _size(size)
    values = {"seconds": seconds, "cameras": cameras, "beams": beams, "density": density, "speed_mps": speed}
    config = parse(SimulateConfig, {**values, "width_px": width, "height_px": height, "threads": threads})
    started = time.perf_counter()
    with progress_bar("simulate") as update:
        recorded = record_drive(output, config, seed, update, raw=raw)
    took_s = round(time.perf_counter() - started, 3)
    if json:
        result = {"frames": recorded.frames, "objects": recorded.objects, "topics": recorded.topics}
        emit_json({**result, "bag": str(output), "seconds": took_s})
    else:
        title = f"{output}: {recorded.frames} frames, {recorded.objects} objects, {took_s:.1f} s"
        emit_table(title, ("topic", "messages"), sorted(recorded.topics.items()))


def _size(text: str) -> tuple[int, int]:
    from percept_ros.errors import ConfigError

    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ConfigError(f"image size '{text}' is not WIDTHxHEIGHT, for example 800x450")
    return int(width), int(height)
