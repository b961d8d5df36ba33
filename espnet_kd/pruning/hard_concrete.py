"""Hard Concrete gates: stochastic in training, soft and deterministic in evaluation.

Sources: Louizos et al., "Learning Sparse Neural Networks through L0 Regularization"
(arXiv 1712.01312); the evaluation mask is Wang et al.'s (arXiv 1910.04732); spec dphubert.md 3.

Shapes: U units of one gate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BETA = 2.0 / 3.0
"""Temperature."""

LOW, HIGH = -0.1, 1.1
"""Limits to which the concrete distribution is stretched before it is clamped to [0, 1]."""

EPS = 1e-6
"""Distance of the uniform noise from 0 and 1."""

SHARPNESS = 0.8
"""Factor on log_alpha in the evaluation mask."""

_OPEN_SHIFT = -BETA * math.log(-LOW / HIGH)


class HardConcrete(nn.Module):
    """One gate vector.

    Args:
        units: number U of gates.
        init_drop: probability p of a closed gate that log_alpha starts from:
            log_alpha ~ N(ln((1 - p) / p), 0.01²). Published 0.01, for feed-forward units 0.5.
    """

    def __init__(self, units: int, init_drop: float = 0.01) -> None:
        super().__init__()
        mean = math.log((1.0 - init_drop) / init_drop)
        self.log_alpha = nn.Parameter(torch.empty(units).normal_(mean, 0.01))

    def open_probability(self) -> Tensor:
        """(U,) probability that each gate is not exactly 0, in double precision."""
        return torch.sigmoid(self.log_alpha.double() + _OPEN_SHIFT)

    def expected_open(self) -> Tensor:
        """Expected number of open gates (the L0 norm), a scalar in double precision."""
        return self.open_probability().sum()

    def sample(self, noise_U: Tensor | None = None) -> Tensor:
        """(U,) gate values for a training step.

        Args:
            noise_U: uniform numbers in (0, 1); None draws them.
        """
        if noise_U is None:
            noise_U = torch.empty_like(self.log_alpha).uniform_(EPS, 1.0 - EPS)
        logits_U = torch.log(noise_U / (1.0 - noise_U)) + self.log_alpha
        stretched_U = torch.sigmoid(logits_U / BETA) * (HIGH - LOW) + LOW
        return stretched_U.clamp(0.0, 1.0)

    def mask(self, closed: int | None = None) -> Tensor:
        """(U,) values for evaluation: zeros for the least open gates, soft values elsewhere.

        Args:
            closed: number of zeros; None takes as many as are expected.
        """
        closed = self.expected_closed() if closed is None else closed
        soft_U = torch.sigmoid(self.log_alpha * (SHARPNESS / BETA))
        closed_U = torch.zeros_like(soft_U, dtype=torch.bool)
        closed_U[soft_U.detach().topk(closed, largest=False).indices] = True
        return soft_U.masked_fill(closed_U, 0.0)

    def expected_closed(self) -> int:
        """Number of gates that evaluation closes, halves rounded to even."""
        units = self.log_alpha.numel()
        # In single precision as published: the sum decides on which side of a half it falls.
        is_open = torch.sigmoid(self.log_alpha.detach() + _OPEN_SHIFT).sum()
        return round(units - float(is_open))

    def forward(self) -> Tensor:
        """A sample in training mode, the mask in evaluation mode."""
        return self.sample() if self.training else self.mask()
