"""Lagrangian that drives an expected sparsity to a target; it does not know what is pruned.

Sources: Wang et al., "Structured Pruning of Large Language Models" (arXiv 1910.04732); Peng et al.,
DPHuBERT (arXiv 2305.17651); spec dphubert.md 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SparsityLagrangian(nn.Module):
    """λ1 (e - t) + λ2 (e - t)², to be minimised over the gates and maximised over λ1 and λ2."""

    def __init__(self) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.zeros(()))
        self.lambda2 = nn.Parameter(torch.zeros(()))

    def forward(self, expected: Tensor, target: float) -> dict[str, Tensor]:
        """Loss terms.

        Args:
            expected: e, the share that the gates are expected to remove, a scalar.
            target: t, the share wanted at this update.

        Returns:
            ``loss``, and for the log ``sparsity_expected``, ``sparsity_target``, ``lambda1``,
            ``lambda2``; scalars.
        """
        gap = expected - target
        loss = self.lambda1 * gap + self.lambda2 * gap.square()
        return {
            "loss": loss.to(self.lambda1.dtype),
            "sparsity_expected": expected.detach().float(),
            "sparsity_target": expected.new_tensor(target).float(),
            "lambda1": self.lambda1.detach().clone(),
            "lambda2": self.lambda2.detach().clone(),
        }


def warmed_up_target(target: float, updates_done: int, warmup: int) -> float:
    """Target that rises linearly from 0 over ``warmup`` updates and then stays."""
    return target if updates_done >= warmup else target * updates_done / warmup
