"""Training of the path network: ridge filters in closed form, then the residual by gradient, stopped on held-out sequences.

Each member of the ensemble holds other sequences out for stopping, so that together they learn from all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from percept_ros.core.path_gate import SkillSettings
from percept_ros.evaluate.prediction_data import Cases, Trajectory
from percept_ros.train.predictor_copies import noisy, paced, scaled
from percept_ros.train.predictor_data import Lessons, lessons, step_windows, truth_of
from percept_ros.train.predictor_filters import fit_filters
from percept_ros.train.predictor_network import (
    LEAST_SIGMA_M,
    Member,
    PathShape,
    StepGraph,
    powers,
    residual,
    sigma_basis,
)
from percept_ros.train.predictor_trust import SHARES, HeldOut, best_trust, group_ratios, sigma_scale
from percept_ros.types import F64, Bool

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PredictorRecipe:
    """How to train. history: positions a chunk; first_step: displacements before the first judged answer.

    skill: of the gate; a prior weighs more where the model is used on the kind of data it was trained on.
    stride: steps between chunks. picked: steps of a chunk judged in one pass. patience: looks without gain before stopping.
    part_steps: sequences are held out in parts of this length; 0 = whole.
    shares: of the residual to choose from by single members' held-out answers; all or nothing where many members are averaged,
    for what a member alone is to hold back against its own noise is gone from their mean.
    scales, paces, noises_m: further copies to learn from (see ``train.predictor_copies``); they are never judged on.
    """

    shape: PathShape = PathShape()
    history: int = 21
    first_step: int = 4
    stride: int = 3
    penalties: tuple[float, ...] = (3e-3, 3e-2, 0.3, 30.0)
    rate: float = 3e-3
    decay: float = 1e-2
    batch: int = 256
    picked: int = 6
    steps: int = 300
    look_every: int = 30
    patience: int = 99
    hold_out: float = 0.2
    part_steps: int = 0
    scales: tuple[float, ...] = ()
    paces: tuple[float, ...] = ()
    noises_m: tuple[float, float] | None = None
    noise_weight: float = 1.0
    seed: int = 0
    shares: tuple[float, ...] = SHARES
    skill: SkillSettings = SkillSettings()


def ridge_filters(chunks: Cases, offsets: F64, recipe: PredictorRecipe) -> F64:
    """Ridge filters from all steps of all chunks."""
    windows = step_windows(chunks, recipe.shape)
    count = windows.shape[1]
    return fit_filters(
        windows.reshape(-1, *windows.shape[2:]),
        offsets.reshape(-1, *offsets.shape[2:]),
        np.repeat(chunks.groups, count),
        np.tile(np.arange(1, count + 1), len(windows)),
        np.repeat(chunks.sequences, count),
        recipe.penalties,
        recipe.seed,
    )


def train(
    trajectories: Sequence[Trajectory], recipe: PredictorRecipe, report: Report
) -> tuple[StepGraph, F64, dict[str, Any]]:
    """The trained graph, the ridge filters (G, A, W + 1, T) in it, and its metrics on held-out sequences."""
    torch.manual_seed(recipe.seed)
    shape = recipe.shape
    chunks, offsets = truth_of(trajectories, shape, recipe.history, recipe.stride)
    filters = ridge_filters(chunks, offsets, recipe)
    trajectories = in_parts(trajectories, recipe.part_steps)
    chunks, offsets = truth_of(trajectories, shape, recipe.history, recipe.stride)
    learned = lessons(chunks, offsets, filters, shape)
    more = copies(trajectories, recipe, filters)
    members, seen = [], []
    for k in range(shape.members):
        held = hold_out(learned.sequences, recipe, k)
        members.append(train_member(learned, more, held, recipe, k, report))
        seen.append(held_out_answers(members[-1], learned, held, recipe))
    graph = StepGraph(shape, members, torch.as_tensor(filters))
    unseen = HeldOut.join(seen)
    graph.trust[:] = best_trust(unseen, recipe.shares)
    graph.sigma_scale[:] = sigma_scale(unseen, graph.trust)
    return graph.eval(), filters, {"chunks": len(learned.sequences), **group_ratios(unseen, graph.trust)}


def copies(trajectories: Sequence[Trajectory], recipe: PredictorRecipe, filters: F64) -> Lessons | None:
    """What is learned from besides the trajectories themselves: scaled, paced and noisy copies, by the same filters."""
    moved = [*scaled(trajectories, recipe.scales), *paced(trajectories, recipe.paces)]
    parts = [(moved, 1.0)] if moved else []
    if recipe.noises_m is not None:
        rng = np.random.default_rng([recipe.seed, 11])
        parts.append((noisy([*trajectories, *moved], recipe.noises_m, rng), recipe.noise_weight))
    found = []
    for part, weight in parts:
        chunks, offsets = truth_of(part, recipe.shape, recipe.history, recipe.stride)
        found.append(lessons(chunks, offsets, filters, recipe.shape).weighted(weight))
    return Lessons.join(found) if found else None


def in_parts(trajectories: Sequence[Trajectory], steps: int) -> Sequence[Trajectory]:
    """The trajectories, their sequences named by parts of ``steps`` by when they begin; 0 = as they are."""
    return [replace(t, sequence=f"{t.sequence}#{t.start // steps}") for t in trajectories] if steps else trajectories


def hold_out(sequences: Any, recipe: PredictorRecipe, member: int) -> Bool:
    """(N,) rows of the sequences that member ``member`` does not learn from; a single sequence is split by rows."""
    names = np.unique(sequences)
    if len(names) < 3:
        count = len(sequences)
        first = int((member / max(1, recipe.shape.members)) * count)
        return np.isin(np.arange(count), np.arange(first, first + int(recipe.hold_out * count)) % count)
    order = np.random.default_rng([recipe.seed, 7]).permutation(names)
    share = max(1, round(recipe.hold_out * len(names)))
    chosen = [order[(member * share + i) % len(names)] for i in range(share)]
    return np.isin(sequences, chosen)


def train_member(
    originals: Lessons, more: Lessons | None, held: Bool, recipe: PredictorRecipe, number: int, report: Report
) -> Member:
    """One LSTM, as it was when its error on the held-out rows of the originals was least. more: copies to learn from too."""
    learned, keep = originals, ~held
    if more is not None:
        learned = Lessons.join([originals, more])
        keep = np.concatenate([keep, learnable(more, originals, held)])
    torch.manual_seed(recipe.seed * 100 + number)
    member = Member(recipe.shape)
    optimiser = torch.optim.AdamW(member.parameters(), recipe.rate, weight_decay=recipe.decay)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps + 1, pct_start=0.1)
    rows = torch.as_tensor(np.flatnonzero(keep))
    rng = torch.Generator().manual_seed(recipe.seed * 100 + number)
    judge = torch.as_tensor(np.flatnonzero(held))[:: max(1, int(held.sum()) // 2000)]
    first = held_out_error(member, learned, judge, recipe)
    best, best_state, waited = first, copy.deepcopy(member.state_dict()), 0
    for step in range(1, recipe.steps + 1):
        chosen = rows[torch.randint(len(rows), (recipe.batch,), generator=rng)]
        loss = batch_loss(member, learned, chosen, recipe, rng)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
        optimiser.step()
        plan.step()
        if step % recipe.look_every:
            continue
        error = held_out_error(member, learned, judge, recipe)
        waited = 0 if error < best else waited + 1
        if error < best:
            best, best_state = error, copy.deepcopy(member.state_dict())
        if waited > recipe.patience:
            break
    member.load_state_dict(best_state)
    report(f"member {number}: held-out {best / first:.4f} of the ridge filter's error")
    member.eval()
    return member


def learnable(more: Lessons, originals: Lessons, held: Bool) -> Bool:
    """(M,) copies that tell nothing of the held-out rows: those of sequences that are not among them."""
    return np.asarray(~np.isin(more.sequences, np.unique(originals.sequences[held])), np.bool_)


def batch_loss(member: Member, learned: Lessons, rows: Tensor, recipe: PredictorRecipe, rng: torch.Generator) -> Tensor:
    """Mean distance along the path plus the likelihood of sigma; every second row is mirrored."""
    length = learned.inputs.shape[1]
    at = torch.randperm(length - recipe.first_step, generator=rng)[: recipe.picked - 1] + recipe.first_step
    at = torch.cat([at, torch.tensor([length - 1])])
    mirror = torch.ones(len(rows))
    mirror[::2] = -1.0
    signs = mirrored(recipe.shape, mirror)
    coefficients, doubt = member(learned.inputs[rows] * signs[:, None])
    found = residual(coefficients[:, at], recipe.shape, powers(recipe.shape.horizon))
    found = found * learned.length[rows][:, at][..., None, None]
    target = learned.residual[rows[:, None], at]
    target = torch.stack([target[..., 0], target[..., 1] * mirror[:, None, None]], -1)
    valid = learned.valid[rows[:, None], at] * learned.weight[rows][:, None, None]
    miss = (found - target).square().sum(-1)
    distance = (miss + 1e-4).sqrt()
    sigma = torch.exp(doubt[:, at] @ sigma_basis(recipe.shape.horizon)) + LEAST_SIGMA_M
    unlikely = 2 * sigma.log() + 0.5 * (miss.detach() + 1e-4) / sigma.square()
    return ((distance + 0.05 * unlikely) * valid).sum() / valid.sum().clamp(min=1e-6)


def mirrored(shape: PathShape, mirror: Tensor) -> Tensor:
    """(N, F) sign of each feature under the mirror signs (N,)."""
    signs = torch.ones(len(mirror), shape.features)
    spans = len(shape.lags) + 1
    signs[:, spans : 2 * spans] = mirror[:, None]
    return signs


@torch.no_grad()
def held_out_error(member: Member, learned: Lessons, rows: Tensor, recipe: PredictorRecipe) -> float:
    """Weighted mean distance along the path at the last step of the chosen chunks and at a third of their steps."""
    found, target, valid, _ = answers(member, learned, rows, recipe)
    valid = valid * learned.weight[rows][:, None, None]
    distance = (found - target).norm(dim=-1)
    return float((distance * valid).sum() / valid.sum().clamp(min=1e-6))


@torch.no_grad()
def answers(
    member: Member, learned: Lessons, rows: Tensor, recipe: PredictorRecipe
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual found, residual true, valid, sigma at some steps of the chosen chunks."""
    length = learned.inputs.shape[1]
    at = torch.arange(length - 1, recipe.first_step - 1, -3)
    coefficients, doubt = member(learned.inputs[rows])
    found = residual(coefficients[:, at], recipe.shape, powers(recipe.shape.horizon))
    found = found * learned.length[rows][:, at][..., None, None]
    sigma = torch.exp(doubt[:, at] @ sigma_basis(recipe.shape.horizon)) + LEAST_SIGMA_M
    return found, learned.residual[rows[:, None], at], learned.valid[rows[:, None], at], sigma


def held_out_answers(member: Member, learned: Lessons, held: Bool, recipe: PredictorRecipe) -> HeldOut:
    """What the member says of sequences that it did not learn from."""
    rows = torch.as_tensor(np.flatnonzero(held))[:: max(1, int(held.sum()) // 3000)]
    found, target, valid, sigma = (v.flatten(0, 1) for v in answers(member, learned, rows, recipe))
    groups = torch.as_tensor(learned.groups[rows.numpy()]).repeat_interleave(len(found) // max(1, len(rows)))
    return HeldOut(found, target, valid, sigma, groups)
