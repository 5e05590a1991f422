"""Trajectories to learn and judge prediction on: KITTI tracking labels, ETH/UCY files, one Argoverse 2 log.

All are the data set's own positions in a fixed frame, cut where a step is missing; nothing is smoothed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.core.path_features import GROUP_OF_CLASS, PEDESTRIAN, RIDER, VEHICLE
from percept_ros.errors import RecordingError
from percept_ros.types import F64, I64, Bool, ObjectClass

KITTI_KINDS = {
    **dict.fromkeys(("car", "van", "truck"), VEHICLE),
    **dict.fromkeys(("pedestrian", "person"), PEDESTRIAN),
    "cyclist": RIDER,
}
SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
SCENE_OF_FILE = {
    "biwi_eth": "eth",
    "biwi_hotel": "hotel",
    "students001": "univ",
    "students003": "univ",
    "crowds_zara01": "zara1",
    "crowds_zara02": "zara2",
}
KITTI_STEP_S, ETH_STEP_S = 0.1, 0.4


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One object without gaps. start: its first step. sequence: recording or scene. group: index into ``GROUPS``.

    measured: (L, 2) positions that the predictor sees, metres. truth: (L, 2) where it really was. velocity_mps: (L, 2)
    velocity that the tracker told, or None.
    """

    sequence: str
    start: int
    group: int
    measured: F64
    truth: F64
    velocity_mps: F64 | None = None


@dataclass(frozen=True, slots=True)
class Cases:
    """Situations to predict from, all of one clock.

    past_m: (N, H, 2) measured positions up to now. future_m: (N, T, 2) true positions, NaN after the end.
    velocity_mps: (N, H, 2) as the tracker told, or None. groups, at: (N,) group and step of now. sequences: (N,) str.
    """

    step_s: float
    past_m: F64
    future_m: F64
    velocity_mps: F64 | None
    groups: I64
    at: I64
    sequences: np.ndarray[tuple[int], np.dtype[np.str_]]

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: I64 | Bool) -> Cases:
        """The chosen cases."""
        velocity = None if self.velocity_mps is None else self.velocity_mps[rows]
        return Cases(
            self.step_s,
            self.past_m[rows],
            self.future_m[rows],
            velocity,
            self.groups[rows],
            self.at[rows],
            self.sequences[rows],
        )


