"""Simulated moments for bev_fusion: a sweep, small camera images with their projections, and what is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from percept_ros.core.bev import GroundPlane, fit_ground
from percept_ros.core.geometry import inverse, transform_boxes
from percept_ros.core.lift import ImageInput, road_projection, small_image
from percept_ros.errors import RecordingError
from percept_ros.simulate.drive import SimulateConfig, SimulatedFrame, simulate_drive
from percept_ros.train.scans import Scan, above_road, network_class
from percept_ros.types import F32, F64, I64, U8

IMAGES = ImageInput()
LABEL_STRIDE = 4
_SAVED_RANGE_M = 54.0
_UNIT_M = 0.005


@dataclass(frozen=True, slots=True)
class FusionScan:
    """One moment in the road frame.

    scan: sweep and objects. images: (N, height, width, 3) uint8 BGR. projections: (N, 3, 4) of core/lift.py.
    visible_px: (objects,) pixels that each object covers in all simulated images together.
    labels: (N, height/4, width/4) uint8, what a pixel shows: 1 + index into CLASSES, 0 anything else.
    depth_m: the same shape, float16, along the axis, 0 = sky.
    """

    scan: Scan
    images: U8
    projections: F32
    visible_px: I64
    labels: U8
    depth_m: npt.NDArray[np.float16]


def objects_of(frame: SimulatedFrame) -> tuple[F64, I64]:
    """Boxes (N, 7) in the base frame and classes (N,) of a simulated frame's truth."""
    pose = frame.sensors.fixed_SE3_base
    assert pose is not None
    return transform_boxes(inverse(pose), frame.truth.boxes), frame.truth.class_ids


def fusion_scan(frame: SimulatedFrame) -> FusionScan:
    """What training keeps of a simulated frame."""
    sensors, (boxes, class_ids) = frame.sensors, objects_of(frame)
    assert sensors.cloud is not None
    points = sensors.cloud.points + sensors.base_SE3[sensors.cloud.sensor][:3, 3].astype(np.float32)
    near = np.hypot(points[:, 0], points[:, 1]) < _SAVED_RANGE_M
    use = np.hypot(boxes[:, 0], boxes[:, 1]) < _SAVED_RANGE_M
    scan = above_road(points[near], boxes[use], class_ids[use], frame.points_inside[use])
    ground: GroundPlane = fit_ground(points[near])
    views = sorted(sensors.views.values(), key=lambda view: view.bit)
    images = [small_image(sensors.cameras[view.name].image, IMAGES) for view in views]
    labels, depth_m = _pixel_labels(frame, class_ids)
    return FusionScan(
        scan,
        np.array(images, np.uint8).reshape(-1, IMAGES.height_px, IMAGES.width_px, 3),
        np.array([road_projection(view, ground) for view in views], np.float32).reshape(-1, 3, 4),
        frame.visible_px[use],
        labels,
        depth_m,
    )


def _pixel_labels(frame: SimulatedFrame, class_ids: I64) -> tuple[U8, npt.NDArray[np.float16]]:
    """Class and depth of the middle pixel of each LABEL_STRIDE square of the network's images."""
    rows, columns = IMAGES.height_px // LABEL_STRIDE, IMAGES.width_px // LABEL_STRIDE
    own = np.array([1 + network_class(int(c)) for c in class_ids] + [0], np.uint8)
    labels, depth_m = np.zeros((2, len(frame.pixel_truth), rows, columns), np.float16)
    for n, truth in enumerate(frame.pixel_truth):
        height, width = truth.owner.shape
        v = ((np.arange(rows) + 0.5) * height / rows).astype(np.int64)
        u = ((np.arange(columns) + 0.5) * width / columns).astype(np.int64)
        at = np.ix_(v, u)
        labels[n], depth_m[n] = own[np.maximum(truth.owner[at], -1)], truth.depth_m[at]
    return labels.astype(np.uint8), depth_m


def simulate_moment(seed: int, index: int) -> FusionScan:
    """Moment ``index`` of ``seed``: a world of its own, with a random number of cameras, beams, traffic."""
    rng = np.random.default_rng((seed, index))
    config = SimulateConfig(
        seconds=0.1,
        cameras=int(rng.choice([4, 5, 6, 6, 6, 7, 8])),
        beams=int(rng.choice([16, 32, 40, 64, 64, 64, 128])),
        width_px=2 * IMAGES.width_px,
        height_px=2 * IMAGES.height_px,
        density=float(rng.uniform(0.2, 1.0)),
        threads=1,
    )
    (frame,) = simulate_drive(config, seed * 1_000_000 + index)
    return fusion_scan(frame)


def save_moment(moment: FusionScan, file: Path) -> None:
    """Write one moment; readers never see half a file."""
    units = np.clip(np.round(moment.scan.points / _UNIT_M), -32767, 32767).astype(np.int16)
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez(
            stream,
            points=units,
            boxes=moment.scan.boxes,
            classes=moment.scan.classes,
            inside=moment.scan.inside,
            images=moment.images,
            projections=moment.projections,
            visible_px=moment.visible_px,
            labels=moment.labels,
            depth_m=moment.depth_m,
        )
    os.replace(unfinished, file)


def load_moment(file: Path) -> FusionScan:
    """Read what ``save_moment`` wrote. Raises RecordingError."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            points = stored["points"].astype(np.float32) * np.float32(_UNIT_M)
            scan = Scan(points, stored["boxes"], stored["classes"], stored["inside"])
            rest = ("images", "projections", "visible_px", "labels", "depth_m")
            return FusionScan(scan, *(stored[name] for name in rest))
    except (OSError, ValueError, KeyError, BadZipFile) as exc:
        raise RecordingError(f"moment file '{file}' cannot be read: {exc}") from exc


def fill_moments(folder: Path, count: int, seed: int, report: Callable[[str], None]) -> int:
    """Make the moments that are not there yet; returns how many were made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for index in range(count):
        file = folder / f"{seed:06d}_{index:07d}.npz"
        if not file.exists():
            save_moment(simulate_moment(seed, index), file)
            made += 1
            if made % 100 == 0:
                report(f"{index + 1}/{count} moments")
    return made
