"""The encoder's arithmetic written down straightforwardly: a step without our short cuts.

Same modules, same weights, same results (but for the random numbers of dropout); convolutions as
torch has them, attention scores masked in the T x T plane, the softmax over a reused map taken by
every layer that reuses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder import attention, blockwise, channels_last, dropout, extractor, positions


def _conv_BLC(x_BLC: Tensor, weight: Tensor, conv: nn.Conv1d) -> Tensor:
    padding = conv.padding[0]
    x_BCL = x_BLC.transpose(1, 2)
    y_BCL = F.conv1d(x_BCL, weight, conv.bias, conv.stride, padding, groups=conv.groups)
    return y_BCL.transpose(1, 2)


def _attention_map(
    q_BHTd: Tensor, k_BHKd: Tensor, bias_BHTK: Tensor | None, padding_BK: Tensor | None
) -> Tensor:
    scores_BHTK = torch.matmul(q_BHTd, k_BHKd.transpose(-1, -2))
    if bias_BHTK is not None:
        scores_BHTK = scores_BHTK + bias_BHTK
    if padding_BK is not None:
        scores_BHTK = scores_BHTK.masked_fill(padding_BK[:, None, None], float("-inf"))
    return torch.softmax(scores_BHTK, dim=-1)


def _apply(shared: attention.SharedMap, v_BHKd: Tensor) -> Tensor:
    scores_BHTK = shared.map_BHTK
    if shared.padding_BK is not None:
        scores_BHTK = scores_BHTK.masked_fill(shared.padding_BK[:, None, None], float("-inf"))
    return torch.matmul(torch.softmax(scores_BHTK, dim=-1), v_BHKd)


def _block(block: extractor.ConvBlock, x_BCT: Tensor) -> Tensor:
    x_BCT = block.conv(x_BCT)
    return F.gelu(x_BCT if block.norm is None else block.norm(x_BCT))


@contextlib.contextmanager
def straightforward() -> Iterator[None]:
    """Within the block our encoders compute the plain way."""
    with (
        mock.patch.object(channels_last, "suits", return_value=False),
        mock.patch.object(dropout, "suits", return_value=False),
        mock.patch.object(extractor.ConvBlock, "forward", _block),
        mock.patch.object(positions, "conv_BLC", _conv_BLC),
        mock.patch.object(blockwise, "suits", return_value=False),
        mock.patch.object(attention, "attention_map", _attention_map),
        mock.patch.object(attention.SharedMap, "apply", _apply),
    ):
        yield
