"""Temporal-relation distillation of STaRHuBERT (STaR, ICASSP 2024, arXiv 2312.09040).

Not the frames themselves but their relations are matched, so student and teacher may differ in
width and no projection head is needed. For one utterance with frames x_t (before) and y_t (after a
layer):

* layer-wise temporal Gram matrix (TGM): G[t, s] = <y_t, y_s>, channels aggregated, for every layer;
* intra-layer TGM: G[t, s] = <x_t, y_s>, between the input and the output of one layer;
* attention map: the heads' average A[t, s].

The published student uses the two TGMs together. No loss code was published; **inferred** are: mean
squared error between the matrices, equal weights 1 and 1, the mean over layers, the layer-0 input
being matched as well (the published model exposes it for that), division by the width (the mean
over channels makes 432 and 768 channels comparable; ``dot`` leaves it out, ``cosine`` compares
angles only), and the row-wise Kullback-Leibler divergence for attention maps.

Shapes: B batch, T frames, D width, H heads, N layers, K keys (= T).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import (
    LossInputError,
    check_frame_flags,
    check_layer_count,
    check_same_frames,
    shape_text,
)
from espnet_kd.losses.reduction import full_precision, masked_sum

Sequences = Sequence[Tensor] | Tensor
"""N+1 tensors (B, T, D): the input of layer 0, then the outputs of the N layers."""
AttentionMaps = Sequence[Tensor | None]
"""N maps (B, H, T, K) after softmax; None for a layer that has none to show."""

RELATIONS = ("scaled_dot", "dot", "cosine")
_SMALLEST_PROBABILITY = 1e-8  # keeps the logarithm of a vanishing attention weight finite


class TemporalRelationLoss(nn.Module):
    """Match the frame-by-frame relations of student and teacher.

    Args:
        layer_weight: Weight of the layer-wise TGMs; 1.0, 0 = off.
        intra_weight: Weight of the intra-layer TGMs; 1.0, 0 = off.
        attention_weight: Weight of the averaged attention maps; 0.0 = off (a variant of the paper).
        relation: ``scaled_dot`` (inner product / width), ``dot`` or ``cosine``.
        include_input: Also match the layer-wise TGM of the input of layer 0.
    """

    def __init__(
        self,
        layer_weight: float = 1.0,
        intra_weight: float = 1.0,
        attention_weight: float = 0.0,
        relation: str = "scaled_dot",
        include_input: bool = True,
    ) -> None:
        super().__init__()
        weights = {
            "layer_weight": layer_weight,
            "intra_weight": intra_weight,
            "attention_weight": attention_weight,
        }
        problems = [
            f"{name} is {w}; it must not be negative" for name, w in weights.items() if w < 0
        ]
        if not any(weights.values()):
            problems.append("all weights are 0; give at least one of " + ", ".join(weights))
        if relation not in RELATIONS:
            problems.append(f"relation is {relation!r}; choose one of {', '.join(RELATIONS)}")
        if problems:
            raise ConfigError("temporal relation loss", problems)
        self.layer_weight = layer_weight
        self.intra_weight = intra_weight
        self.attention_weight = attention_weight
        self.relation = relation
        self.include_input = include_input

    def forward(
        self,
        student: Sequences,
        teacher: Sequences,
        padding_BT: Tensor | None = None,
        *,
        student_attention: AttentionMaps | None = None,
        teacher_attention: AttentionMaps | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss`` and the unweighted parts that are switched on, all scalars.

        Every part is a mean over layers and over the pairs of valid frames of the batch (attention
        maps: over valid query frames), so padding changes nothing.

        Args:
            student: N+1 tensors (B, T, D): the input of layer 0, then all layer outputs.
            teacher: The same of the teacher; its width may differ.
            padding_BT: True = padded frame; None = no padding.
            student_attention: N maps (B, H, T, K); needed when ``attention_weight`` is not 0.
            teacher_attention: The same of the teacher; the number of heads may differ.

        Returns:
            ``loss`` and of ``layer_relation_loss``, ``intra_relation_loss``, ``attention_loss``
            those with a weight.

        Raises:
            LossInputError: Layers, frames or masks do not fit, or the attention maps are missing.
        """
        check_layer_count(student, teacher)
        for index in range(len(student)):
            check_same_frames(student[index], teacher[index], f"sequence {index}")
        check_frame_flags(padding_BT, student[0], "padding_BT")
        frames_B = _valid_frames(student[0], padding_BT)
        parts: dict[str, Tensor] = {}
        total = student[0].new_zeros((), dtype=torch.float32)
        if self.layer_weight or self.intra_weight:
            pairs = frames_B.square().sum()
            ours = [self._prepared(x_BTD, padding_BT) for x_BTD in student]
            theirs = [self._prepared(x_BTD, padding_BT) for x_BTD in teacher]
            if self.layer_weight:
                first = 0 if self.include_input else 1
                loss = _relation_error(
                    ours[first:], ours[first:], theirs[first:], theirs[first:], pairs
                )
                parts["layer_relation_loss"] = loss
                total = total + self.layer_weight * loss
            if self.intra_weight:
                loss = _relation_error(ours[:-1], ours[1:], theirs[:-1], theirs[1:], pairs)
                parts["intra_relation_loss"] = loss
                total = total + self.intra_weight * loss
        if self.attention_weight:
            loss = _attention_error(
                student_attention, teacher_attention, padding_BT, frames_B.sum()
            )
            parts["attention_loss"] = loss
            total = total + self.attention_weight * loss
        return {"loss": total, **parts}

    def _prepared(self, x_BTD: Tensor, padding_BT: Tensor | None) -> Tensor:
        """Scale frames so that inner products give the relation; padded frames become 0."""
        x_BTD = full_precision(x_BTD)
        if self.relation == "cosine":
            x_BTD = F.normalize(x_BTD, dim=-1)
        elif self.relation == "scaled_dot":
            x_BTD = x_BTD * x_BTD.shape[-1] ** -0.5
        return x_BTD if padding_BT is None else x_BTD.masked_fill(padding_BT.unsqueeze(-1), 0.0)


