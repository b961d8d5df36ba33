"""Positions: the convolutional embedding of wav2vec 2.0 and WavLM's gated relative bias.

Shapes: B utterances, T frames (K as keys), D width, H heads of the position bias.
Sources: Baevski et al. 2020 (convolution); Chen et al. 2022, WavLM section IV.B (gated bias).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from espnet_kd.encoder.channels_last import conv_BLC


class PositionalConv(nn.Module):
    """Grouped, weight-normed convolution over frames, then GELU; added to its input."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, mean=0.0, std=math.sqrt(4.0 / (kernel * width)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.conv = weight_norm(conv, dim=2)
        self.trim = 1 if kernel % 2 == 0 else 0  # an even kernel makes one frame too many

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if x_BTD.device.type == "cpu":
            # Twice as fast there: oneDNN's grouped convolution prefers frames before channels.
            y_BTD = conv_BLC(x_BTD, self.conv.weight, self.conv)
        else:
            y_BTD = self.conv(x_BTD.transpose(1, 2)).transpose(1, 2)
        return F.gelu(y_BTD[:, : -self.trim] if self.trim else y_BTD)


class RelativePositionBias(nn.Module):
    """T5-style bucketed bias, one value per head and bucket, shared by all layers."""

    def __init__(self, num_buckets: int, max_distance: int, num_heads: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.embedding = nn.Embedding(num_buckets, num_heads)

    def forward(self, num_frames: int) -> Tensor:
        """Bias (H, T, K) for every query and key frame."""
        positions_T = torch.arange(num_frames, device=self.embedding.weight.device)
        # Only 2T - 1 distances exist: look those up and spread them over the T x T plane.
        distances = torch.arange(1 - num_frames, num_frames, device=positions_T.device)
        by_distance: Tensor = self.embedding(self._buckets(distances))
        index_TK = positions_T[None, :] - positions_T[:, None] + num_frames - 1
        return by_distance.t()[:, index_TK]

    def _buckets(self, distance: Tensor) -> Tensor:
        half = self.num_buckets // 2
        exact = half // 2
        magnitude = distance.abs()
        growth = torch.log(magnitude.clamp(min=1).float() / exact) / math.log(
            self.max_distance / exact
        )
        far = (exact + growth * (half - exact)).to(torch.long).clamp(max=half - 1)
        return (distance > 0).long() * half + torch.where(magnitude < exact, magnitude, far)


class PositionGate(nn.Module):
    """Per-query gate on the relative bias, computed from the attention block's input."""

    def __init__(self, width: int, num_heads: int, kept_heads: list[int] | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kept_heads = kept_heads
        self.linear = nn.Linear(width // num_heads, 8)
        self.const = nn.Parameter(torch.ones(1, num_heads, 1, 1))

    def forward(self, x_BTD: Tensor, bias_HTK: Tensor) -> Tensor:
        """Gated bias (B, kept heads, T, K)."""
        batch, frames, _ = x_BTD.shape
        x_BHTd = x_BTD.view(batch, frames, self.num_heads, -1).transpose(1, 2)
        const: Tensor = self.const
        if self.kept_heads is not None:
            x_BHTd, const = x_BHTd[:, self.kept_heads], const[:, self.kept_heads]
            bias_HTK = bias_HTK[self.kept_heads]
        summed = self.linear(x_BHTd).unflatten(-1, (2, 4)).sum(-1)
        update, reset = torch.sigmoid(summed).chunk(2, dim=-1)
        gate_BHT1 = update * (reset * const - 1.0) + 2.0
        return gate_BHT1 * bias_HTK
