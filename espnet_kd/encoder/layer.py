"""One Transformer layer in the two residual forms, and the convolution that merges frames.

Shapes: B utterances, T frames, D width, F feed-forward units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.encoder import blockwise
from espnet_kd.encoder.attention import FullAttention, ReusedAttention, SharedMap
from espnet_kd.encoder.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass
class AttentionContext:
    """What the layers of one pass share: padding, position bias and the last attention map."""

    padding_BT: Tensor | None
    bias_HTT: Tensor | None
    reuse_mode: str
    shared: SharedMap | None = None

    def publish(self, map_BHTT: Tensor, exponential: bool) -> None:
        """Offer a map, or e to its power, to the reusing layers that follow."""
        self.shared = SharedMap(map_BHTT, self.padding_BT, self.reuse_mode, exponential)


class FeedForward(nn.Module):
    """Linear, activation, dropout, Linear."""

    def __init__(self, width: int, units: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.intermediate = nn.Linear(width, units)
        self.activation = ACTIVATIONS[activation]
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(units, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        h_BTF = self.dropout(self.activation(self.intermediate(x_BTD)))
        y_BTD: Tensor = self.output(h_BTF)
        return y_BTD


class TransformerLayer(nn.Module):
    """Attention block and feed-forward block, either of which may be absent after pruning.

    ``offers_map`` is set by the factory on layers whose map a later layer reuses.
    """

    def __init__(
        self,
        attention: FullAttention | ReusedAttention | None,
        feed_forward: FeedForward | None,
        norms: tuple[nn.LayerNorm, nn.LayerNorm],
        dropout: float,
        norm_first: bool,
        offers_map: bool = False,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_norm, self.final_norm = norms
        self.dropout = Dropout(dropout)
        self.norm_first = norm_first
        self.offers_map = offers_map

    def forward(
        self, x_BTD: Tensor, context: AttentionContext, need_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) -> (B, T, D) and the map (B, H, T, T) if asked for and computed here."""
        if self.norm_first:
            return self._pre_norm(x_BTD, context, need_map)
        return self._post_norm(x_BTD, context, need_map)

    def _post_norm(
        self, x_BTD: Tensor, context: AttentionContext, need_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        map_BHTT = None
        if self.attention is not None:
            y_BTD, map_BHTT = self._attend(x_BTD, context, need_map)
            x_BTD = x_BTD + self.dropout(y_BTD)
        x_BTD = self.attention_norm(x_BTD)
        if self.feed_forward is not None:
            x_BTD = x_BTD + self.dropout(self.feed_forward(x_BTD))
        return self.final_norm(x_BTD), map_BHTT

    def _pre_norm(
        self, x_BTD: Tensor, context: AttentionContext, need_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        map_BHTT = None
        if self.attention is not None:
            y_BTD, map_BHTT = self._attend(self.attention_norm(x_BTD), context, need_map)
            x_BTD = x_BTD + self.dropout(y_BTD)
        if self.feed_forward is not None:
            x_BTD = x_BTD + self.dropout(self.feed_forward(self.final_norm(x_BTD)))
        return x_BTD, map_BHTT

    def _attend(
        self, x_BTD: Tensor, context: AttentionContext, need_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.attention, FullAttention):
            wanted = need_map or self.offers_map
            # Unless somebody wants the map itself, the power may take its place in memory.
            exponential = self.offers_map and not need_map and blockwise.suits(x_BTD)
            exponential = exponential and context.reuse_mode != "single"
            old = None if need_map or context.shared is None else context.shared.map_BHTK
            y_BTD, map_BHTT = self.attention(
                x_BTD, context.padding_BT, context.bias_HTT, wanted, exponential, memory=old
            )
            if self.offers_map and map_BHTT is not None:
                context.publish(map_BHTT, exponential)
            return y_BTD, map_BHTT if need_map else None
        assert isinstance(self.attention, ReusedAttention)
        assert context.shared is not None
        return self.attention(x_BTD, context.shared), None


class TimeReduction(nn.Module):
    """Strided convolution that merges ``factor`` frames into one, the last ones with zeros."""

    def __init__(self, width: int, kernel: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv1d(width, width, kernel, stride=factor)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, ceil(T / factor), D)."""
        x_BDT = F.pad(x_BTD.transpose(1, 2), (0, self.conv.kernel_size[0] - 1))
        y_BDT: Tensor = self.conv(x_BDT)
        return y_BDT.transpose(1, 2)

    def reduce_padding(self, padding_BT: Tensor | None) -> Tensor | None:
        """A merged frame is padding when its first frame is."""
        return None if padding_BT is None else padding_BT[:, :: self.factor]


def restore_frames(x_BTD: Tensor, factor: int, frames: int) -> Tensor:
    """Repeat each frame ``factor`` times and cut to ``frames``, so that all hidden states align."""
    return x_BTD if factor == 1 else torch.repeat_interleave(x_BTD, factor, dim=1)[:, :frames]