def _valid_frames(x_BTD: Tensor, padding_BT: Tensor | None) -> Tensor:
    """Return the number of valid frames of each utterance, (B,) float."""
    if padding_BT is None:
        return torch.full((x_BTD.shape[0],), float(x_BTD.shape[1]), device=x_BTD.device)
    return (~padding_BT).sum(dim=-1).float()


def _relation_error(
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    teacher_rows: Sequence[Tensor],
    teacher_columns: Sequence[Tensor],
    pairs: Tensor,
) -> Tensor:
    """Return the squared error of the relation matrices, mean over layers and valid frame pairs.

    Padded frames are zero vectors: their relations are 0 on both sides and add nothing.
    """
    if not rows:
        raise LossInputError(
            "no layer to relate: pass the input of layer 0 and the outputs of at least one layer"
        )
    errors = []
    for x_BTD, y_BTD, u_BTD, v_BTD in zip(
        rows, columns, teacher_rows, teacher_columns, strict=True
    ):
        difference_BTK = x_BTD @ y_BTD.transpose(1, 2) - u_BTD @ v_BTD.transpose(1, 2)
        errors.append(difference_BTK.square().sum())
    return torch.stack(errors).mean() / pairs.clamp_min(1.0)


def _attention_error(
    student: AttentionMaps | None,
    teacher: AttentionMaps | None,
    padding_BT: Tensor | None,
    frames: Tensor,
) -> Tensor:
    """Return KL(teacher ‖ student) of the averaged maps, mean over layers and valid queries."""
    if student is None or teacher is None or len(student) != len(teacher):
        counts = [None if maps is None else len(maps) for maps in (student, teacher)]
        raise LossInputError(
            f"attention maps: student has {counts[0]}, teacher {counts[1]}; the attention loss "
            "needs one entry per layer of both, so call both models with return_attention_maps=True"
        )
    shared = [
        (s, t) for s, t in zip(student, teacher, strict=True) if s is not None and t is not None
    ]
    if not shared:
        raise LossInputError("attention maps: no layer has one in both student and teacher")
    errors = [_map_divergence(s, t, padding_BT) for s, t in shared]
    return torch.stack(errors).mean() / frames.clamp_min(1.0)


def _map_divergence(
    student_BHTK: Tensor, teacher_BHTK: Tensor, padding_BT: Tensor | None
) -> Tensor:
    """Return the sum over valid queries of KL(teacher ‖ student) of one layer."""
    s_BTK, t_BTK = (full_precision(a_BHTK).mean(dim=1) for a_BHTK in (student_BHTK, teacher_BHTK))
    if s_BTK.shape != t_BTK.shape:
        raise LossInputError(
            f"attention maps: student {shape_text(student_BHTK)}, teacher "
            f"{shape_text(teacher_BHTK)}; batch, queries and keys must agree"
        )
    log_s_BTK, log_t_BTK = (a.clamp_min(_SMALLEST_PROBABILITY).log() for a in (s_BTK, t_BTK))
    divergence_BT = (t_BTK * (log_t_BTK - log_s_BTK)).sum(dim=-1)
    if padding_BT is None:
        return divergence_BT.sum()
    return masked_sum(divergence_BT, ~padding_BT)
