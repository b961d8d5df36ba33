"""Gradient scaling: the forward pass is the identity, the backward pass multiplies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself, with its gradient multiplied by ``factor``."""
    if factor == 1.0 or not x.requires_grad:
        return x
    scaled: Tensor = _ScaleGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return scaled


def depth_factor(layer: int, num_layers: int) -> float:
    """Gradient factor m of a layer's output, (N - i) / (N - i + 1) with i counted from 0.

    The copy that a head sees is scaled by 1 - m on top (spec armhubert.md 2).
    """
    remaining = num_layers - layer
    return remaining / (remaining + 1)
