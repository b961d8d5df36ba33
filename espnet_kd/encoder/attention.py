"""Self-attention that computes its map, and attention that reuses one.

Shapes: B utterances, T query frames, K key frames (K = T), D width, H heads, d head width.
Source: Jang et al., "Recycle-and-Distill" (arXiv 2305.11685); spec armhubert.md 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder import blockwise
from espnet_kd.encoder.dropout import dropout
from espnet_kd.encoder.positions import PositionGate


class FullAttention(nn.Module):
    """Multi-head self-attention; keeps its map only when somebody asks for it."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int,
        dropout: float,
        gate: PositionGate | None = None,
    ) -> None:
        super().__init__()
        inner = num_heads * head_dim
        self.num_heads = num_heads
        self.scale = head_dim**-0.5
        self.dropout = dropout
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)
        self.gate = gate

    def forward(
        self,
        x_BTD: Tensor,
        padding_BK: Tensor | None,
        bias_HTK: Tensor | None,
        need_map: bool,
        exponential: bool = False,
        memory: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Output (B, T, D) and, if asked for, the map (B, H, T, K), before its dropout.

        With ``exponential`` it is e to the power of the map that comes back; ``memory`` is an
        earlier map that nobody needs any more and that may be overwritten.
        """
        q_BHTd, k_BHKd, v_BHKd = (
            split_heads(proj(x_BTD), self.num_heads)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = None if self.gate is None or bias_HTK is None else self.gate(x_BTD, bias_HTK)
        p = self.dropout if self.training else 0.0
        if need_map:
            q_BHTd = q_BHTd * self.scale
            if p == 0 and blockwise.suits(x_BTD):
                if padding_BK is not None:
                    q_BHTd, k_BHKd = _penalise_padding(q_BHTd, k_BHKd, padding_BK)
                qkv = (q_BHTd, k_BHKd, v_BHKd)
                y_BHTd, map_BHTK = blockwise.attend(*qkv, bias, exponential, memory)
            else:
                map_BHTK = attention_map(q_BHTd, k_BHKd, bias, padding_BK)
                y_BHTd = torch.matmul(dropout(map_BHTK, p), v_BHKd)
                map_BHTK = torch.exp(map_BHTK) if exponential else map_BHTK
            return self.out_proj(merge_heads(y_BHTd)), map_BHTK
        mask = _attention_mask(bias, padding_BK)
        y_BHTd = F.scaled_dot_product_attention(q_BHTd, k_BHKd, v_BHKd, attn_mask=mask, dropout_p=p)
        return self.out_proj(merge_heads(y_BHTd)), None


class ReusedAttention(nn.Module):
    """Attention with only value and output projections, weighted by an earlier layer's map."""

    def __init__(self, width: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.v_proj = nn.Linear(width, num_heads * head_dim)
        self.out_proj = nn.Linear(num_heads * head_dim, width)

    def forward(self, x_BTD: Tensor, shared: SharedMap) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        y_BHTd = shared.apply(split_heads(self.v_proj(x_BTD), self.num_heads))
        projected: Tensor = self.out_proj(merge_heads(y_BHTd))
        return projected


@dataclass
class SharedMap:
    """A computed attention map and the weights that all its reusing layers derive from it."""

    map_BHTK: Tensor
    padding_BK: Tensor | None
    mode: str
    exponential: bool = False
    """Whether e to the power of the map is what is kept."""

    def apply(self, v_BHKd: Tensor) -> Tensor:
        """Weighted values (B, H, T, d) by the rule of ``reuse_mode``."""
        if self.mode == "single":
            return torch.matmul(self.map_BHTK, v_BHKd)
        if self.padding_BK is None and v_BHKd.device.type != "cpu":
            weights_BHTK, total_BHT1 = self._second_softmax
            return torch.matmul(weights_BHTK, v_BHKd) / total_BHT1
        # A column of ones among the values sums the weights in the same product, and zeros in the
        # rows of padded keys leave these out of both, without a pass over the T x K numbers.
        ones_BHKd = F.pad(v_BHKd, (0, 1), value=1.0)
        if self.padding_BK is not None:
            ones_BHKd = ones_BHKd.masked_fill(self.padding_BK[:, None, :, None], 0.0)
        y_BHTd = torch.matmul(self._second_exp, ones_BHKd)
        return y_BHTd[..., :-1] / y_BHTd[..., -1:]

    @cached_property
    def _second_exp(self) -> Tensor:
        """Numerator of the softmax over the map itself (published defect D1).

        A map lies in [0, 1], so the exponential needs no shift; dividing after the value product
        touches T x d numbers instead of T x K. Padded keys are left out by :meth:`apply`.
        """
        map_BHTK = mix_heads(self.map_BHTK) if self.mode == "ref" else self.map_BHTK
        return map_BHTK if self.exponential else torch.exp(map_BHTK)

    @cached_property
    def _second_softmax(self) -> tuple[Tensor, Tensor]:
        """Numerator and, for a batch without padding, denominator."""
        return self._second_exp, self._second_exp.sum(-1, keepdim=True)


def mix_heads(map_BHTK: Tensor) -> Tensor:
    """Published defect D2: (H, B, T, K) memory read as (B, H, T, K), which mixes utterances."""
    return map_BHTK.transpose(0, 1).reshape(map_BHTK.shape)


def split_heads(x_BTD: Tensor, num_heads: int) -> Tensor:
    """(B, T, H*d) -> (B, H, T, d)."""
    return x_BTD.view(*x_BTD.shape[:2], num_heads, -1).transpose(1, 2)


def merge_heads(x_BHTd: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H*d)."""
    return x_BHTd.transpose(1, 2).flatten(2)


def attention_map(
    q_BHTd: Tensor, k_BHKd: Tensor, bias_BHTK: Tensor | None, padding_BK: Tensor | None
) -> Tensor:
    """Softmax over keys of q·k + bias; padded keys have weight 0."""
    if padding_BK is not None:
        q_BHTd, k_BHKd = _penalise_padding(q_BHTd, k_BHKd, padding_BK)
    scores_BHTK = torch.matmul(q_BHTd, k_BHKd.transpose(-1, -2))
    return torch.softmax(scores_BHTK if bias_BHTK is None else scores_BHTK + bias_BHTK, dim=-1)


def _penalise_padding(q_BHTd: Tensor, k_BHKd: Tensor, padding_BK: Tensor) -> tuple[Tensor, Tensor]:
    """One more coordinate, 1 in queries and very low in padded keys: a mask without T x K."""
    low = torch.finfo(k_BHKd.dtype).min / 2
    penalty_BK = torch.zeros_like(padding_BK, dtype=k_BHKd.dtype).masked_fill(padding_BK, low)
    penalty_BHK1 = penalty_BK[:, None, :, None].expand(*k_BHKd.shape[:-1], 1)
    return F.pad(q_BHTd, (0, 1), value=1.0), torch.cat([k_BHKd, penalty_BHK1], dim=-1)


def _attention_mask(bias_BHTK: Tensor | None, padding_BK: Tensor | None) -> Tensor | None:
    if padding_BK is None:
        return bias_BHTK
    if bias_BHTK is None:
        return ~padding_BK[:, None, None]
    return bias_BHTK.masked_fill(padding_BK[:, None, None], float("-inf"))
