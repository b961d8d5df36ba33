"""Convolutional front end and feature projection.

Shapes: B utterances, S samples, C channels, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder import channels_last
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
    """Stack of :class:`ConvBlock` from waveform to features; gradient scaled by ``grad_mult``."""

    def __init__(self, blocks: list[ConvBlock], grad_mult: float) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(blocks)
        self.grad_mult = grad_mult

    def forward(self, x_BS: Tensor) -> Tensor:
        """(B, S) -> (B, T, C)."""
        if self.grad_mult <= 0.0:
            with torch.no_grad():
                return self._convolve(x_BS)
        return scale_gradient(self._convolve(x_BS), self.grad_mult)

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
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, D)."""
        if self.norm is not None:
            x_BTC = self.norm(x_BTC)
        if self.linear is not None:
            x_BTC = self.linear(x_BTC)
        dropped: Tensor = self.dropout(x_BTC)
        return dropped
