"""``percept convert``: public data sets as bags."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path

import typer

from percept_ros.cli.output import emit_json, emit_table
from percept_ros.cli.progress import progress_bar

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Dataset(str, Enum):
    """Layouts that can be read."""

    KITTI_DRIVE = "kitti-drive"
    KITTI_OBJECT = "kitti-object"
    KITTI_TRACKING = "kitti-tracking"
    NUSCENES = "nuscenes"
    AV2 = "av2"


EXAMPLE = "Example:  percept convert kitti-drive ~/kitti/drive -o drive.mcap && percept replay drive.mcap -o out"


@app.command(epilog=EXAMPLE)
def convert(
    dataset: Dataset = typer.Argument(..., help="Layout of the folder."),
    root: Path = typer.Argument(..., metavar="DIR", help="Folder of the data set."),
    output: Path = typer.Option(
        ..., "-o", "--output", help="Bag to write: a .mcap or .db3 file, or any other name for a rosbag2 folder."
    ),
    sequence: str = typer.Option("", help="kitti-tracking: sequence, for example 0003 (default: the first)."),
    encoded_images: bool = typer.Option(False, help="Keep PNG and JPEG files as they are (CompressedImage)."),
    storage: str = typer.Option("", help="mcap or sqlite3 (default: by suffix, else mcap)."),
    compress: bool = typer.Option(False, help="Compress with zstd."),
    json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Turn KITTI, nuScenes or Argoverse 2 data into a bag with calibration, transforms and ground truth."""
    from percept_ros.replay.convert import Conversion
    from percept_ros.replay.convert import convert as run

    job = Conversion(dataset.value, root, output, sequence, encoded_images, storage, compress)
    started = time.perf_counter()
    with progress_bar(f"convert {dataset.value}") as update:
        topics = run(job, update)
    total = sum(topics.values())
    if json:
        took_s = round(time.perf_counter() - started, 3)
        emit_json({"messages": total, "topics": dict(topics), "bag": str(output), "seconds": took_s})
    else:
        emit_table(f"{output}: {total} messages", ("topic", "messages"), sorted(topics.items()))
