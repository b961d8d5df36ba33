"""The base of all objectives: what one says of itself and what it gets to see.

Shapes: B batch, T frames, D width, N code streams.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from espnet_kd.encoder import EncoderOutput, SpeechEncoderConfig
from espnet_kd.tasks.teacher import Teacher, View, Wish


@dataclass(frozen=True)
class Seen:
    """One batch, as an objective sees it."""

    student: EncoderOutput
    """The student's pass, masked or not as the objective asked for."""

    whole: View | None
    """The teacher's view of the whole input."""

    masked: View | None
    """The teacher's view of the masked input."""

    mask_BT: Tensor | None
    """True = masked frame; None in unmasked passes."""

    codes: Tensor | None = None
    """(B, T', N) or (B, T') cluster or codebook indexes, -1 = no target."""

    code_lengths_B: Tensor | None = None
    """Their lengths."""

    utterances: Sequence[str] = ()
    """B ids, for messages."""


class Objective(nn.Module):
    """Base: one loss on one batch."""

    name: ClassVar[str]
    """Its key in ``kd_conf.objectives``."""

    masks: ClassVar[bool] = False
    """Whether the student sees a masked input in training."""

    masks_validation: ClassVar[bool] = False
    """Whether it does in validation."""

    uses_heads: ClassVar[bool] = False
    """Whether the student's projection heads get a gradient."""

    uses_final_norm: bool = False
    """Whether it looks at what a pre-norm student's final LayerNorm gives."""

    all_parameters_each_step: bool = True
    """Whether each update touches all parameters in play (else DDP must look for unused ones)."""

    weight: float

    @property
    @abstractmethod
    def wish(self) -> Wish:
        """Views of the teacher in training (in validation, the whole one of them)."""

    @abstractmethod
    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What makes this objective impossible with these two models, each with its remedy."""

    @abstractmethod
    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms: ``loss`` and its named parts, scalars."""

    @abstractmethod
    def validation(self, seen: Seen) -> dict[str, Tensor]:
        """Validation terms, ``loss`` among them."""

    def start_run(self) -> None:
        """Read what training starts from; a resumed run then replaces it by its own state."""

    def start_epoch(self, epoch: int) -> None:
        """Draw what is drawn anew each epoch (from 0)."""

    def export(self, states: Mapping[str, Tensor], folder: Path) -> None:
        """Write what a later phase needs of this objective's weights ``states`` to ``folder``."""


def final_states(output: EncoderOutput) -> Tensor:
    """(B, T, D): what the encoder ends with, final LayerNorm included where it has one."""
    last_BTD = output.hidden_states[-1]
    width = output.layer_outputs[-1].shape[-1]
    is_head = output.projections is not None and last_BTD is output.projections[-1]
    return output.layer_outputs[-1] if is_head or last_BTD.shape[-1] != width else last_BTD
