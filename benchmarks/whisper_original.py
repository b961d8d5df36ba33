"""Distil-Whisper's training step as its script makes it, written down from what it computes.

Source: arXiv 2311.00430; spec whisper.md 3.6, 4.1 and 4.2. All labels are padded to
``max_label_length``, every position goes through the projection and both terms of the loss, and
where the encoder is shared the teacher shifts the labels itself.

Shapes: B batch, M mel bins, F feature frames, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

CE_WEIGHT, KL_WEIGHT, TEMPERATURE = 0.8, 1.0, 2.0
IGNORED = -100


def collate(sequences: Sequence[Sequence[int]], pad: int, length: int) -> dict[str, Tensor]:
    """Decoder input and labels (B, length - 1), without prompts."""
    ids_BT = torch.full((len(sequences), length), pad)
    is_padding_BT = torch.ones(ids_BT.shape, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence)
        is_padding_BT[row, : len(sequence)] = False
    labels_BT = ids_BT.masked_fill(is_padding_BT, IGNORED)
    return {"decoder_input_ids": ids_BT[:, :-1], "labels": labels_BT[:, 1:]}


def loss(student: Any, teacher: Any, batch: dict[str, Tensor], *, share: bool) -> Tensor:
    """CE + KL of one batch (``input_features`` and :func:`collate`'s)."""
    ours = student(**batch)
    with torch.no_grad():
        if share:
            encoded = BaseModelOutput(ours.encoder_last_hidden_state.to(teacher.dtype))
            theirs = teacher(encoder_outputs=encoded, labels=batch["labels"])
        else:
            features_BMF = batch["input_features"].to(teacher.dtype)
            theirs = teacher(**{**batch, "input_features": features_BMF})
    divergence = kl(ours.logits.float(), theirs.logits, batch["labels"])
    return CE_WEIGHT * ours.loss + KL_WEIGHT * divergence


def kl(student_BTV: Tensor, teacher_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """Mean over labels of T² KL(teacher || student)."""
    p_BTV = F.softmax(teacher_BTV / TEMPERATURE, dim=-1)
    log_q_BTV = F.log_softmax(student_BTV / TEMPERATURE, dim=-1)
    terms_BTV = F.kl_div(log_q_BTV, p_BTV.to(log_q_BTV), reduction="none")
    is_label_BT1 = (labels_BT >= 0)[..., None]
    summed = terms_BTV.masked_fill(~is_label_BT1, 0.0).sum()
    return summed / is_label_BT1.sum() * TEMPERATURE**2
