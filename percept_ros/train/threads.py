"""How many processor cores training uses."""

from __future__ import annotations


def use_threads(count: int) -> None:
    """Let PyTorch use ``count`` threads; 0 leaves its own choice."""
    import torch

    if count:
        torch.set_num_threads(count)
