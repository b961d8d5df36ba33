"""Cross-entropy with labels and temperature-scaled KL divergence from a teacher's distribution.

Loss of Distil-Whisper (arXiv 2311.00430), in nats, over the positions that have a label::

    CE = - sum log softmax(s)[label] / n
    KL = T² sum_v p_v (log p_v - log q_v) / n,   p = softmax(t / T), q = softmax(s / T)
    loss = ce_weight CE + kl_weight KL

The paper writes the two weights the other way round; the published code, and hence the published
models, have 0.8 on CE and 1.0 on KL.

Shapes: B batch, T tokens, V vocabulary, N positions that have a label.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.reduction import full_precision

IGNORE_INDEX = -100
"""Label of a position without a target: padding and prompt."""


class LogitDistillLoss(nn.Module):
    """CE and KL of token logits; without a teacher CE alone.

    Args:
        ce_weight: of the cross-entropy (published 0.8).
        kl_weight: of the divergence (published 1.0).
        temperature: T of the divergence in training (published 2.0); validation has 1.
    """

    def __init__(
        self, *, ce_weight: float = 0.8, kl_weight: float = 1.0, temperature: float = 2.0
    ) -> None:
        super().__init__()
        problems = [
            f"{name} is {value}; it must not be negative"
            for name, value in (("ce_weight", ce_weight), ("kl_weight", kl_weight))
            if not value >= 0
        ]
        if not temperature > 0:
            problems.append(f"temperature is {temperature}; it must be positive")
        if problems:
            raise ConfigError("LogitDistillLoss", problems)
        self.ce_weight = ce_weight
        self.kl_weight = kl_weight
        self.temperature = temperature

    def forward(
        self,
        student_BTV: Tensor,
        labels_BT: Tensor,
        teacher_BTV: Tensor | None = None,
        *,
        num_tokens: Tensor | int | None = None,
    ) -> dict[str, Tensor]:
        """Loss and its unweighted parts; half precision is computed in float32.

        Args:
            student_BTV: logits, (B, T, V) or (N, V): positions of any batch in a row, for instance
                those alone that have a label.
            labels_BT: token ids (B, T) or (N,); positions with :data:`IGNORE_INDEX` count for
                nothing.
            teacher_BTV: logits of the student's shape; no gradient flows into them. None: CE alone.
            num_tokens: n, where it is not the number of labels in this batch: the labels of the
                whole accumulated batch, so that its parts add up to their mean over tokens. The
                published training averages each part by itself.

        Returns:
            ``loss``, ``loss_ce`` and, with a teacher, ``loss_kl``; zero where no position counts.

        Raises:
            LossInputError: shapes that do not fit.
        """
        return self._terms(student_BTV, labels_BT, teacher_BTV, num_tokens, self.temperature)

    def validation(
        self, student_BTV: Tensor, labels_BT: Tensor, teacher_BTV: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The same at temperature 1, as published; shapes as in :meth:`forward`."""
        return self._terms(student_BTV, labels_BT, teacher_BTV, None, 1.0)

    def _terms(
        self,
        student_BTV: Tensor,
        labels_BT: Tensor,
        teacher_BTV: Tensor | None,
        num_tokens: Tensor | int | None,
        temperature: float,
    ) -> dict[str, Tensor]:
        _check_shapes(student_BTV, labels_BT, teacher_BTV)
        # Padding is left out before the softmax over the vocabulary, which costs most.
        keep_BT = labels_BT != IGNORE_INDEX
        student_NV = full_precision(student_BTV[keep_BT])
        number = keep_BT.sum() if num_tokens is None else num_tokens
        ce = F.cross_entropy(student_NV, labels_BT[keep_BT], reduction="sum") / _at_least_1(number)
        terms = {"loss_ce": ce}
        loss = self.ce_weight * ce
        if teacher_BTV is not None:
            teacher_NV = full_precision(teacher_BTV.detach()[keep_BT])
            divergence = temperature_kl(student_NV, teacher_NV, temperature)
            terms["loss_kl"] = divergence / _at_least_1(number)
            loss = loss + self.kl_weight * terms["loss_kl"]
        return {"loss": loss, **terms}


def temperature_kl(student_NV: Tensor, teacher_NV: Tensor, temperature: float) -> Tensor:
    """Sum of T² KL(teacher || student) over rows of logits, both divided by T."""
    log_q_NV = F.log_softmax(student_NV / temperature, dim=-1)
    p_NV = F.softmax(teacher_NV / temperature, dim=-1)
    return F.kl_div(log_q_NV, p_NV, reduction="sum") * temperature**2


def _at_least_1(number: Tensor | int) -> Tensor | int:
    return number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1)


def _check_shapes(student_BTV: Tensor, labels_BT: Tensor, teacher_BTV: Tensor | None) -> None:
    if student_BTV.dim() not in (2, 3) or student_BTV.shape[:-1] != labels_BT.shape:
        raise LossInputError(
            f"student logits {shape_text(student_BTV)}, labels {shape_text(labels_BT)}; there must "
            "be one label per position, (batch, tokens) or (positions,)"
        )
    if teacher_BTV is not None and teacher_BTV.shape != student_BTV.shape:
        raise LossInputError(
            f"logits: student {shape_text(student_BTV)}, teacher {shape_text(teacher_BTV)}; both "
            "need the same tokens and the same vocabulary: take a teacher and a student with one "
            "tokenizer"
        )
