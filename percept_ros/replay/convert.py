"""Data set name -> converter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.convert_av2 import convert_av2
from percept_ros.replay.convert_kitti import Progress, convert_drive, convert_object
from percept_ros.replay.convert_kitti_tracking import convert_tracking
from percept_ros.replay.convert_nuscenes import convert_nuscenes

DATASETS = ("kitti-drive", "kitti-object", "kitti-tracking", "nuscenes", "av2")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert and how.

    sequence: of kitti-tracking, empty = the first. encoded_images: keep PNG and JPEG bytes (CompressedImage).
    storage: ``mcap``, ``sqlite3`` or empty = by suffix. compress: zstd.
    """

    dataset: str
    root: Path
    output: Path
    sequence: str = ""
    encoded_images: bool = False
    storage: str = ""
    compress: bool = False


def convert(job: Conversion, progress: Progress) -> Mapping[str, int]:
    """Write the bag; returns topic -> number of messages. Raises RecordingError naming the missing or broken file."""
    if job.dataset not in DATASETS:
        raise RecordingError(f"data set '{job.dataset}' is unknown, expected one of {', '.join(DATASETS)}")
    if not job.root.is_dir():
        raise RecordingError(f"data set folder '{job.root}' does not exist or is not a folder")
    with BagWriter(job.output, storage=job.storage, compress=job.compress) as bag:
        _convert_into(bag, job, progress)
        return bag.counts


def _convert_into(bag: BagWriter, job: Conversion, progress: Progress) -> None:
    if job.dataset == "kitti-drive":
        convert_drive(job.root, bag, progress, encoded_images=job.encoded_images)
    elif job.dataset == "kitti-object":
        convert_object(job.root, bag, progress, encoded_images=job.encoded_images)
    elif job.dataset == "kitti-tracking":
        convert_tracking(job.root, bag, progress, sequence=job.sequence, encoded_images=job.encoded_images)
    elif job.dataset == "nuscenes":
        convert_nuscenes(job.root, bag, progress, encoded_images=job.encoded_images)
    else:
        convert_av2(job.root, bag, progress)
