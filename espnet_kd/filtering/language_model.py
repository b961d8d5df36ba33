"""Length-normalised negative log-likelihood of the label under a causal language model.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.filtering.measure import Item, ModelMeasure
from espnet_kd.filtering.pretrained import load_model, load_tokenizer
from espnet_kd.whisper.wer_filter import Score


class LanguageModelNLL(ModelMeasure):
    """Mean of ``-log p`` over the label's tokens, in nats per token.

    A token is scored where something stands before it: all of them where the tokenizer has a
    beginning-of-text token, else all but the first.
    """

    name = "nnll"
    higher_is_better = False
    about = "nats per token of the label under a causal language model; needs --lm"
    option = "lm"
    _loaded: tuple[Any, Any] | None = None

    @torch.inference_mode()
    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        model, tokenizer = self._load()
        sequences = [_ids(tokenizer, item.label.text) for item in items]
        limit = getattr(model.config, "max_position_embeddings", None)
        scores = [_refusal(ids, limit) for ids in sequences]
        wanted = [index for index, score in enumerate(scores) if score is None]
        if wanted:
            values = mean_nll(model, [sequences[index] for index in wanted])
            for index, value in zip(wanted, values, strict=True):
                scores[index] = Score(value)
        return [score for score in scores if score is not None]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForCausalLM

            model = load_model(AutoModelForCausalLM, self.folder, device=self.options.device)
            self._loaded = model, load_tokenizer(self.folder)
        return self._loaded


def mean_nll(model: Any, sequences: Sequence[Sequence[int]]) -> list[float]:
    """Mean ``-log p`` of each sequence's tokens but the first, in nats.

    Padding stands behind a sequence, where a causal model does not look.
    """
    ids_BT, mask_BT = _pad(sequences, model.device)
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT.long()).logits
    nll_BT = F.cross_entropy(
        logits_BTV[:, :-1].float().transpose(1, 2), ids_BT[:, 1:], reduction="none"
    )
    scored_BT = mask_BT[:, 1:]
    means: list[float] = ((nll_BT * scored_BT).sum(1) / scored_BT.sum(1)).tolist()
    return means


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids = list(tokenizer(text.strip(), add_special_tokens=False).input_ids)
    begin = tokenizer.bos_token_id
    return ids if begin is None or not ids else [begin, *ids]


def _refusal(ids: Sequence[int], limit: int | None) -> Score | None:
    if len(ids) < 2:
        return Score(None, "label too short for the language model")
    if limit is not None and len(ids) > limit:
        return Score(None, "label longer than the language model's context")
    return None


def _pad(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), 0 behind each sequence, and True (B, T) where a token is."""
    longest = max(map(len, sequences))
    ids_BT = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, ids in enumerate(sequences):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    lengths_B = torch.tensor([len(ids) for ids in sequences])
    mask_BT = torch.arange(longest)[None] < lengths_B[:, None]
    return ids_BT.to(device), mask_BT.to(device)
