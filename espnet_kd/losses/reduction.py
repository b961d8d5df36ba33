"""Sums over frames that leave padding out.

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return half-precision tensors as float32 (their sums overflow), others unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def frame_distance(a_BTD: Tensor, b_BTD: Tensor, loss_type: str) -> Tensor:
    """Return the mean over channels of (a-b)² (``mse``) or |a-b| (``l1``), shape (B, T)."""
    difference_BTD = full_precision(a_BTD) - full_precision(b_BTD)
    if loss_type == "l1":
        return difference_BTD.abs().mean(dim=-1)
    return difference_BTD.square().mean(dim=-1)


def masked_sum(x_BT: Tensor, keep_BT: Tensor) -> Tensor:
    """Return the sum of the kept frames, a scalar; other values, NaN included, are ignored."""
    return torch.where(keep_BT, x_BT, torch.zeros_like(x_BT)).sum()
