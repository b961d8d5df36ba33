"""Masking distillation, the loss of ARMHuBERT, ARMwavLM and MaskHuBERT (arXiv 2305.11685).

Masked frames of the student learn from the teacher that saw everything, unmasked frames from the
teacher that saw the masked input. With d the mean channel distance, M the masked frames, R the hint
layers, u / m the unmasked / masked teacher, p the student's heads and n the number of frames::

    mask_hint   = sum over l in R, frames in M     of d(p_l, u_l) / n
    unmask_hint = sum over l in R, frames not in M of d(p_l, m_l) / n    (rec terms: l = last)
    loss = random_layer_weight (mask_hint + unmask_hint) + rec_loss_weight (mask_rec + unmask_rec)

Shapes: B batch, T frames, D width, N layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import (
    LossInputError,
    check_frame_flags,
    check_layer_count,
    check_same_shape,
)
from espnet_kd.losses.reduction import frame_distance, masked_sum

Layers = Sequence[Tensor] | Tensor
"""N tensors (B, T, D), or one tensor (N, B, T, D)."""


class MaskingDistillLoss(nn.Module):
    """Masked frames imitate the unmasked teacher, unmasked frames the masked teacher.

    Args:
        rec_loss_weight: Weight of the last layer; published 1.0.
        random_layer_weight: Weight of the hint layers; published 0.1.
        rec_loss_type: ``mse`` (published) or ``l1``.
        padded_frames: ``exclude`` leaves padding out of sums and divisor; ``count`` is the
            published behaviour, where padded frames count as unmasked ones and the divisor is B·T.
    """

    def __init__(
        self,
        rec_loss_weight: float = 1.0,
        random_layer_weight: float = 0.1,
        rec_loss_type: str = "mse",
        padded_frames: str = "exclude",
    ) -> None:
        super().__init__()
        problems = []
        if rec_loss_type not in ("mse", "l1"):
            problems.append(f"rec_loss_type is {rec_loss_type!r}; choose mse or l1")
        if padded_frames not in ("exclude", "count"):
            problems.append(f"padded_frames is {padded_frames!r}; choose exclude or count")
        for name, weight in (
            ("rec_loss_weight", rec_loss_weight),
            ("random_layer_weight", random_layer_weight),
        ):
            if weight < 0:
                problems.append(f"{name} is {weight}; it must not be negative")
        if problems:
            raise ConfigError("masking distillation loss", problems)
        self.rec_loss_weight = rec_loss_weight
        self.random_layer_weight = random_layer_weight
        self.rec_loss_type = rec_loss_type
        self.padded_frames = padded_frames

    def forward(
        self,
        projections: Layers,
        teacher_unmasked: Layers,
        teacher_masked: Layers,
        mask_BT: Tensor,
        *,
        padding_BT: Tensor | None = None,
        hint_layers: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return the training loss and its parts, all scalars.

        Args:
            projections: The student's N head outputs (B, T, D) for the masked input.
            teacher_unmasked: The teacher's N layer outputs (B, T, D) for the whole input.
            teacher_masked: The same for the masked input.
            mask_BT: True = masked frame.
            padding_BT: True = padded frame; None = no padding.
            hint_layers: Layers beside the last that take part, from 0; may be empty.

        Returns:
            ``loss``, ``hint_loss``, ``rec_loss`` (weighted) and the raw ``mask_hint_loss``,
            ``unmask_hint_loss``, ``mask_rec_loss``, ``unmask_rec_loss``.

        Raises:
            LossInputError: Layers, frames, widths or masks do not fit.
        """
        check_layer_count(projections, teacher_unmasked)
        check_layer_count(projections, teacher_masked)
        check_frame_flags(mask_BT, projections[0], "mask_BT")
        hints = _checked_hints(hint_layers, len(projections))
        valid_BT = self._valid(projections[0], padding_BT)
        masked_BT, unmasked_BT = mask_BT & valid_BT, ~mask_BT & valid_BT
        frames = valid_BT.sum().clamp_min(1)

        def both_sums(layer: int) -> tuple[Tensor, Tensor]:
            whole_BTD, part_BTD = teacher_unmasked[layer], teacher_masked[layer]
            check_same_shape(projections[layer], whole_BTD, f"layer {layer}, unmasked teacher")
            check_same_shape(projections[layer], part_BTD, f"layer {layer}, masked teacher")
            # One target per frame, so one difference per layer serves both terms.
            target_BTD = torch.where(mask_BT.unsqueeze(-1), whole_BTD, part_BTD)
            d_BT = frame_distance(projections[layer], target_BTD, self.rec_loss_type)
            return masked_sum(d_BT, masked_BT) / frames, masked_sum(d_BT, unmasked_BT) / frames

        mask_rec, unmask_rec = both_sums(len(projections) - 1)
        mask_hint, unmask_hint = torch.zeros_like(mask_rec), torch.zeros_like(mask_rec)
        for layer in hints:
            mask_term, unmask_term = both_sums(layer)
            mask_hint, unmask_hint = mask_hint + mask_term, unmask_hint + unmask_term
        hint = self.random_layer_weight * (mask_hint + unmask_hint)
        rec = self.rec_loss_weight * (mask_rec + unmask_rec)
        return {
            "loss": hint + rec,
            "hint_loss": hint,
            "rec_loss": rec,
            "mask_hint_loss": mask_hint,
            "unmask_hint_loss": unmask_hint,
            "mask_rec_loss": mask_rec,
            "unmask_rec_loss": unmask_rec,
        }

    def validation(
        self,
        projections: Layers,
        teacher_unmasked: Layers,
        *,
        padding_BT: Tensor | None = None,
        hint_layers: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Return the published validation loss ``v_loss``: no mask in either model.

        Args:
            projections: The student's N head outputs (B, T, D) for the whole input.
            teacher_unmasked: The teacher's N layer outputs (B, T, D).
            padding_BT: True = padded frame; None = no padding.
            hint_layers: Layers beside the last; None = all of them. The published code uses those
                of the current epoch, which makes epochs incomparable unless all layers are hints.

        Returns:
            ``loss``, ``hint_loss`` and ``rec_loss`` (both weighted), scalars.
        """
        check_layer_count(projections, teacher_unmasked)
        last = len(projections) - 1
        hints = _checked_hints(range(last) if hint_layers is None else hint_layers, last + 1)
        valid_BT = self._valid(projections[0], padding_BT)
        frames = valid_BT.sum().clamp_min(1)

        def mean(layer: int) -> Tensor:
            check_same_shape(projections[layer], teacher_unmasked[layer], f"layer {layer}")
            d_BT = frame_distance(projections[layer], teacher_unmasked[layer], self.rec_loss_type)
            return masked_sum(d_BT, valid_BT) / frames

        rec = self.rec_loss_weight * mean(last)
        hint = torch.zeros_like(rec)
        for layer in hints:
            hint = hint + self.random_layer_weight * mean(layer)
        return {"loss": hint + rec, "hint_loss": hint, "rec_loss": rec}

    def _valid(self, x_BTD: Tensor, padding_BT: Tensor | None) -> Tensor:
        """Return the frames that count, (B, T) boolean."""
        check_frame_flags(padding_BT, x_BTD, "padding_BT")
        if padding_BT is None or self.padded_frames == "count":
            return torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)
        return ~padding_BT


def _checked_hints(hint_layers: Sequence[int], num_layers: int) -> list[int]:
    """Return the hint layers as a list, or raise when one is repeated or out of range."""
    hints = [int(layer) for layer in hint_layers]
    if len(set(hints)) != len(hints) or any(not 0 <= layer < num_layers for layer in hints):
        raise LossInputError(
            f"hint_layers {hints}: each must occur once and lie in 0..{num_layers - 1} "
            f"(the models have {num_layers} layers)"
        )
    return hints
