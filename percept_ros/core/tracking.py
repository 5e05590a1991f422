"""Tracks 3D detections in the fixed frame, camera boxes keeping weak objects alive.

The per-frame work is one call of the tracker kernel: predict, gate and assign in two rounds, update, match camera boxes,
existence, life cycle. This module guards time and frames and hands out values.
"""

from __future__ import annotations

import ctypes
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.config import TrackingConfig
from percept_ros.core.existence import ExistenceModel
from percept_ros.core.tracking_kernel import Frame, TrackerKernel
from percept_ros.core.tracking_parameters import TrackerParameters, default_classes
from percept_ros.errors import StampError
from percept_ros.native import pointer
from percept_ros.types import F64, CameraView, Detections, Detections2D, ObjectClass, Tracks

_WEAKER = 2
_TRACK_FIELDS = tuple(name for name in Tracks.__slots__ if name not in ("stamp_ns", "frame_id"))


def tracker_parameters(config: TrackingConfig, model: ExistenceModel | None) -> TrackerParameters:
    """Class parameters: defaults, under what was chosen with the model, under the user's limits."""
    chosen = model.parameters if model else {}
    everywhere = {} if model else {"confirm": config.confirm_existence, "publish": config.publish_existence}
    classes = []
    for kind, defaults in zip(ObjectClass, default_classes(), strict=True):
        limits = {"max_coast_s": config.max_coast_s, "max_lidar_coast_s": config.max_lidar_coast_s, **everywhere}
        if not model:
            limits["publish_coast"] = config.publish_existence
            limits["min_hits"] = float(config.min_hits)
        classes.append(replace(defaults, **{**limits, **chosen.get(kind.name, {})}))
    parameters = TrackerParameters(tuple(classes), max_tracks=config.max_tracks, stationary_mps=config.stationary_mps)
    return replace(parameters, bayes=replace(parameters.bayes, half_life_s=config.half_life_s))


@dataclass(frozen=True, slots=True)
class TrackerState:
    """Saved state of a tracker. poses: the last ego poses, (stamp, fixed_SE3_base). kernel: bytes of the kernel's state."""

    stamp_ns: int | None
    frame_id: str
    poses: tuple[tuple[int, F64], ...]
    kernel: bytes


