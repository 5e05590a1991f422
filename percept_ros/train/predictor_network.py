"""The path network: ridge filter plus the residual of a small LSTM, and the one-step graph with explicit state.

Everything the LSTM sees is measured along and across the track's own motion, so that its answer does not depend on where
north is. Accelerations are divided by a small length, else they drown in the displacements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from percept_ros.core.path_features import AGE_SHARES, GROUPS, path_powers

TERMS = 4
SIGMA_TERMS = 3
LEAST_SIGMA_M = 0.02


@dataclass(frozen=True, slots=True)
class PathShape:
    """Sizes of a path network. step_s: its clock. width: displacements in the window. horizon: steps predicted.

    frame_steps: displacements whose mean is the direction of motion. small_m: length of a small displacement change a step.
    reach_m: scale of the residual at the end. lags: spans, in steps, whose mean displacements are looked at.
    """

    step_s: float = 0.1
    width: int = 19
    horizon: int = 48
    frame_steps: int = 5
    small_m: float = 0.03
    reach_m: float = 2.0
    lags: tuple[int, ...] = (1, 2, 3, 7, 10, 14, 19)
    hidden: int = 32
    members: int = 3

    @property
    def features(self) -> int:
        """Inputs of the LSTM: lag and velocity features (along, across), speed, jitter, age, groups."""
        return 2 * (len(self.lags) + 1) + 3 + len(GROUPS)


def span_weights(shape: PathShape) -> Tensor:
    """(W, S) weights of the window whose sums are the mean displacements over each lag, less that over frame_steps."""
    columns = [_newest_mean(shape.width, lag) for lag in shape.lags]
    return torch.stack(columns, 1) - _newest_mean(shape.width, shape.frame_steps)[:, None]


def _newest_mean(width: int, count: int) -> Tensor:
    return torch.cat([torch.zeros(width - count), torch.full((count,), 1.0 / count)])


def second_differences(width: int) -> Tensor:
    """(W, W - 2) weights of the window whose sums are its second differences."""
    eye = torch.eye(width)
    return eye[:, 2:] - 2 * eye[:, 1:-1] + eye[:, :-2]


class Features(nn.Module):
    """What the LSTM sees of a window."""

    def __init__(self, shape: PathShape) -> None:
        super().__init__()
        self.shape = shape
        newest = _newest_mean(shape.width, shape.frame_steps)[:, None]
        self.register_buffer("looks", torch.cat([newest, span_weights(shape), second_differences(shape.width)], 1))
        self.sizes = (1, len(shape.lags), shape.width - 2)

    def forward(self, window: Tensor, velocity: Tensor, age: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the LSTM and the direction of motion.

        window: (N, 2, W) metres a step. velocity: (N, 2) m/s. age: (N, 1) steps since birth. groups: (N, G).
        Returns (N, F) and (N, 2): the direction, shorter than 1 for tracks that hardly move.
        """
        shape = self.shape
        newest, spans, second = (window @ self.looks).split(self.sizes, 2)
        mean = newest[..., 0]
        speed = (mean * mean).sum(-1, keepdim=True).sqrt()
        ahead = mean / (speed * speed + (0.5 * shape.small_m) ** 2).sqrt()
        told = velocity * shape.step_s - mean
        every = torch.cat([spans, told.unsqueeze(2)], 2) * (1.0 / shape.small_m)
        east, north = every[:, 0], every[:, 1]
        along = east * ahead[:, :1] + north * ahead[:, 1:]
        across = north * ahead[:, :1] - east * ahead[:, 1:]
        rough = (second * second).sum((1, 2)).div(shape.width - 2).sqrt().unsqueeze(1)
        seen = [_squashed(along), _squashed(across)]
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


def powers(horizon: int) -> Tensor:
    """(TERMS, T) share of the horizon to the power 1, 2, ..."""
    return torch.as_tensor(path_powers(horizon, TERMS), dtype=torch.float32)


def sigma_basis(horizon: int) -> Tensor:
    """(SIGMA_TERMS, T): constant, logarithm and share of the horizon."""
    share = torch.arange(1, horizon + 1) / horizon
    return torch.stack([torch.ones(horizon), torch.log(share), share])


def residual(coefficients: Tensor, shape: PathShape, basis: Tensor) -> Tensor:
    """(..., T, 2) residual along and across the motion, metres, from (..., 2 TERMS)."""
    return shape.reach_m * torch.stack([coefficients[..., :TERMS] @ basis, coefficients[..., TERMS:] @ basis], -1)


