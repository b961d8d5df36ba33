"""``kd_stateless``: a transducer's decoder that sees the last few labels, as icefall's.

ESPnet's own ``stateless`` decoder sees one. Published recipes use two.

Shapes: B batch, U labels, H hypotheses, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from espnet2.asr_transducer.decoder.stateless_decoder import StatelessDecoder
from torch import Tensor, nn

from espnet_kd.errors import ConfigError


class KDStatelessDecoder(StatelessDecoder):
    """Embeddings of the last labels, weighed channel by channel, then rectified.

    Args:
        vocab_size: tokens.
        embed_size: width D (published 512).
        embed_dropout_rate: dropout of the embeddings (published 0).
        embed_pad: token of the blank, whose embedding is 0: it fills the context at the start.
        context_size: labels that are seen (published 2).
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int = 256,
        embed_dropout_rate: float = 0.0,
        embed_pad: int = 0,
        context_size: int = 2,
    ) -> None:
        if context_size < 1:
            raise ConfigError("decoder_conf", [f"context_size is {context_size}; at least 1"])
        super().__init__(vocab_size, embed_size, embed_dropout_rate, embed_pad)
        self.context_size, self.embed_pad = context_size, embed_pad
        self.conv = nn.Conv1d(embed_size, embed_size, context_size, groups=embed_size, bias=False)

    def forward(self, labels: Tensor, states: Any = None) -> Tensor:
        """Decode all prefixes at once: (B, U) labels that begin with blank give (B, U, D)."""
        x_BUD: Tensor = super().forward(labels)
        padded_BDU = nn.functional.pad(x_BUD.transpose(1, 2), (self.context_size - 1, 0))
        y_BUD: Tensor = self.conv(padded_BDU).relu().transpose(1, 2)
        return y_BUD

    def score(self, label_sequence: list[int], states: Any = None) -> tuple[Tensor, None]:
        """Decode one hypothesis: (1, D)."""
        return self._last([label_sequence]), None

    def batch_score(self, hyps: Sequence[Any]) -> tuple[Tensor, None]:
        """Decode the hypotheses of a beam: (H, D)."""
        return self._last([hypothesis.yseq for hypothesis in hyps]), None

    def _last(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """What follows each sequence, (H, D)."""
        filling = [self.embed_pad] * self.context_size
        rows = [[*filling, *sequence][-self.context_size :] for sequence in sequences]
        labels_HU = torch.tensor(rows, dtype=torch.long, device=self.device)
        y_HD: Tensor = self.conv(self.embed(labels_HU).transpose(1, 2)).relu().squeeze(2)
        return y_HD
