"""Mean squared error between hidden states of an encoder or decoder and its teacher's.

Optional third term of Distil-Whisper (arXiv 2311.00430; its Flax training). Hidden states are
numbered as transformers has them: 0 before the first layer, k the output of layer k (from 1), the
last one after the final norm. State 0 is compared with state 0, and student layers with teacher
layers in equal steps, so that each learns what a block of teacher layers does.

Shapes: B batch, T positions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, check_frame_flags, check_same_shape
from espnet_kd.losses.reduction import frame_distance, masked_sum


def supervising_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """Teacher layer (from 0) that each student layer follows; 3 of 12 follow 3, 7 and 11.

    Raises:
        ConfigError: more student than teacher layers, or none.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise ConfigError(
            "hidden states",
            [
                f"{student_layers} student layers cannot follow {teacher_layers} teacher layers; "
                "the student needs at least 1 and at most as many as its teacher"
            ],
        )
    first = teacher_layers // student_layers - 1
    layers: list[int] = np.linspace(first, teacher_layers - 1, student_layers, dtype=int).tolist()
    layers[-1] = teacher_layers - 1
    return layers


class HiddenStateLoss(nn.Module):
    """Sum over compared states of their mean squared difference.

    Padding counts for nothing. The published term is a mean over all positions, padding included,
    which is then divided by the number of labels once more; this one is not.

    Args:
        student_layers: layers of the student's stack.
        teacher_layers: layers of the teacher's stack; widths must agree.
    """

    def __init__(self, student_layers: int, teacher_layers: int) -> None:
        super().__init__()
        self.student_layers = student_layers
        self.teacher_layers = teacher_layers
        layers = supervising_layers(student_layers, teacher_layers)
        self.pairs = [(0, 0), *((k + 1, layer + 1) for k, layer in enumerate(layers))]

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        padding_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss.

        Args:
            student: all hidden states (B, T, D), one more than layers.
            teacher: the same of the teacher; no gradient flows into them.
            padding_BT: True = position that counts for nothing.

        Returns:
            ``loss``; zero where no position counts.

        Raises:
            LossInputError: shapes or numbers of states that do not fit.
        """
        for name, states, layers in (
            ("student", student, self.student_layers),
            ("teacher", teacher, self.teacher_layers),
        ):
            if len(states) != layers + 1:
                raise LossInputError(
                    f"the {name} gives {len(states)} hidden states for {layers} layers; all "
                    f"{layers + 1} are needed (output_hidden_states=True)"
                )
        terms = [
            _mean_square(student[ours], teacher[theirs].detach(), padding_BT)
            for ours, theirs in self.pairs
        ]
        return {"loss": torch.stack(terms).sum()}


def _mean_square(student_BTD: Tensor, teacher_BTD: Tensor, padding_BT: Tensor | None) -> Tensor:
    check_same_shape(student_BTD, teacher_BTD, "hidden states")
    check_frame_flags(padding_BT, student_BTD, "padding_BT")
    distance_BT = frame_distance(student_BTD, teacher_BTD, "mse")
    if padding_BT is None:
        return distance_BT.mean()
    return masked_sum(distance_BT, ~padding_BT) / (~padding_BT).sum().clamp(min=1)