class Tracker:
    """Multi-class tracker. All calls come from one thread.

    Tracks are estimated in the fixed frame, or in the base frame as long as no ego pose was ever given. A pose that is
    missing for a short while is extrapolated; then the tracker starts again in the base frame. ``refused`` counts frames
    not used by reason; ``resets`` counts fresh starts.
    """

    def __init__(
        self,
        config: TrackingConfig,
        *,
        seed: int | None = None,
        fixed_frame: str = "odom",
        model: ExistenceModel | None = None,
        parameters: TrackerParameters | None = None,
    ) -> None:
        """seed: fixes the ids. model: learned existence, None = the Bayes update. parameters: instead of those of ``config``."""
        self._config = config
        self._fixed_frame = fixed_frame
        self._seed = secrets.randbits(64) if seed is None else seed % 2**64
        chosen = parameters or tracker_parameters(config, model)
        self.kernel = TrackerKernel(chosen, model.flat() if model else None, self._seed)
        self._frame = Frame()
        self._frame_address = ctypes.addressof(self._frame)
        self._stamp_ns: int | None = None
        self._poses: list[tuple[int, F64]] = []
        self._frame_id = ""
        self.refused: Counter[str] = Counter()
        self.resets: Counter[str] = Counter()

    def step(
        self,
        detections: Detections,
        detections_2d: Mapping[str, Detections2D],
        views: Mapping[str, CameraView],
        fixed_SE3_base: F64 | None,
        *,
        weaker: bool = False,
    ) -> Tracks:
        """Advance to ``detections.stamp_ns``.

        detections: boxes in the base frame. detections_2d: camera -> boxes; cameras without a view are not used.
        fixed_SE3_base: (4, 4) ego pose, None = not known now. weaker: a fallback detector measured, which sees less and scores
        lower: its matches do not lower existence and its misses lower it slowly. Raises StampError for a stamp that is not newer than the
        last (refused and counted; nothing changes) and InputError for non-finite boxes.
        """
        pose = self._enter(detections.stamp_ns, fixed_SE3_base, detections.frame_id)
        seeing = [name for name in views if name in detections_2d]
        keep = [*self._lidar(detections), *self._cameras(seeing, detections_2d, views), pose]
        self._frame.fixed_SE3_base = pointer(pose)
        self._frame.measured = _WEAKER if weaker else 1
        tracks = self._run(detections.stamp_ns)
        del keep
        return tracks

    def coast(self, stamp_ns: int, fixed_SE3_base: F64 | None) -> Tracks:
        """Advance to ``stamp_ns`` without any measurement: tracks are predicted and fade, no miss is counted."""
        pose = self._enter(stamp_ns, fixed_SE3_base, self._frame_id)
        self._frame.n = self._frame.cameras = self._frame.measured = 0
        self._frame.fixed_SE3_base = pointer(pose)
        return self._run(stamp_ns)

    def save(self) -> TrackerState:
        """What another tracker of the same configuration needs to go on with the same tracks and ids."""
        return TrackerState(self._stamp_ns, self._frame_id, tuple(self._poses), self.kernel.save())

    def restore(self, state: TrackerState) -> None:
        """Go on where ``state`` was saved. Raises InputError, and keeps its own tracks, when it is not sound."""
        self.kernel.restore(state.kernel)
        self._stamp_ns, self._frame_id, self._poses = state.stamp_ns, state.frame_id, list(state.poses)

    @property
    def stamp_ns(self) -> int | None:
        """Stamp of the last frame, None at the start."""
        return self._stamp_ns

    def reset(self) -> None:
        """Forget all tracks. Ids are not used again."""
        self.kernel.reset()
        self._stamp_ns = None
        self._poses.clear()

    def _run(self, stamp_ns: int) -> Tracks:
        self._frame.stamp_ns = stamp_ns
        count = self.kernel.step(self._frame_address)
        self._stamp_ns = stamp_ns
        return Tracks(stamp_ns, self._frame_id, *(self.kernel.out[name][:count].copy() for name in _TRACK_FIELDS))

    def _enter(self, stamp_ns: int, fixed_SE3_base: F64 | None, base_frame: str) -> F64:
        """Check the stamp, choose the frame, and give the ego pose to use."""
        if self._stamp_ns is not None:
            step_ns = stamp_ns - self._stamp_ns
            if abs(step_ns) > self._config.time_jump_s * 1e9:
                self.resets["time_jump"] += 1
                self.reset()
            elif step_ns <= 0:
                self.refused["out_of_order"] += 1
                raise StampError(f"stamp {stamp_ns} is not after {self._stamp_ns}: frame refused", "out_of_order")
        pose = self._pose(stamp_ns, fixed_SE3_base)
        frame_id = base_frame if pose is None else self._fixed_frame
        if self._stamp_ns is not None and frame_id != self._frame_id and self._frame_id:
            self.resets["frame_change"] += 1
            self.reset()
        self._frame_id = frame_id
        if fixed_SE3_base is not None:
            self._poses = [*self._poses[-1:], (stamp_ns, np.ascontiguousarray(fixed_SE3_base, np.float64))]
        return np.eye(4) if pose is None else pose

    def _pose(self, stamp_ns: int, fixed_SE3_base: F64 | None) -> F64 | None:
        """The given pose, or the last ones extrapolated for a short while."""
        if fixed_SE3_base is not None:
            return np.ascontiguousarray(fixed_SE3_base, np.float64)
        if not self._poses or stamp_ns - self._poses[-1][0] > self._config.pose_hold_s * 1e9:
            return None
        if len(self._poses) == 1:
            return self._poses[0][1]
        (before_ns, before), (last_ns, last) = self._poses
        return extrapolate(before, last, (stamp_ns - last_ns) / (last_ns - before_ns))

    def _lidar(self, detections: Detections) -> list[object]:
        arrays: dict[str, npt.NDArray[Any]] = {
            "boxes": np.ascontiguousarray(detections.boxes, np.float64),
            "scores": np.ascontiguousarray(detections.scores, np.float64),
            "class_probs": np.ascontiguousarray(detections.class_probabilities, np.float64),
            "velocity": np.ascontiguousarray(detections.velocity_mps, np.float64),
            "sensors": np.ascontiguousarray(detections.sensors, np.uint32),
        }
        self._frame.n = len(detections)
        return self._lend(arrays)

    def _cameras(
        self, names: list[str], boxes: Mapping[str, Detections2D], views: Mapping[str, CameraView]
    ) -> list[object]:
        self._frame.cameras = len(names)
        if not names:
            return []
        seen = [boxes[name] for name in names]
        counts = [len(item.scores) for item in seen]
        arrays: dict[str, npt.NDArray[Any]] = {
            "projections": np.stack([base_projection(views[name]) for name in names]),
            "image_size": np.array([(views[n].width_px, views[n].height_px) for n in names], np.float64),
            "camera_bits": np.array([views[n].bit for n in names], np.uint32),
            "camera_offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            "boxes2d": np.ascontiguousarray(np.concatenate([item.boxes_px for item in seen]), np.float64),
            "scores2d": np.concatenate([item.scores for item in seen]).astype(np.float64),
            "classes2d": np.concatenate([item.class_ids for item in seen]).astype(np.int64),
        }
        return self._lend(arrays)

    def _lend(self, arrays: Mapping[str, npt.NDArray[Any]]) -> list[object]:
        for name, array in arrays.items():
            setattr(self._frame, name, pointer(array))
        return list(arrays.values())


def base_projection(view: CameraView) -> F64:
    """(3, 4) pixels from the base frame."""
    projection: F64 = np.ascontiguousarray(view.projection @ np.linalg.inv(view.base_SE3_camera))
    return projection


def extrapolate(before: F64, last: F64, ratio: float) -> F64:
    """Ego pose ``ratio`` steps after ``last`` when the motion from ``before`` to ``last`` (a step) goes on; planar turn."""
    step = np.linalg.inv(before) @ last
    turn = float(np.arctan2(step[1, 0], step[0, 0])) * ratio
    ahead = np.eye(4)
    ahead[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    ahead[:3, 3] = step[:3, 3] * ratio
    pose: F64 = np.ascontiguousarray(last @ ahead)
    return pose
