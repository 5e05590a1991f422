"""From trajectories to what the path network learns from: inputs a step, and residuals that the ridge filter leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from percept_ros.core.path_features import age_stages, one_hot, windows_of
from percept_ros.core.path_ridge import apply_ridge
from percept_ros.evaluate.prediction_data import Cases, Trajectory
from percept_ros.train.predictor_network import Features, PathShape
from percept_ros.types import F32, F64, I64

Names = np.ndarray[tuple[int], np.dtype[np.str_]]


@dataclass(frozen=True, slots=True)
class Lessons:
    """inputs: (N, L, F). residual: (N, L, T, 2) along and across the motion, metres. valid: (N, L, T) in {0, 1}.

    length: (N, L) of the direction of motion (1 = moves). groups: (N,). sequences: (N,) str. weight: (N,) of each row in the loss.
    """

    inputs: Tensor
    residual: Tensor
    valid: Tensor
    length: Tensor
    groups: I64
    sequences: Names
    weight: Tensor

    @staticmethod
    def join(parts: Sequence[Lessons]) -> Lessons:
        """All parts as one."""
        tensors = {
            n: torch.cat([getattr(p, n) for p in parts]) for n in ("inputs", "residual", "valid", "length", "weight")
        }
        groups, sequences = (np.concatenate([getattr(p, n) for p in parts]) for n in ("groups", "sequences"))
        return Lessons(groups=groups, sequences=sequences, **tensors)

    def weighted(self, factor: float) -> Lessons:
        """The same lessons, each counting ``factor`` times as much."""
        return replace(self, weight=factor * self.weight)


def step_windows(chunks: Cases, shape: PathShape) -> F32:
    """(N, L, W + 1, 2) window after each displacement, and last the told velocity as a displacement a step."""
    steps = np.diff(chunks.past_m, axis=1)
    velocity = steps if chunks.velocity_mps is None else chunks.velocity_mps[:, 1:] * shape.step_s
    return np.concatenate([windows_of(steps, shape.width), velocity[:, :, None]], axis=2).astype(np.float32)


def truth_of(trajectories: Sequence[Trajectory], shape: PathShape, history: int, stride: int) -> tuple[Cases, F64]:
    """Chunks and the true offsets (N, L, T, 2) at each of their steps."""
    length = history + shape.horizon
    padded = [_padded(t, length) for t in trajectories]
    chunks, offsets = [], []
    for t, (measured, truth, velocity) in zip(trajectories, padded, strict=True):
        for first in range(0, max(1, len(t.truth) - history - 1), stride):
            part = slice(first, first + length)
            seen = measured[first : first + history]
            future = np.lib.stride_tricks.sliding_window_view(truth[part][2:], shape.horizon, axis=0)
            offsets.append(np.moveaxis(future[: history - 1], 2, 1) - seen[1:, None])
            chunks.append((seen, None if velocity is None else velocity[first : first + history], t))
    with_velocity = bool(chunks) and chunks[0][1] is not None
    found = Cases(
        shape.step_s,
        np.array([c[0] for c in chunks]),
        np.zeros((len(chunks), 0, 2)),
        np.array([c[1] for c in chunks]) if with_velocity else None,
        np.array([c[2].group for c in chunks], np.int64),
        np.array([c[2].start for c in chunks], np.int64),
        np.array([c[2].sequence for c in chunks], dtype=np.str_),
    )
    return found, np.array(offsets, np.float32)


def _padded(t: Trajectory, length: int) -> tuple[F64, F64, F64 | None]:
    """Measured and true positions and velocities, each ``length`` longer; truth by NaN."""
    tail = np.full((length, 2), np.nan)
    measured = np.vstack([t.measured, np.repeat(t.measured[-1:], length, axis=0)])
    velocity = (
        None if t.velocity_mps is None else np.vstack([t.velocity_mps, np.repeat(t.velocity_mps[-1:], length, 0)])
    )
    return measured, np.vstack([t.truth, tail]), velocity


def lessons(chunks: Cases, offsets: F64, filters: F64, shape: PathShape) -> Lessons:
    """What the network learns from chunks (N) with true offsets (N, L, T, 2), given the ridge ``filters``."""
    windows = step_windows(chunks, shape)
    count, steps = windows.shape[:2]
    flat = windows.reshape(count * steps, *windows.shape[2:])
    groups = np.repeat(chunks.groups, steps)
    age = np.tile(np.arange(1.0, steps + 1), count)
    linear = linear_answers(flat, groups, age_stages(age, shape.width), filters.astype(np.float32))
    inputs, ahead = Features(shape)(
        _tensor(np.swapaxes(flat[:, :-1], 1, 2)),
        _tensor(flat[:, -1] / shape.step_s),
        _tensor(age[:, None]),
        _tensor(one_hot(groups)),
    )
    rest = _tensor(offsets.reshape(len(flat), shape.horizon, 2)) - _tensor(linear)
    length = ahead.norm(dim=1, keepdim=True)
    unit = (ahead / length.clamp(min=1e-6)).unsqueeze(1)
    along = (rest * unit).sum(-1)
    across = rest[..., 1] * unit[..., 0] - rest[..., 0] * unit[..., 1]
    local = torch.stack([along, across], -1)
    valid = torch.isfinite(local[..., 0])
    local = torch.nan_to_num(local)
    return Lessons(
        inputs.reshape(count, steps, -1),
        local.reshape(count, steps, shape.horizon, 2),
        valid.float().reshape(count, steps, -1),
        length.reshape(count, steps),
        chunks.groups,
        chunks.sequences,
        _weights(local, valid, torch.as_tensor(groups)).reshape(count, steps)[:, 0],
    )


def linear_answers(windows: F32, groups: I64, stages: I64, filters: F32) -> F32:
    """(N, T, 2) answers of the filters (G, A, W + 1, T) to windows (N, W + 1, 2)."""
    found = np.empty((len(windows), filters.shape[3], 2), np.float32)
    for group, stage in np.ndindex(*filters.shape[:2]):
        mine = (groups == group) & (stages == stage)
        found[mine] = apply_ridge(windows[mine], filters[group, stage])
    return found


def _weights(local: Tensor, valid: Tensor, groups: Tensor) -> Tensor:
    """(N,) weight of each row: groups of fewer rows and smaller errors count more, so that all are learned."""
    error = local.norm(dim=-1) * valid
    weight = torch.ones(len(local))
    total = len(local)
    for group in groups.unique():
        mine = groups == group
        usual = error[mine].sum() / valid[mine].sum().clamp(min=1)
        weight[mine] = (total / mine.sum()) ** 0.5 / usual.clamp(min=0.05)
    return weight / weight.mean()


def _tensor(values: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32)
