"""Token sequences and features of a batch as a model's inputs and labels.

Source: Distil-Whisper (arXiv 2311.00430); spec whisper.md 3.6.

Shapes: B batch, T tokens, M mel bins, F feature frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.whisper.specials import SpecialIds

IGNORE_INDEX = -100
"""Label of padding and prompt, which are not learnt."""


def collate_tokens(
    sequences: Sequence[Sequence[int]], specials: SpecialIds, *, pad_to: int | None = None
) -> dict[str, Tensor]:
    """Shift, pad and mask.

    Args:
        sequences: token ids with prefix and end, a prompt in front of them where there is one.
        specials: ids of the special tokens.
        pad_to: length to pad sequences to; None pads to the longest, which gives the same loss in
            a fraction of the time. Published: always ``max_label_length``.

    Returns:
        ``decoder_input_ids`` and ``labels``, both (B, T) with T one less than the padded length.
        Labels are :data:`IGNORE_INDEX` on padding, on the prompt and on the start token behind it.

    Raises:
        WhisperError: a sequence longer than ``pad_to``.
    """
    longest = max(len(sequence) for sequence in sequences)
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise WhisperError(
            f"a label of {longest} tokens does not fit into {length}; drop labels longer than "
            "max_label_length before"
        )
    ids_BT = torch.full((len(sequences), length), specials.end)
    labels_BT = torch.full((len(sequences), length), IGNORE_INDEX)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence)
        first = _first_learnt(sequence, specials.start)
        labels_BT[row, first : len(sequence)] = ids_BT[row, first : len(sequence)]
    return {"decoder_input_ids": ids_BT[:, :-1], "labels": labels_BT[:, 1:]}


def _first_learnt(sequence: Sequence[int], start: int) -> int:
    """Position of the first label: behind the start token that ends the prompt, if there is one."""
    try:
        place = sequence.index(start, 1)
    except ValueError:
        return 1
    # Published: a start token right behind the first token is not the end of a prompt.
    return place + 1 if place > 1 else 1


class WhisperCollator:
    """Rows to batches, for a ``torch.utils.data.DataLoader``.

    Args:
        specials: ids of the special tokens.
        pad_to: see :func:`collate_tokens`.
    """

    def __init__(self, specials: SpecialIds, *, pad_to: int | None = None) -> None:
        if pad_to is not None and pad_to < 1:
            raise ConfigError("collator", [f"pad_to is {pad_to}; it must be positive"])
        self.specials = specials
        self.pad_to = pad_to

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Batch of rows.

        Args:
            rows: each with ``input_features`` (M, F) and ``token_ids``.

        Returns:
            ``input_features`` (B, M, F), ``decoder_input_ids`` and ``labels`` (B, T).
        """
        features_BMF = torch.stack([torch.as_tensor(row["input_features"]) for row in rows])
        tokens = [row["token_ids"] for row in rows]
        return {
            "input_features": features_BMF,
            **collate_tokens(tokens, self.specials, pad_to=self.pad_to),
        }
