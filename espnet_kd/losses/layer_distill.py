"""Layer-wise distillation of DPHuBERT: chosen hidden states of the student follow the teacher's.

Hidden states are numbered as published: 0 is the projected feature before the positional
convolution, k the output of layer k. Source: Peng et al., DPHuBERT (arXiv 2305.17651); spec
dphubert.md 5.

Shapes: B batch, T frames, D_s student width, D_t teacher width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import check_frame_flags, check_same_shape
from espnet_kd.losses.reduction import full_precision, masked_sum

DISTILL_MODES = ("layer2layer", "predlayer")
COS_TYPES = ("raw", "log_sig")


def parse_layers(text: str) -> list[list[int]]:
    """Groups of hidden states from ``"0.4,8,12"``: ``.`` between groups, ``,`` inside one.

    Raises:
        ConfigError: no such list, or a number that appears twice.
    """
    try:
        groups = [[int(number) for number in group.split(",")] for group in text.split(".")]
    except (ValueError, AttributeError):
        groups = []
    numbers = [number for group in groups for number in group]
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ConfigError(
            "distill_layers",
            [
                f'{text!r} is no list of layers; write e.g. "0.4,8,12" (in quotation marks): "," '
                'between layers, "." between groups that have a projection each'
            ],
        )
    return groups


class LayerDistillLoss(nn.Module):
    """L1, L2 and cosine distance between projected student states and teacher states.

    ``layer2layer`` projects the student's state k by its group's Linear; ``predlayer`` predicts
    every teacher state from the student's last one by a Linear and GELU of its own.

    Args:
        layers: groups of hidden states, see :func:`parse_layers`. Published [[0], [4, 8, 12]].
        student_width: D_s.
        teacher_width: D_t. Where it is D_s, the Linears of ``layer2layer`` start as identity.
        distill_mode: ``layer2layer`` (published) or ``predlayer``.
        l2_weight: of the mean squared difference (published 0).
        l1_weight: of the mean absolute difference (published 1).
        cos_weight: of the cosine term (published 1).
        cos_type: ``raw``, minus the mean cosine similarity (published), or ``log_sig``, minus the
            mean of its log-sigmoid. With ``raw`` the loss can be negative.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[int]],
        student_width: int,
        teacher_width: int,
        *,
        distill_mode: str = "layer2layer",
        l2_weight: float = 0.0,
        l1_weight: float = 1.0,
        cos_weight: float = 1.0,
        cos_type: str = "raw",
    ) -> None:
        super().__init__()
        self.groups = [list(group) for group in layers]
        self.layers = [layer for group in self.groups for layer in group]
        self.mode = distill_mode
        self.weights = {"mse": l2_weight, "l1": l1_weight, "cos": cos_weight}
        self.cos_type = cos_type
        number = len(self.groups) if distill_mode == "layer2layer" else len(self.layers)
        self.projections = nn.ModuleList(
            nn.Linear(student_width, teacher_width) for _ in range(number)
        )
        if distill_mode == "layer2layer" and student_width == teacher_width:
            self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        for parameter in self.projections.parameters():
            if parameter.dim() == 2:
                nn.init.eye_(parameter)
            else:
                nn.init.zeros_(parameter)

    def project(self, student: Sequence[Tensor]) -> dict[int, Tensor]:
        """Projected student states (B, T, D_t) by the number of the state they are compared with.

        Args:
            student: all hidden states (B, T, D_s), 0 to N.
        """
        if self.mode == "predlayer":
            last_BTD = student[-1]
            heads = zip(self.layers, self.projections, strict=True)
            return {layer: F.gelu(head(last_BTD)) for layer, head in heads}
        return {
            layer: projection(student[layer])
            for group, projection in zip(self.groups, self.projections, strict=True)
            for layer in group
        }

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Mapping[int, Tensor] | Sequence[Tensor],
        padding_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss and its unweighted parts.

        Args:
            student: all hidden states (B, T, D_s), 0 to N.
            teacher: hidden states (B, T, D_t) by number.
            padding_BT: True = padded frame, left out; the published batches have none.

        Returns:
            ``loss``, and those of ``loss_mse``, ``loss_l1``, ``loss_cos`` that have a weight.
        """
        projected = self.project(student)
        parts: dict[str, list[Tensor]] = {name: [] for name, w in self.weights.items() if w}
        for layer, student_BTD in projected.items():
            teacher_BTD = teacher[layer]
            check_same_shape(student_BTD, teacher_BTD, f"hidden state {layer}")
            check_frame_flags(padding_BT, student_BTD, "padding_BT")
            for name, terms in parts.items():
                distance_BT = self._distance(name, student_BTD, teacher_BTD)
                terms.append(_frame_mean(distance_BT, padding_BT))
        means = {f"loss_{name}": torch.stack(terms).mean() for name, terms in parts.items()}
        loss = torch.stack([self.weights[name] * means[f"loss_{name}"] for name in parts]).sum()
        return {"loss": loss, **means}

    def _distance(self, name: str, student_BTD: Tensor, teacher_BTD: Tensor) -> Tensor:
        """One frame-wise distance (B, T)."""
        student_BTD, teacher_BTD = full_precision(student_BTD), full_precision(teacher_BTD)
        if name == "cos":
            cosine_BT = F.cosine_similarity(student_BTD, teacher_BTD, dim=-1, eps=1e-8)
            return -(F.logsigmoid(cosine_BT) if self.cos_type == "log_sig" else cosine_BT)
        difference_BTD = student_BTD - teacher_BTD
        powers_BTD = difference_BTD.square() if name == "mse" else difference_BTD.abs()
        return powers_BTD.mean(dim=-1)


def _frame_mean(x_BT: Tensor, padding_BT: Tensor | None) -> Tensor:
    if padding_BT is None:
        return x_BT.mean()
    return masked_sum(x_BT, ~padding_BT) / (~padding_BT).sum()
