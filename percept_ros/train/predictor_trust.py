"""What held-out sequences say of a trained path network: how far to trust it in each group, and how wide its errors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_ros.core.path_features import GROUPS

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FEW = 200
INSIDE = 0.3934693402873666
"""Share of isotropic normal errors in the plane inside one sigma."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Answers on sequences not learned from: found and target (M, T, 2) residuals, metres; valid, sigma (M, T); groups (M,)."""

    found: Tensor
    target: Tensor
    valid: Tensor
    sigma: Tensor
    groups: Tensor

    @staticmethod
    def join(parts: Sequence[HeldOut]) -> HeldOut:
        """All parts as one."""
        names = HeldOut.__slots__
        return HeldOut(*(torch.cat([getattr(p, name) for p in parts]) for name in names))

    def error(self, share: Tensor | float, rows: Tensor) -> float:
        """Mean distance of the chosen rows when the residual is taken times ``share``."""
        miss = (share * self.found[rows] - self.target[rows]).norm(dim=-1) * self.valid[rows]
        return float(miss.sum() / self.valid[rows].sum().clamp(min=1e-6))


def best_trust(unseen: HeldOut, shares: Sequence[float] = SHARES) -> Tensor:
    """(G, 1) share of the network's residual that did best on the held-out answers; 0 where they are few."""
    trust = torch.zeros(len(GROUPS), 1)
    for group in range(len(GROUPS)):
        rows = unseen.groups == group
        if int(rows.sum()) >= FEW:
            trust[group] = min(shares, key=lambda share, rows=rows: unseen.error(share, rows))  # type: ignore[misc]
    return trust


def group_ratios(unseen: HeldOut, trust: Tensor) -> dict[str, float]:
    """Held-out error over that of the ridge filter, a group, and the trust it got."""
    found = {}
    for group, name in enumerate(GROUPS):
        rows = unseen.groups == group
        if rows.any():
            share = float(trust[group])
            found[f"{name}.ratio_to_ridge"] = unseen.error(share, rows) / max(unseen.error(0.0, rows), 1e-9)
            found[f"{name}.trust"] = share
    return found


def sigma_scale(unseen: HeldOut, trust: Tensor) -> Tensor:
    """(G, T) factor that makes sigma hold 39.3 % of the held-out errors inside one sigma, a group and step."""
    miss = (trust[unseen.groups][:, :, None] * unseen.found - unseen.target).norm(dim=-1)
    ratio, (groups, steps) = miss / unseen.sigma, (len(GROUPS), miss.shape[1])
    scale = torch.ones(groups, steps)
    for group in range(groups):
        mine = unseen.groups == group
        for step in range(steps):
            seen = ratio[mine, step][unseen.valid[mine, step] > 0]
            if len(seen) > 30:
                scale[group, step] = seen.quantile(INSIDE)
    return scale
