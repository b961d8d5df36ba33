"""Convolutional front end and feature projection.

Shapes: B utterances, S samples, C channels, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder import channels_last
from espnet_kd.encoder.dropout import Dropout
from espnet_kd.encoder.gradient import scale_gradient


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, T)."""

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Normalise over C; the shape stays."""
        return super().forward(x_BCT.transpose(1, 2)).transpose(1, 2)


class ConvBlock(nn.Module):
    """Convolution, optional normalisation, exact GELU."""

    def __init__(self, conv: nn.Conv1d, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.pointwise = conv.kernel_size == (1,) and conv.stride == (1,)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C_in, T_in) -> (B, C_out, T_out)."""
        x_BCT = self._pointwise_conv(x_BCT) if self.pointwise else self.conv(x_BCT)
        if self.norm is not None:
            x_BCT = self.norm(x_BCT)
        return F.gelu(x_BCT)

    def _pointwise_conv(self, x_BCT: Tensor) -> Tensor:
        # torch sends 1x1 convolutions down a slow path on CPUs; they are a matrix product.
        y_BCT = torch.matmul(self.conv.weight[:, :, 0], x_BCT)
        return y_BCT if self.conv.bias is None else y_BCT + self.conv.bias[:, None]


class FeatureExtractor(nn.Module):
    """Stack of :class:`ConvBlock` from waveform to features; gradient scaled by ``grad_mult``.

    ``channel_scale`` is None, or one factor per channel of the last convolution.
    """

    channel_scale: nn.Parameter | None

    def __init__(
        self, blocks: list[ConvBlock], grad_mult: float, channel_scale: Tensor | None = None
    ) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(blocks)
        self.grad_mult = grad_mult
        scale = None if channel_scale is None else nn.Parameter(channel_scale, requires_grad=False)
        self.register_parameter("channel_scale", scale)

    def forward(self, x_BS: Tensor) -> Tensor:
        """(B, S) -> (B, T, C)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.grad_mult > 0.0):
            x_BTC = self._convolve(x_BS)
        if self.grad_mult > 0.0:
            x_BTC = scale_gradient(x_BTC, self.grad_mult)
        if self.channel_scale is not None:
            x_BTC = x_BTC * self.channel_scale.to(x_BTC.dtype)
        return x_BTC

    def _convolve(self, x_BS: Tensor) -> Tensor:
        blocks = [block for block in self.conv_layers if isinstance(block, ConvBlock)]
        if channels_last.suits(x_BS, blocks):
            return channels_last.convolve(x_BS, blocks)
        x_BCT = x_BS[:, None]
        for block in self.conv_layers:
            x_BCT = block(x_BCT)
        return x_BCT.transpose(1, 2)


class FeatureProjection(nn.Module):
    """LayerNorm over channels, optional Linear to the model's width, dropout."""

    def __init__(self, norm: nn.LayerNorm | None, linear: nn.Linear | None, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.linear = linear
        self.dropout = Dropout(dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, D)."""
        dropped: Tensor = self.dropout(self._project(x_BTC))
        return dropped

    def _project(self, x_BTC: Tensor) -> Tensor:
        if self.norm is not None:
            x_BTC = self.norm(x_BTC)
        return x_BTC if self.linear is None else self.linear(x_BTC)


class ExactFeatureProjection(FeatureProjection):
    """The projection of a model whose last convolution lost channels, as if these were still there.

    A closed channel is 0 and still counts in the LayerNorm's mean and variance; after the
    LayerNorm it holds a multiple of its gain plus its bias, which the Linear adds up to two vectors
    of width D (spec dphubert.md 7, Q11).

    Args:
        norm: LayerNorm over the kept channels.
        linear: from the kept channels to D.
        dropout: after the projection.
        total_channels: channels before pruning.
    """

    norm: nn.LayerNorm
    linear: nn.Linear

    def __init__(
        self, norm: nn.LayerNorm, linear: nn.Linear, dropout: float, total_channels: int
    ) -> None:
        super().__init__(norm, linear, dropout)
        self.total_channels = total_channels
        self.removed_gain = nn.Parameter(torch.zeros(linear.out_features))
        self.removed_bias = nn.Parameter(torch.zeros(linear.out_features))

    def _project(self, x_BTC: Tensor) -> Tensor:
        removed = self.total_channels - x_BTC.size(-1)
        # As torch's LayerNorm does: statistics of bfloat16 numbers in single precision.
        precise = torch.promote_types(x_BTC.dtype, torch.float32)
        x_BTC, dtype = x_BTC.to(precise), x_BTC.dtype
        mean_BT1 = x_BTC.sum(-1, keepdim=True) / self.total_channels
        centred_BTC = x_BTC - mean_BT1
        squares_BT1 = centred_BTC.square().sum(-1, keepdim=True) + removed * mean_BT1.square()
        rstd_BT1 = torch.rsqrt(squares_BT1 / self.total_channels + self.norm.eps)
        normed_BTC = centred_BTC * rstd_BT1 * self.norm.weight + self.norm.bias
        rest_BTD = self.removed_bias - mean_BT1 * rstd_BT1 * self.removed_gain
        projected_BTD: Tensor = self.linear(normed_BTC.to(dtype)) + rest_BTD.to(dtype)
        return projected_BTD