def runs(steps: I64) -> list[slice]:
    """Slices of ascending steps without a gap."""
    cuts = np.flatnonzero(np.diff(steps) != 1) + 1
    edges = [0, *cuts.tolist(), len(steps)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def cut(sequence: str, group: int, steps: I64, positions_m: F64) -> list[Trajectory]:
    """Trajectories of one object from its steps (n,) in any order and positions (n, 2)."""
    order = np.argsort(steps, kind="stable")
    steps, positions_m = steps[order], positions_m[order]
    return [
        Trajectory(sequence, int(steps[s.start]), group, positions_m[s], positions_m[s])
        for s in runs(steps)
        if s.stop - s.start >= 2
    ]


def cases(
    trajectories: Iterable[Trajectory],
    step_s: float,
    history: int,
    horizon: int,
    *,
    whole: bool = True,
    stride: int = 1,
) -> Cases:
    """Every window of ``history`` positions and ``horizon`` later ones; without ``whole`` the future may end early."""
    past, future, velocity, groups, at, names = [], [], [], [], [], []
    for t in trajectories:
        padded = np.vstack([t.truth, np.full((horizon, 2), np.nan)])
        last = len(t.truth) - (horizon if whole else 1)
        for now in range(history - 1, last, stride):
            past.append(t.measured[now - history + 1 : now + 1])
            future.append(padded[now + 1 : now + 1 + horizon])
            if t.velocity_mps is not None:
                velocity.append(t.velocity_mps[now - history + 1 : now + 1])
            groups.append(t.group)
            at.append(t.start + now)
            names.append(t.sequence)
    return Cases(
        step_s,
        np.array(past).reshape(-1, history, 2),
        np.array(future).reshape(-1, horizon, 2),
        np.array(velocity).reshape(-1, history, 2) if velocity else None,
        np.array(groups, np.int64),
        np.array(at, np.int64),
        np.array(names, dtype=np.str_),
    )


def kitti(root: Path, sequences: Sequence[str] = ()) -> list[Trajectory]:
    """Labelled objects of KITTI tracking sequences in the frame of each drive's start, 10 Hz. Raises RecordingError."""
    from percept_ros.evaluate.kitti_io import read_calibration, read_labels, read_poses

    files = sorted((root / "label_02").glob("*.txt"))
    if not files:
        raise RecordingError(f"'{root}' has no label_02/NNNN.txt", "missing")
    found = []
    for file in files:
        if sequences and file.stem not in sequences:
            continue
        labels = read_labels(file)
        poses = read_poses(root / "oxts", file.stem)
        if poses is None:
            raise RecordingError(f"'{root}' has no ego motion oxts/{file.stem}.txt", "missing")
        fixed = poses @ read_calibration(root / "calib" / f"{file.stem}.txt").imu_SE3_base
        found += _kitti_objects(file.stem, labels.frames, labels.track_ids, labels.kinds, labels.boxes, fixed)
    return found


def _kitti_objects(
    name: str, frames: I64, ids: I64, kinds: tuple[str, ...], boxes: F64, fixed_SE3_base: F64
) -> list[Trajectory]:
    pose = fixed_SE3_base[np.minimum(frames, len(fixed_SE3_base) - 1)]
    placed = np.einsum("nij,nj->ni", pose[:, :2, :3], boxes[:, :3]) + pose[:, :2, 3]
    kind = np.array(kinds)
    found = []
    for number in np.unique(ids[ids >= 0]):
        rows = np.flatnonzero(ids == number)
        if (group := KITTI_KINDS.get(str(kind[rows[0]]))) is not None:
            found += cut(name, group, frames[rows], placed[rows])
    return found


def eth_ucy(root: Path, part: str, scenes: Sequence[str] = SCENES) -> dict[str, list[Trajectory]]:
    """Scene -> pedestrians of its ``part`` (train, val or test) files as they are given, 2.5 Hz. Raises RecordingError."""
    found: dict[str, list[Trajectory]] = {}
    for scene in scenes:
        files = sorted((root / scene / part).glob("*.txt"))
        if not files:
            raise RecordingError(f"'{root}' has no {scene}/{part}/*.txt", "missing")
        found[scene] = [t for file in files for t in _eth_file(file)]
    return found


def _eth_file(file: Path) -> list[Trajectory]:
    rows = np.loadtxt(file, ndmin=2)
    steps = np.rint(rows[:, 0] / 10.0).astype(np.int64)
    ids = rows[:, 1]
    found = []
    for number in np.unique(ids):
        mine = ids == number
        found += cut(file.stem, PEDESTRIAN, steps[mine], rows[mine, 2:4])
    return found


def av2(root: Path) -> list[Trajectory]:
    """Annotated objects of an Argoverse 2 log in the frame of its start, 10 Hz. Raises RecordingError."""
    from percept_ros.replay.convert_av2 import pose_at, read_poses, read_truth

    stamps_ns, poses, _ = read_poses(root)
    rows: dict[str, list[tuple[int, F64]]] = {}
    classes: dict[str, ObjectClass] = {}
    frames = read_truth(root)
    for frame in frames:
        pose = pose_at(stamps_ns, poses, frame.stamp_ns)
        placed = frame.boxes[:, :3] @ pose[:2, :3].T + pose[:2, 3]
        step = round((frame.stamp_ns - frames[0].stamp_ns) / 1e8)
        for name, kind, at in zip(frame.names, frame.classes, placed, strict=True):
            rows.setdefault(name, []).append((step, at))
            classes[name] = kind
    found = []
    for name, seen in rows.items():
        if classes[name] != ObjectClass.UNKNOWN:
            group = int(GROUP_OF_CLASS[classes[name]])
            found += cut(root.name, group, np.array([s for s, _ in seen]), np.array([p for _, p in seen]))
    return found
