"""Log-probabilities of two entries out of a large softmax, without keeping the softmax.

Logits of a lattice are the largest tensor of transducer training. The two arcs of a state need two
of its V entries and one normaliser. Forward keeps nothing of the logits' size but the logits;
backward writes their gradient once. Both go through memory in blocks that fit a processor's cache.

Shapes: N states of all utterances, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 2**17, "cuda": 2**26}
"""Logits that are worked on at once."""


def arc_scores(logits: Tensor, symbols: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of symbol and blank.

    Args:
        logits: (..., V), of any floating-point type.
        symbols: (...) int64.
        blank: entry that stands for "next frame".

    Returns:
        Two tensors (...), float32 (float64 if the logits are).
    """
    flat_NV, symbols_N = logits.reshape(-1, logits.shape[-1]), symbols.reshape(-1)
    px_N, py_N = _ArcScores.apply(flat_NV, symbols_N, blank)  # type: ignore[no-untyped-call]
    return px_N.view(symbols.shape), py_N.view(symbols.shape)


class _ArcScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, symbols_N: Tensor, blank: int
    ) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(logits_NV.dtype, torch.float32)
        normaliser_N = torch.empty(len(logits_NV), dtype=dtype, device=logits_NV.device)
        for rows in _blocks(logits_NV):
            torch.logsumexp(logits_NV[rows].to(dtype), dim=1, out=normaliser_N[rows])
        ctx.save_for_backward(logits_NV, symbols_N, normaliser_N)
        ctx.blank = blank
        chosen_N = logits_NV.gather(1, symbols_N[:, None])[:, 0].to(dtype)
        return chosen_N - normaliser_N, logits_NV[:, blank].to(dtype) - normaliser_N

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, px_N: Tensor, py_N: Tensor) -> tuple[Tensor, None, None]:
        logits_NV, symbols_N, normaliser_N = ctx.saved_tensors
        grad_NV = torch.empty_like(logits_NV)
        both_N = -(px_N + py_N)
        on_cpu = logits_NV.device.type == "cpu"
        for rows in _blocks(logits_NV):
            block_nV = grad_NV[rows]
            if on_cpu and not (px_N[rows].any() or py_N[rows].any()):
                block_nV.zero_()  # padding; asking a card would stop it
                continue
            work_nV = torch.sub(logits_NV[rows], normaliser_N[rows, None]).exp_()
            work_nV.mul_(both_N[rows, None])
            work_nV.scatter_add_(1, symbols_N[rows, None], px_N[rows, None])
            work_nV[:, ctx.blank] += py_N[rows]
            block_nV.copy_(work_nV)
        return grad_NV, None, None


def _blocks(x_NV: Tensor) -> Iterator[slice]:
    """Rows that are worked on at once."""
    step = max(1, BLOCK.get(x_NV.device.type, BLOCK["cuda"]) // max(1, x_NV.shape[1]))
    for start in range(0, len(x_NV), step):
        yield slice(start, start + step)
