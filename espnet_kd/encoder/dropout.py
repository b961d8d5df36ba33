"""Dropout whose random numbers cost little on CPUs.

torch draws one Bernoulli number per value there, three quarters of the layer's time. Four values
can share one draw of 64 bits: each gets 16 of them, so that the probability is met to 1/65536. The
scale follows the probability that is really used: the expectation is exact. On other devices, and
in the precisions that have no such path, torch's own dropout runs.

Shapes: N values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout` with another stream of random numbers on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, p: float) -> Tensor:
    """Set each value to 0 with probability ``p`` and scale the others by 1 / (1 - p).

    Args:
        x: floating, any shape.
        p: from 0 to 1.
    """
    closed = round(p * _LEVELS)
    if closed == 0 or closed == _LEVELS or not suits(x):
        return F.dropout(x, p)
    kept = random_bits(x.numel()).view(x.shape) >= closed - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - closed))


def suits(x: Tensor) -> bool:
    """Whether this is a tensor for which the draw is what costs."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def random_bits(numbers: int) -> Tensor:
    """(N,) uniform int16 from torch's default CPU generator."""
    draws = torch.empty(-(-numbers // 4), dtype=torch.int64)
    # Without a "to" random_ leaves the sign bit alone, with one it takes all 64.
    return draws.random_(-(1 << 63), None).view(torch.int16)[:numbers]
