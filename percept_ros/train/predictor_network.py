"""The path network: ridge filter plus the residual of a small LSTM, and the one-step graph with explicit state.

Everything the LSTM sees is measured along and across the track's own motion, so that its answer does not depend on where
north is. Accelerations are divided by a small length, else they drown in the displacements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from percept_ros.core.path_features import GROUPS

TERMS = 3
SIGMA_TERMS = 3
LEAST_SIGMA_M = 0.02


@dataclass(frozen=True, slots=True)
class PathShape:
    """Sizes of a path network. step_s: its clock. width: displacements in the window. horizon: steps predicted.

    frame_steps: displacements whose mean is the direction of motion. small_m: length of a small displacement change a step.
    reach_m: scale of the residual at the end. lags: spans, in steps, whose mean displacements are looked at.
    """

    step_s: float = 0.1
    width: int = 20
    horizon: int = 48
    frame_steps: int = 5
    small_m: float = 0.03
    reach_m: float = 2.0
    lags: tuple[int, ...] = (1, 2, 3, 7, 10, 15, 20)
    hidden: int = 32
    members: int = 3

    @property
    def features(self) -> int:
        """Inputs of the LSTM: lag and velocity features (along, across), speed, jitter, age, groups."""
        return 2 * (len(self.lags) + 1) + 3 + len(GROUPS)


def features(shape: PathShape, window: Tensor, velocity: Tensor, age: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs of the LSTM and the direction of motion.

    window: (N, W, 2) metres a step. velocity: (N, 2) m/s. age: (N, 1) steps since birth. groups: (N, G).
    Returns (N, F) and (N, 2): the direction, shorter than 1 for tracks that hardly move.
    """
    mean = window[:, -shape.frame_steps :].mean(1)
    speed = (mean * mean).sum(-1, keepdim=True).sqrt()
    ahead = mean / (speed * speed + (0.5 * shape.small_m) ** 2).sqrt()
    spans = [window[:, -lag:].mean(1) - mean for lag in shape.lags] + [velocity * shape.step_s - mean]
    seen = []
    for span in spans:
        along, across = (
            span[:, :1] * ahead[:, :1] + span[:, 1:] * ahead[:, 1:],
            span[:, 1:] * ahead[:, :1] - span[:, :1] * ahead[:, 1:],
        )
        seen += [_squashed(along / shape.small_m), _squashed(across / shape.small_m)]
    second = window[:, 2:] - 2 * window[:, 1:-1] + window[:, :-2]
    rough = (second * second).sum(-1).mean(1, keepdim=True).sqrt()
    seen += [torch.log(speed / shape.small_m + 0.1), torch.log(rough / shape.small_m + 0.05)]
    seen += [(age / shape.width).clamp(0.0, 1.0), groups]
    return torch.cat(seen, 1), ahead


def _squashed(value: Tensor) -> Tensor:
    """Inverse hyperbolic sine, in operators that export."""
    size = value.abs()
    return torch.sign(value) * torch.log(size + (size * size + 1.0).sqrt())


