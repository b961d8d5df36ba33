"""A linear classifier and its cross-entropy in one step, without keeping scores for backward.

The sum of cross-entropies has its gradient at hand while the scores are there; it is taken at once,
a few positions at a time, so that memory does not grow with positions times classes and nothing is
computed twice.

Shapes: V positions, C width, M classifiers, K classes of each, R = M K.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_FLOATS = 2**21
"""Scores that are there at a time (8 MiB)."""
_LEAST_EXPONENT = -80.0
"""Of a probability relative to the largest: below, products with denormal numbers crawl."""


def linear_entropy_sum(
    x_VC: Tensor, weight_RC: Tensor, bias_R: Tensor, codes_VM: Tensor, ignore_index: int
) -> Tensor:
    """Sum of the cross-entropies of ``linear(x)`` for M classifiers, float32 scalar.

    Gradients of first order flow to ``x``, weight and bias.

    Args:
        x_VC: inputs.
        weight_RC: weights, class k of classifier m in row ``m * K + k``.
        bias_R: biases.
        codes_VM: int64 classes, or ``ignore_index`` where there is none.
        ignore_index: class that counts for nothing.
    """
    arguments = (x_VC, weight_RC, bias_R, codes_VM, ignore_index)
    total: Tensor = _LinearEntropySum.apply(*arguments)  # type: ignore[no-untyped-call]
    return total


def chunks(positions: int, classes: int) -> Iterator[slice]:
    """Spans of positions whose scores are there at a time."""
    step = max(1, _CHUNK_FLOATS // classes)
    return (slice(start, start + step) for start in range(0, positions, step))


def gradient_sums(parts: Sequence[Tensor]) -> list[Tensor]:
    """Zeros like each part, at least float32."""
    return [
        torch.zeros_like(part, dtype=torch.promote_types(part.dtype, torch.float32))
        for part in parts
    ]


class _LinearEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_VC: Tensor, weight_RC: Tensor, bias_R: Tensor, codes_VM: Tensor, ignore: int
    ) -> Tensor:
        needed = ctx.needs_input_grad[:3]
        parts = (x_VC, weight_RC, bias_R)
        gradients = gradient_sums(parts)
        total = gradients[0].new_zeros(())
        for rows in chunks(len(x_VC), len(weight_RC)):
            scores_vR = F.linear(x_VC[rows], weight_RC, bias_R)
            entropy, slope_vR = entropy_and_slope(scores_vR, codes_VM[rows], ignore)
            total += entropy
            slope_vR = slope_vR.to(scores_vR.dtype)
            if needed[0]:
                gradients[0][rows] = slope_vR @ weight_RC.to(slope_vR.dtype)
            if needed[1]:
                gradients[1] += slope_vR.T @ x_VC[rows].to(slope_vR.dtype)
            if needed[2]:
                gradients[2] += slope_vR.sum(dim=0, dtype=gradients[2].dtype)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [part.dtype for part in parts]
        return total

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> Any:
        (factor,) = factors
        scaled = [
            (gradient * factor).to(dtype) if needed else None
            for gradient, dtype, needed in zip(
                ctx.saved_tensors, ctx.dtypes, ctx.needs_input_grad[:3], strict=True
            )
        ]
        return (*scaled, None, None)


def entropy_and_slope(scores_vR: Tensor, codes_vM: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """Summed entropy and its derivative by the scores: softmax less one-hot, 0 where ignored.

    Scores of float32 or more are overwritten.
    """
    dtype = torch.promote_types(scores_vR.dtype, torch.float32)
    scores_vMK = scores_vR.to(dtype).view(*codes_vM.shape, -1)
    counts_vM1 = (codes_vM != ignore).unsqueeze(2)
    target_vM1 = codes_vM.unsqueeze(2).masked_fill(~counts_vM1, 0)
    at_target_vM1 = scores_vMK.gather(2, target_vM1)
    top_vM1 = scores_vMK.amax(dim=2, keepdim=True)
    power_vMK = scores_vMK.sub_(top_vM1).clamp_(min=_LEAST_EXPONENT).exp_()
    sum_vM1 = power_vMK.sum(dim=2, keepdim=True)
    entropy_vM1 = sum_vM1.log() + top_vM1 - at_target_vM1
    slope_vMK = power_vMK.div_(sum_vM1)
    slope_vMK.scatter_add_(2, target_vM1, -torch.ones_like(sum_vM1))
    slope_vMK.mul_(counts_vM1)
    return (entropy_vM1 * counts_vM1).sum(), slope_vMK.flatten(1)
