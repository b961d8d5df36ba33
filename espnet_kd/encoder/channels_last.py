"""The front end the way a CPU likes it: frames before channels, matrix products, small blocks.

Same numbers as the plain convolutions to float32 rounding, and the same parameters:

- Memory is kept as (B, L, C). Strided convolutions are then matrix products without copies, the
  LayerNorms of Large models act on contiguous rows, and what comes out is (B, T, C) as the
  Transformer wants it.
- The first convolution has one input channel: a matrix product over windows of the waveform. Its
  GroupNorm (one channel per group) needs each channel's mean and variance over time. Those are
  w·m and w·C·w for the windows' mean m and covariance C, a k × k matrix, so the norm becomes a
  change of the first layer's weights and its output never has to exist as a whole.
- Without gradients nothing has to be kept, hence the stack runs over blocks of frames that stay in
  the cache; large buffers, whose pages the system would have to clear each time, do not occur.

Shapes: B utterances, S samples, L steps of a convolution, T frames, C channels, k kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder.eager import is_eager_cpu
from espnet_kd.encoder.strided_conv import TapProducts, strided_conv

if TYPE_CHECKING:
    from espnet_kd.encoder.extractor import ConvBlock

_Conv = Callable[[Tensor], Tensor]

BLOCK_FRAMES = 100
"""Frames per block (2 s): a block's widest activation is 6 MB for 256 channels."""


def suits(x_BS: Tensor, blocks: Sequence[ConvBlock]) -> bool:
    """Whether this path computes what the plain convolutions would, and faster."""
    conv, norm = blocks[0].conv, blocks[0].norm
    # A bias before a GroupNorm changes nothing; the plain path keeps it in the graph for DDP.
    folds = isinstance(norm, nn.GroupNorm) and conv.bias is None
    foldable = folds or not isinstance(norm, nn.GroupNorm)
    return foldable and x_BS.dtype == torch.float32 and is_eager_cpu(x_BS)


def convolve(x_BS: Tensor, blocks: Sequence[ConvBlock]) -> Tensor:
    """(B, S) -> (B, T, C): all blocks of the front end."""
    if torch.is_grad_enabled():
        return _run(_Windows(x_BS, blocks[0]), slice(None), blocks, _with_gradients(blocks))
    rest = [block.conv for block in blocks[1:]]
    # The weights are brought into order once for all utterances and blocks of frames.
    convs = [TapProducts(conv.weight, conv.stride[0], conv.bias) for conv in rest]
    return torch.cat([_in_time_blocks(x_S[None], blocks, convs) for x_S in x_BS])


def conv_BLC(x_BLC: Tensor, weight: Tensor, conv: nn.Conv1d) -> Tensor:
    """A 1-D convolution over the middle dimension of (B, L, C)."""
    if conv.kernel_size == (1,) and conv.stride == (1,) and conv.groups == 1:
        return F.linear(x_BLC, weight[:, :, 0], conv.bias)
    assert isinstance(conv.padding, tuple)
    if torch.is_grad_enabled() and conv.groups == 1 and conv.padding == (0,):
        y_BLC = strided_conv(x_BLC, weight, conv.stride[0])
        return y_BLC if conv.bias is None else y_BLC + conv.bias
    y_BC1L = F.conv2d(
        x_BLC.transpose(1, 2).unsqueeze(2),
        weight.unsqueeze(2),
        conv.bias,
        stride=(1, *conv.stride),
        padding=(0, *conv.padding),
        groups=conv.groups,
    )
    return y_BC1L.squeeze(2).transpose(1, 2)


class _Windows:
    """Windows of the waveform, and the first convolution's weights with its GroupNorm in them."""

    def __init__(self, x_BS: Tensor, block: ConvBlock) -> None:
        conv = block.conv
        self.windows_BLk = x_BS.unfold(1, conv.kernel_size[0], conv.stride[0])
        weight_Ck, bias_C = conv.weight[:, 0], conv.bias
        if isinstance(block.norm, nn.GroupNorm):
            self.weight_BCk, self.bias_B1C = self._fold(weight_Ck, block.norm)
        else:
            batch = x_BS.size(0)
            self.weight_BCk = weight_Ck.expand(batch, -1, -1)
            bias_C = weight_Ck.new_zeros(conv.out_channels) if bias_C is None else bias_C
            self.bias_B1C = bias_C.expand(batch, 1, -1)

    def _fold(self, weight_Ck: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        # Double precision: these few numbers decide the scale of everything that follows.
        windows_BLk = self.windows_BLk.double()
        mean_B1k = windows_BLk.mean(1, keepdim=True)
        centred_BLk = windows_BLk - mean_B1k
        covariance_Bkk = centred_BLk.mT @ centred_BLk / windows_BLk.size(1)
        weight = weight_Ck.double()
        variance_BC = ((weight @ covariance_Bkk) * weight).sum(-1)
        gain_BC = norm.weight.double() * torch.rsqrt(variance_BC + norm.eps)
        weight_BCk = weight * gain_BC[..., None]
        bias_B1C = norm.bias.double() - mean_B1k @ weight_BCk.mT
        return weight_BCk.float(), bias_B1C.float()

    def apply(self, steps: slice) -> Tensor:
        """Outputs (B, L, C) of the first convolution (and GroupNorm) at ``steps``."""
        # The product wants windows side by side; as a view of the waveform they overlap.
        windows_BLk = self.windows_BLk[:, steps].contiguous()
        return torch.baddbmm(self.bias_B1C, windows_BLk, self.weight_BCk.mT)


def _with_gradients(blocks: Sequence[ConvBlock]) -> list[_Conv]:
    return [partial(conv_BLC, weight=block.conv.weight, conv=block.conv) for block in blocks[1:]]


def _run(
    windows: _Windows, steps: slice, blocks: Sequence[ConvBlock], convs: Sequence[_Conv]
) -> Tensor:
    x_BLC = _finish(windows.apply(steps), blocks[0])
    for block, conv in zip(blocks[1:], convs, strict=True):
        x_BLC = _finish(conv(x_BLC), block)
    return x_BLC


def _finish(x_BLC: Tensor, block: ConvBlock) -> Tensor:
    """Normalisation over channels, if any, and GELU."""
    if isinstance(block.norm, nn.LayerNorm):
        norm = block.norm
        x_BLC = F.layer_norm(x_BLC, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    if torch.is_grad_enabled():
        return F.gelu(x_BLC)
    activated: Tensor = torch.ops.aten.gelu_(x_BLC)
    return activated


def _in_time_blocks(x_1S: Tensor, blocks: Sequence[ConvBlock], convs: Sequence[_Conv]) -> Tensor:
    windows = _Windows(x_1S, blocks[0])
    rest = [block.conv for block in blocks[1:]]
    hop = math.prod(conv.stride[0] for conv in rest)
    field = 1
    for conv in reversed(rest):
        field = (field - 1) * conv.stride[0] + conv.kernel_size[0]
    frames = (windows.windows_BLk.size(1) - field) // hop + 1
    parts = []
    for start in range(0, frames, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, frames)
        steps = slice(start * hop, (stop - 1) * hop + field)
        parts.append(_run(windows, steps, blocks, convs))
    return torch.cat(parts, dim=1)