class Member(nn.Module):
    """One LSTM with its head: polynomial coefficients of the residual, and of the logarithm of sigma."""

    def __init__(self, shape: PathShape) -> None:
        super().__init__()
        self.hidden = shape.hidden
        self.lstm = nn.LSTM(shape.features, shape.hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(shape.hidden + shape.features, 48), nn.Tanh(), nn.Linear(48, 2 * TERMS))
        self.doubt = nn.Sequential(nn.Linear(shape.hidden + shape.features, 24), nn.Tanh(), nn.Linear(24, SIGMA_TERMS))
        nn.init.zeros_(self.head[2].weight)
        nn.init.zeros_(self.head[2].bias)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, L, 2 TERMS) and sigma terms (N, L, SIGMA_TERMS) from inputs (N, L, F)."""
        out, _ = self.lstm(seen)
        return self.coefficients(out, seen)

    def coefficients(self, hidden: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, from the LSTM's outputs."""
        both = torch.cat([hidden, seen], -1)
        return self.head(both), self.doubt(both.detach())

    def cell(self, seen: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the LSTM written out, so that it exports as plain arithmetic."""
        lstm = self.lstm
        gates = seen @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        enter, forget, new, leave = gates.split(self.hidden, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(cell), cell


def powers(horizon: int) -> Tensor:
    """(TERMS, T) share of the horizon to the power 1, 2, 3."""
    share = torch.arange(1, horizon + 1) / horizon
    return torch.stack([share ** (k + 1) for k in range(TERMS)])


def sigma_basis(horizon: int) -> Tensor:
    """(SIGMA_TERMS, T): constant, logarithm and share of the horizon."""
    share = torch.arange(1, horizon + 1) / horizon
    return torch.stack([torch.ones(horizon), torch.log(share), share])


def residual(coefficients: Tensor, shape: PathShape, basis: Tensor) -> Tensor:
    """(..., T, 2) residual along and across the motion, metres, from (..., 2 TERMS)."""
    return shape.reach_m * torch.stack([coefficients[..., :TERMS] @ basis, coefficients[..., TERMS:] @ basis], -1)


class StepGraph(nn.Module):
    """What is exported: one displacement of every track in, paths and the new state out.

    Inputs: displacement (N, 2) m a step; velocity (N, 2) m/s; group (N, G) one-hot; fresh (N, 1): 1 = born now, the state is
    not read; window (N, W, 2), age (N, 1), hidden and cell (N, K H): the state.
    Outputs: offsets (N, T, 2) m from the present position; linear (N, T, 2), those of the ridge filter alone; sigma (N, T)
    m; next_window, next_age, next_hidden, next_cell.
    """

    def __init__(self, shape: PathShape, members: Sequence[Member], ridge: Tensor, sigma_scale: Tensor) -> None:
        super().__init__()
        self.shape, self.members = shape, nn.ModuleList(members)
        groups, inputs, _ = ridge.shape
        self.register_buffer("ridge", ridge.permute(1, 0, 2).reshape(inputs, -1).float())
        self.register_buffer("basis", powers(shape.horizon))
        self.register_buffer("doubt_basis", sigma_basis(shape.horizon))
        self.register_buffer("sigma_scale", sigma_scale.float())
        self.groups = groups

    def forward(
        self,
        displacement: Tensor,
        velocity: Tensor,
        group: Tensor,
        fresh: Tensor,
        window: Tensor,
        age: Tensor,
        hidden: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, ...]:
        born = fresh.unsqueeze(1)
        moved = torch.cat([window[:, 1:], displacement.unsqueeze(1)], 1)
        window = born * displacement.unsqueeze(1) + (1.0 - born) * moved
        age = (1.0 - fresh) * age + 1.0
        hidden, cell = (1.0 - fresh) * hidden, (1.0 - fresh) * cell
        seen, ahead = features(self.shape, window, velocity, age, group)
        states, coefficients, doubts = [], [], []
        for k, member in enumerate(self.members):
            part = slice(k * self.shape.hidden, (k + 1) * self.shape.hidden)
            state = member.cell(seen, hidden[:, part], cell[:, part])
            states.append(state)
            found, doubt = member.coefficients(state[0], seen)
            coefficients.append(found)
            doubts.append(doubt)
        mean = torch.stack(coefficients).mean(0)
        turned = residual(mean, self.shape, self.basis)
        across = torch.stack([-ahead[:, 1], ahead[:, 0]], 1)
        bent = turned[..., :1] * ahead.unsqueeze(1) + turned[..., 1:] * across.unsqueeze(1)
        linear = self.linear(window, velocity, group)
        sigma = torch.exp(torch.stack(doubts).mean(0) @ self.doubt_basis) * (group @ self.sigma_scale) + LEAST_SIGMA_M
        after = [torch.cat([s[i] for s in states], 1) for i in range(2)]
        return (linear + bent, linear, sigma, window, age, *after)

    def linear(self, window: Tensor, velocity: Tensor, group: Tensor) -> Tensor:
        """(N, T, 2) offsets of the ridge filter of each track's group."""
        inputs = torch.cat([window, (velocity * self.shape.step_s).unsqueeze(1)], 1)
        every = inputs.transpose(1, 2) @ self.ridge
        split = every.reshape(-1, 2, self.groups, self.shape.horizon)
        return (split * group.reshape(-1, 1, self.groups, 1)).sum(2).transpose(1, 2)
