"""Runs the tracker over KITTI tracking sequences with stored detections and collects its results."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.existence import FEATURES, ExistenceModel
from percept_ros.core.tracking import base_projection
from percept_ros.core.tracking_kernel import Frame, TrackerKernel
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.errors import RecordingError
from percept_ros.evaluate.kitti_io import (
    Boxes2D,
    Boxes3D,
    Calibration,
    Labels,
    project_boxes,
    read_boxes_2d,
    read_boxes_3d,
    read_calibration,
    read_labels,
    read_poses,
)
from percept_ros.evaluate.mot import TrackRows
from percept_ros.native import pointer
from percept_ros.types import F64, I64, LIDAR_BIT, NUM_CLASSES, ObjectClass

CLASSES = {"Car": ObjectClass.CAR, "Pedestrian": ObjectClass.PEDESTRIAN}
"""Evaluated label -> class of the tracker."""
FRAME_NS = 100_000_000
SCORE_DECIMALS = 6
"""Scores are judged as they are written out: the public evaluator is sensitive to their last digit."""


@dataclass(frozen=True, slots=True)
class Sequence3D:
    """One KITTI tracking sequence, ready for the tracker.

    arrays: name -> all rows of the sequence in kernel layout. row_from, camera_from: (frames + 1,) first row of each frame.
    fixed_SE3_base: (frames, 4, 4). with_pose: whether ego motion is known.
    """

    name: str
    frames: int
    labels: Labels | None
    calibration: Calibration
    fixed_SE3_base: F64
    with_pose: bool
    arrays: Mapping[str, npt.NDArray[Any]]
    row_from: I64
    camera_from: I64


@dataclass(frozen=True, slots=True)
class Evidence:
    """Every live track in every frame: frames, numbers, classes (N,), features (N, F), boxes (N, 7) base frame."""

    frames: I64
    numbers: I64
    classes: I64
    features: F64
    boxes: F64
    existence: F64


def list_sequences(root: Path) -> tuple[str, ...]:
    """Names of the sequences that have 3D detections under ``root``. Raises RecordingError when there are none."""
    names = sorted({file.stem for file in (root / "detections" / "pointrcnn_3d").glob("*/*.txt")})
    if not names:
        raise RecordingError(f"'{root}' has no detections/pointrcnn_3d/<class>/NNNN.txt")
    return tuple(names)


def read_sequence(root: Path, name: str, detector: str = "pointrcnn_3d", camera: str | None = None) -> Sequence3D:
    """Read one sequence. ``camera``: folder under detections/ with 2D boxes, or None. Raises RecordingError."""
    label_file = root / "label_02" / f"{name}.txt"
    labels = read_labels(label_file) if label_file.exists() else None
    calibration = read_calibration(root / "calib" / f"{name}.txt")
    folder = root / "detections"
    boxes = {c: read_boxes_3d(folder / detector / k / f"{name}.txt") for k, c in CLASSES.items()}
    seen = {c: read_boxes_2d(folder / camera / k / f"{name}.txt") for k, c in CLASSES.items()} if camera else {}
    poses = read_poses(root / "oxts", name)
    last = [int(b.frames.max(initial=-1)) for b in boxes.values()]
    last += [int(b.frames.max(initial=-1)) for b in seen.values()]
    if labels is not None:
        last.append(int(labels.frames.max(initial=-1)))
    frames = max(*last, -1 if poses is None else len(poses) - 1) + 1
    fixed = np.tile(np.eye(4), (frames, 1, 1))
    if poses is not None:
        known = poses[np.minimum(np.arange(frames), len(poses) - 1)] @ calibration.imu_SE3_base
        fixed = np.linalg.inv(known[0]) @ known
    arrays, row_from = _lidar_arrays(boxes, frames)
    camera_arrays, camera_from = _camera_arrays(seen, frames)
    arrays |= camera_arrays | _view_arrays(calibration)
    return Sequence3D(name, frames, labels, calibration, fixed, poses is not None, arrays, row_from, camera_from)


def _lidar_arrays(boxes: Mapping[ObjectClass, Boxes3D], frames: int) -> tuple[dict[str, npt.NDArray[Any]], I64]:
    frame = np.concatenate([b.frames for b in boxes.values()])
    kinds = np.concatenate([np.full(len(b.frames), c) for c, b in boxes.items()]).astype(np.int64)
    order = np.argsort(frame, kind="stable")
    raw = np.concatenate([b.scores for b in boxes.values()])[order]
    arrays: dict[str, npt.NDArray[Any]] = {
        "boxes": np.ascontiguousarray(np.concatenate([b.boxes for b in boxes.values()])[order]),
        "scores": 1 / (1 + np.exp(-raw)),
        "class_probs": np.eye(NUM_CLASSES)[kinds[order]],
        "velocity": np.full((len(order), 2), np.nan),
        "sensors": np.full(len(order), LIDAR_BIT, np.uint32),
    }
    return arrays, np.searchsorted(frame[order], np.arange(frames + 1)).astype(np.int64)


def _camera_arrays(seen: Mapping[ObjectClass, Boxes2D], frames: int) -> tuple[dict[str, npt.NDArray[Any]], I64]:
    if not seen:
        return {}, np.zeros(frames + 1, np.int64)
    frame = np.concatenate([b.frames for b in seen.values()])
    kinds = np.concatenate([np.full(len(b.frames), c) for c, b in seen.items()]).astype(np.int64)
    order = np.argsort(frame, kind="stable")
    arrays: dict[str, npt.NDArray[Any]] = {
        "boxes2d": np.ascontiguousarray(np.concatenate([b.boxes_px for b in seen.values()])[order]),
        "scores2d": np.concatenate([b.scores for b in seen.values()])[order],
        "classes2d": kinds[order],
    }
    return arrays, np.searchsorted(frame[order], np.arange(frames + 1)).astype(np.int64)


def _view_arrays(calibration: Calibration) -> dict[str, npt.NDArray[Any]]:
    view = calibration.view
    return {
        "projections": base_projection(view),
        "image_size": np.array([view.width_px, view.height_px], np.float64),
        "camera_bits": np.array([view.bit], np.uint32),
    }


_NOTHING: tuple[npt.NDArray[Any], ...] = (
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0),
    np.zeros((0, 7)),
)


class SequenceRun:
    """Tracks one sequence frame by frame through the kernel, with addresses prepared beforehand."""

    def __init__(
        self, sequence: Sequence3D, parameters: TrackerParameters, model: ExistenceModel | None, seed: int
    ) -> None:
        self.sequence = sequence
        self.kernel = TrackerKernel(parameters, model.flat() if model else None, seed)
        self._poses = np.ascontiguousarray(sequence.fixed_SE3_base)
        self._offsets = np.stack([np.zeros_like(sequence.camera_from[:-1]), np.diff(sequence.camera_from)], axis=1)
        self._offsets = np.ascontiguousarray(self._offsets)
        self.seconds = 0.0

    def _frames(self) -> list[Frame]:
        """One structure a frame: what a node fills as messages come in."""
        s, a = self.sequence, self.sequence.arrays
        at = {name: (pointer(array), array.strides[0]) for name, array in a.items()}
        fixed = {name: at[name][0] for name in ("projections", "image_size", "camera_bits")}
        frames = []
        for k in range(s.frames):
            frame = Frame(stamp_ns=(k + 1) * FRAME_NS, n=int(s.row_from[k + 1] - s.row_from[k]), measured=1, **fixed)
            frame.fixed_SE3_base = pointer(self._poses) + 128 * k
            for name in ("boxes", "scores", "class_probs", "velocity", "sensors"):
                setattr(frame, name, at[name][0] + at[name][1] * int(s.row_from[k]))
            if "boxes2d" in a:
                frame.cameras = 1
                frame.camera_offsets = pointer(self._offsets) + 16 * k
                for name in ("boxes2d", "scores2d", "classes2d"):
                    setattr(frame, name, at[name][0] + at[name][1] * int(s.camera_from[k]))
            frames.append(frame)
        return frames

    def published(self) -> dict[str, npt.NDArray[Any]]:
        """Published tracks of all frames: frames, numbers, classes, existence (N,), boxes (N, 7) in the base frame.

        ``seconds`` is the processor time of the tracking calls alone.
        """
        frames = self._frames()
        addresses = [ctypes.addressof(f) for f in frames]
        out, step, spent = self.kernel.out, self.kernel.step, 0.0
        parts: list[tuple[npt.NDArray[Any], ...]] = [_NOTHING]
        for k, address in enumerate(addresses):
            started = time.thread_time()
            n = step(address)
            spent += time.thread_time() - started
            if n:
                which = np.argmax(out["class_probabilities"][:n], axis=1)
                kept = (out[name][:n].copy() for name in ("number", "existence", "boxes"))
                parts.append((np.full(n, k), which, *kept))
        self.seconds = spent
        joined = (np.concatenate(p) for p in zip(*parts, strict=True))
        rows = dict(zip(("frames", "classes", "numbers", "existence", "boxes"), joined, strict=True))
        rows["boxes"] = self._to_base(rows["frames"], rows["boxes"])
        return rows

    def results(self) -> dict[str, TrackRows]:
        """Published tracks that the camera could see: label -> rows."""
        all_of = self.published()
        view = self.sequence.calibration.view
        boxes_px, in_view = project_boxes(all_of["boxes"], base_projection(view), view.width_px, view.height_px)
        scores = np.round(all_of["existence"], SCORE_DECIMALS)
        rows = {}
        for label, kind in CLASSES.items():
            k = in_view & (all_of["classes"] == kind)
            rows[label] = TrackRows(
                all_of["frames"][k], all_of["numbers"][k], all_of["boxes"][k], boxes_px[k], scores[k]
            )
        return rows

    def evidence(self) -> Evidence:
        """All live tracks in every frame, published or not."""
        frames = self._frames()
        parts = []
        for k, frame in enumerate(frames):
            self.kernel.step(ctypes.addressof(frame))
            numbers, classes, features, boxes, existence = self.kernel.evidence()
            parts.append((np.full(len(numbers), k), numbers, classes, features, boxes, existence))
        frame_ids, numbers, classes, features, boxes, existence = (np.concatenate(p) for p in zip(*parts, strict=True))
        return Evidence(
            frame_ids, numbers, classes, features.reshape(-1, len(FEATURES)), self._to_base(frame_ids, boxes), existence
        )

    def _to_base(self, frames: I64, boxes: F64) -> F64:
        """Fixed-frame boxes -> base frame of each row's frame."""
        poses = self._poses[frames]
        base = boxes.copy()
        base[:, :3] = np.einsum("nji,nj->ni", poses[:, :3, :3], boxes[:, :3] - poses[:, :3, 3])
        along = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], axis=1)
        turned = np.einsum("nji,nj->ni", poses[:, :3, :3], along)
        base[:, 6] = np.arctan2(turned[:, 1], turned[:, 0])
        return base