class Ensemble(nn.Module):
    """All members in one: their weights side by side, so that a step is four matrix products however many there are."""

    def __init__(self, shape: PathShape, members: Sequence[Member]) -> None:
        super().__init__()
        self.width = len(members) * shape.hidden
        lstms = [m.lstm for m in members]
        gates = [[w.detach().chunk(4) for w in (m.weight_ih_l0, m.weight_hh_l0)] for m in lstms]
        biases = [(m.bias_ih_l0 + m.bias_hh_l0).detach().chunk(4) for m in lstms]
        enter = torch.cat([g[0][k] for k in range(4) for g in gates])
        recur = torch.cat([torch.block_diag(*[g[1][k] for g in gates]) for k in range(4)])
        self.register_buffer("gates", torch.cat([recur.T, enter.T]))
        self.register_buffer("bias", torch.cat([b[k] for k in range(4) for b in biases]))
        firsts = [(m.head[0], m.doubt[0]) for m in members]
        split = shape.hidden
        from_hidden = torch.block_diag(*[torch.cat([f.weight.detach()[:, :split] for f in pair]) for pair in firsts])
        from_seen = torch.cat([f.weight.detach()[:, split:] for pair in firsts for f in pair])
        self.register_buffer("first", torch.cat([from_hidden.T, from_seen.T]))
        self.register_buffer("first_bias", torch.cat([f.bias.detach() for pair in firsts for f in pair]))
        seconds = [(m.head[2], m.doubt[2]) for m in members]
        last = torch.cat([torch.block_diag(*[s.weight.detach() for s in pair]) for pair in seconds], 1)
        bias = torch.stack([torch.cat([s.bias.detach() for s in pair]) for pair in seconds])
        self.register_buffer("last", last.T.contiguous() / len(members))
        self.register_buffer("last_bias", bias.mean(0))

    def forward(self, seen: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean coefficients (N, 2 TERMS) and sigma terms (N, SIGMA_TERMS), and the next hidden and cell (N, K H)."""
        gates = torch.addmm(self.bias, torch.cat([hidden, seen], 1), self.gates)
        enter, forget, new, leave = gates.split(self.width, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        first = torch.tanh(torch.addmm(self.first_bias, torch.cat([hidden, seen], 1), self.first))
        out = torch.addmm(self.last_bias, first, self.last)
        return out[:, : 2 * TERMS], out[:, 2 * TERMS :], hidden, cell


class Linear(nn.Module):
    """The ridge filters, (G, A, W + 1, T): one for each group and stage of age, kept as polynomials of time."""

    def __init__(self, shape: PathShape, filters: Tensor) -> None:
        super().__init__()
        self.shape, self.kinds, inputs = shape, filters.shape[0] * filters.shape[1], filters.shape[2]
        found = torch.linalg.lstsq(powers(shape.horizon).double().T, filters.double().reshape(-1, shape.horizon).T)
        terms = found.solution.T.reshape(self.kinds, inputs, TERMS).transpose(0, 1)
        self.register_buffer("terms", terms.reshape(inputs, -1).float())
        self.register_buffer("edges", torch.tensor(AGE_SHARES) * shape.width)

    def forward(self, window: Tensor, velocity: Tensor, age: Tensor, group: Tensor) -> Tensor:
        """(N, 2, TERMS) polynomial of the offsets along x and y."""
        older = (age >= self.edges).float()
        one = torch.ones_like(age)
        stage = torch.cat([one, older], 1) - torch.cat([older, 0.0 * one], 1)
        kind = (group.unsqueeze(2) * stage.unsqueeze(1)).reshape(-1, 1, self.kinds, 1)
        seen = torch.cat([window, (velocity * self.shape.step_s).unsqueeze(2)], 2)
        every = (seen @ self.terms).reshape(-1, 2, self.kinds, TERMS)
        return (every * kind).sum(2)


class StepGraph(nn.Module):
    """What is exported: one displacement of every track in, paths and the new state out.

    Inputs: displacement (N, 2) m a step; velocity (N, 2) m/s; group (N, G) one-hot; fresh (N, 1): 1 = born now, the state is
    not read; window (N, 2, W), age (N, 1), hidden and cell (N, K H): the state.
    Outputs: offsets (N, 2, T) m from the present position; linear (N, 2, TERMS), the polynomial of the ridge filter alone;
    sigma (N, T) m; next_window, next_age, next_hidden, next_cell.
    """

    def __init__(self, shape: PathShape, members: Sequence[Member], filters: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.features, self.ensemble = Features(shape), Ensemble(shape, members)
        self.linear = Linear(shape, filters)
        self.register_buffer("basis", powers(shape.horizon))
        self.register_buffer("doubt_basis", sigma_basis(shape.horizon))
        groups = filters.shape[0]
        self.register_buffer("sigma_scale", torch.ones(groups, shape.horizon))
        self.register_buffer("trust", torch.ones(groups, 1))

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
        newest = displacement.unsqueeze(2)
        window = torch.where(fresh.unsqueeze(2) > 0.5, newest, torch.cat([window[:, :, 1:], newest], 2))
        old = 1.0 - fresh
        age = old * age + 1.0
        seen, ahead = self.features(window, velocity, age, group)
        found, doubt, hidden, cell = self.ensemble(seen, old * hidden, old * cell)
        found = found * (group @ self.trust * self.shape.reach_m)
        along, across = found[:, :TERMS], found[:, TERMS:]
        east, north = ahead[:, :1], ahead[:, 1:]
        bent = torch.stack([along * east - across * north, along * north + across * east], 1)
        linear = self.linear(window, velocity, age, group)
        sigma = torch.exp(doubt @ self.doubt_basis) * (group @ self.sigma_scale) + LEAST_SIGMA_M
        return ((linear + bent) @ self.basis, linear, sigma, window, age, hidden, cell)
