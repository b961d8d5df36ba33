"""Probability and entropy of every decoded token, kept while decoding instead of computed again.

Keeping whole distributions would take batch x beams x vocabulary x length numbers: 3.4 GB for 64
segments of 256 tokens. A chosen token is among the 2 K best of its beam (K beams), so these are
kept.

Shape suffixes: L tokens decoded, R rows (segments x beams), V vocabulary, K kept, B segments.
"""

from __future__ import annotations

import torch
from torch import Tensor


class ScoreRecorder:
    """The last logits processor: changes nothing, remembers what decoding chooses from."""

    def __init__(self, num_beams: int) -> None:
        self.keep = 1 if num_beams == 1 else 2 * num_beams
        self._ids: list[Tensor] = []
        self._logprobs: list[Tensor] = []
        self._entropies: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Remember the best of (R, V) scores and the entropy; return the scores as they are."""
        logprobs_RV = scores.float().log_softmax(dim=-1)
        best = logprobs_RV.topk(min(self.keep, logprobs_RV.shape[-1]), dim=-1)
        self._ids.append(best.indices)
        self._logprobs.append(best.values)
        self._entropies.append(torch.special.entr(logprobs_RV.exp()).sum(dim=-1))
        return scores

    def of(self, tokens_BL: Tensor, rows_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of decoded tokens, both (B, L), on the CPU.

        Args:
            tokens_BL: decoded tokens; padding gets numbers without meaning.
            rows_BL: row that each token was chosen in.
        """
        length = tokens_BL.shape[1]
        if length == 0:
            empty = torch.zeros(tokens_BL.shape)
            return empty, empty
        step_L = torch.arange(length, device=tokens_BL.device)
        ids_BLK = torch.stack(self._ids[:length])[step_L, rows_BL]
        logprobs_BLK = torch.stack(self._logprobs[:length])[step_L, rows_BL]
        chosen_BLK = ids_BLK == tokens_BL[..., None]
        # Of equally probable tokens decoding may choose one that was not kept: the last kept ties.
        chosen_BLK[..., -1] |= ~chosen_BLK.any(dim=-1)
        logprobs_BL = logprobs_BLK.masked_fill(~chosen_BLK, 0.0).sum(dim=-1)
        entropies_BL = torch.stack(self._entropies[:length])[step_L, rows_BL]
        return logprobs_BL.cpu(), entropies_BL.cpu()
