"""The joint classifier of codes and its cross-entropy in one step, a few positions at a time.

As :mod:`~espnet_kd.losses.linear_entropy`: gradients are taken while scores and hidden vectors are
there, so that nothing is kept for the backward pass and nothing is computed twice.

Shapes: V positions, v those of a chunk, C width, M codebooks, K their size, R = M K, H hidden
width, E = (M - 1) K rows of the embedding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.losses.linear_entropy import chunks, entropy_and_slope, gradient_sums


class JointHead(NamedTuple):
    """Parameters of the classifier (or sums of their gradients)."""

    weight_RC: Tensor
    bias_R: Tensor
    first_weight_HC: Tensor
    first_bias_H: Tensor
    embedding_EH: Tensor
    second_weight_MKH: Tensor


def joint_entropy_sum(x_VC: Tensor, head: JointHead, codes_VM: Tensor, ignore_index: int) -> Tensor:
    """Sum of the cross-entropies of all codebooks, each given the codes before it; float32 scalar.

    Gradients of first order flow to ``x`` and to the head.

    Args:
        x_VC: inputs.
        head: parameters.
        codes_VM: int64 codes, or ``ignore_index`` where there is none.
        ignore_index: code that counts for nothing.
    """
    total: Tensor = _JointEntropySum.apply(  # type: ignore[no-untyped-call]
        codes_VM, ignore_index, x_VC, *head
    )
    return total


def hidden_vectors(x_vC: Tensor, head: JointHead, codes_vM: Tensor) -> tuple[Tensor, Tensor, float]:
    """What each codebook sees (M, v, H), the rows of the embedding (M-1, v), and their factor."""
    codebooks, size, width = head.second_weight_MKH.shape
    first_vH = F.linear(x_vC, head.first_weight_HC, head.first_bias_H)
    offsets = torch.arange(codebooks - 1, device=codes_vM.device) * size
    rows_mv = (codes_vM[:, :-1].clamp(min=0) + offsets).T.contiguous()
    scale = 0.5 * math.sqrt(width / codebooks)
    hidden_MvH = first_vH.new_empty(codebooks, *first_vH.shape)
    seen_vH = first_vH.to(torch.promote_types(first_vH.dtype, torch.float32))
    hidden_MvH[0] = seen_vH.relu()
    for m, rows_v in enumerate(rows_mv.unbind(0), start=1):
        seen_vH = seen_vH.add(head.embedding_EH[rows_v], alpha=scale)
        hidden_MvH[m] = seen_vH.relu()
    return hidden_MvH, rows_mv, scale


class _JointEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes_VM: Tensor, ignore: int, x_VC: Tensor, *parts: Tensor) -> Tensor:
        head = JointHead(*parts)
        needed = any(ctx.needs_input_grad)
        x_sum_VC, *sums = gradient_sums((x_VC, *parts))
        total = x_sum_VC.new_zeros(())
        for rows in chunks(len(x_VC), len(head.weight_RC)):
            x_vC, codes_vM = x_VC[rows], codes_VM[rows]
            hidden_MvH, embedded_mv, scale = hidden_vectors(x_vC, head, codes_vM)
            scores_vR = _scores(x_vC, hidden_MvH, head)
            entropy, slope_vR = entropy_and_slope(scores_vR, codes_vM, ignore)
            total += entropy
            if needed:
                slope_vR = slope_vR.to(scores_vR.dtype)
                back_MvH = _add_to_second(slope_vR, hidden_MvH, head, sums[5])
                sums[4].index_add_(
                    0, embedded_mv.flatten(), back_MvH[1:].flatten(0, 1).to(sums[4].dtype),
                    alpha=scale,
                )  # fmt: skip
                x_sum_VC[rows] = _add_to_linear(slope_vR, x_vC, head.weight_RC, sums[0], sums[1])
                x_sum_VC[rows] += _add_to_linear(
                    back_MvH[0], x_vC, head.first_weight_HC, sums[2], sums[3]
                )
        ctx.save_for_backward(x_sum_VC, *sums)
        ctx.dtypes = [part.dtype for part in (x_VC, *parts)]
        return total

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> Any:
        (factor,) = factors
        scaled = [
            (gradient * factor).to(dtype) if needed else None
            for gradient, dtype, needed in zip(
                ctx.saved_tensors, ctx.dtypes, ctx.needs_input_grad[2:], strict=True
            )
        ]
        return (None, None, *scaled)


def _scores(x_vC: Tensor, hidden_MvH: Tensor, head: JointHead) -> Tensor:
    scores_vR = F.linear(x_vC, head.weight_RC, head.bias_R)
    second_MHK = head.second_weight_MKH.to(hidden_MvH.dtype).transpose(1, 2)
    joint_MvK = torch.bmm(hidden_MvH, second_MHK)
    scores_vMK = scores_vR.view(len(scores_vR), *second_MHK.shape[0::2])
    return (scores_vMK + joint_MvK.transpose(0, 1)).flatten(1)


def _add_to_second(
    slope_vR: Tensor, hidden_MvH: Tensor, head: JointHead, sum_MKH: Tensor
) -> Tensor:
    """Gradients of the second layer; returns those (M, v, H) of the terms of its inputs."""
    codebooks, size, _ = sum_MKH.shape
    slope_MvK = slope_vR.view(-1, codebooks, size).transpose(0, 1)
    sum_MKH += torch.bmm(slope_MvK.transpose(1, 2), hidden_MvH.to(slope_vR.dtype))
    back_MvH = torch.bmm(slope_MvK, head.second_weight_MKH.to(slope_vR.dtype))
    back_MvH.mul_(hidden_MvH > 0)
    # A term is in the input of its own codebook and of all later ones.
    for m in reversed(range(codebooks - 1)):
        back_MvH[m] += back_MvH[m + 1]
    return back_MvH


def _add_to_linear(
    slope_vO: Tensor, x_vC: Tensor, weight_OC: Tensor, sum_OC: Tensor, sum_O: Tensor
) -> Tensor:
    """Gradients of a linear layer; returns that (v, C) of its input."""
    sum_OC += slope_vO.T @ x_vC.to(slope_vO.dtype)
    sum_O += slope_vO.sum(dim=0, dtype=sum_O.dtype)
    return slope_vO @ weight_OC.to(slope_vO.dtype)
