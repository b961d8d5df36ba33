"""The forward passes of one batch, each made once however many objectives look at it.

Shapes: B batch, S samples, T frames, N code streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from espnet_kd.encoder import EncoderOutput, SpeechEncoder
from espnet_kd.errors import KDError
from espnet_kd.tasks.masks import MaskSource
from espnet_kd.tasks.objective import Objective, Seen
from espnet_kd.tasks.teacher import Observation, Teacher, View, Wish


@dataclass(frozen=True)
class Batch:
    """What the data loader gives."""

    speech_BS: Tensor
    """Waveforms, zero-padded."""

    lengths_B: Tensor
    """Samples."""

    codes: Tensor | None
    """(B, T', N) or (B, T') indexes, padded with -1."""

    code_lengths_B: Tensor | None
    """Their lengths."""

    utterances: Sequence[str]
    """B ids, for messages."""


class Passes:
    """Teacher first (masks are drawn inside its valid frames), then the student as often as
    needed.
    """

    def __init__(
        self,
        batch: Batch,
        student: SpeechEncoder,
        teacher: Teacher | None,
        masks: MaskSource,
        objectives: Sequence[Objective],
        *,
        training: bool,
    ) -> None:
        self.batch = batch
        self.student = student
        self.training = training
        self.wish = _joint_wish(objectives, training)
        self.frames = student.embed(batch.speech_BS, batch.lengths_B)
        num_frames = self.frames.x_BTD.shape[1]
        observation = None
        if teacher is not None and (self.wish.whole or self.wish.masked):
            observation = teacher.observe(batch.speech_BS, batch.lengths_B)
            _check_frames(num_frames, observation, teacher)
        self.mask_BT: Tensor | None = None
        if any(self._masks(objective) for objective in objectives):
            lengths_B = self.frames.lengths_B if observation is None else observation.lengths_B
            assert lengths_B is not None  # embedded with lengths
            self.mask_BT = masks.draw(lengths_B, num_frames)
        self.whole: View | None = None
        self.masked: View | None = None
        if observation is not None:
            self.whole, self.masked = observation.views(self.wish, self.mask_BT)
        self._outputs: dict[bool, EncoderOutput] = {}

    def _masks(self, objective: Objective) -> bool:
        return objective.masks if self.training else objective.masks_validation

    def _student_pass(self, masked: bool) -> EncoderOutput:
        if masked not in self._outputs:
            self._outputs[masked] = self.student.encode(
                self.frames,
                self.mask_BT if masked else None,
                return_attention_maps=self.wish.attention,
            )
        return self._outputs[masked]

    def seen_by(self, objective: Objective) -> Seen:
        """What one objective may look at."""
        masked = self._masks(objective)
        return Seen(
            student=self._student_pass(masked),
            whole=self.whole,
            masked=self.masked,
            mask_BT=self.mask_BT if masked else None,
            codes=self.batch.codes,
            code_lengths_B=self.batch.code_lengths_B,
            utterances=self.batch.utterances,
        )


def _joint_wish(objectives: Sequence[Objective], training: bool) -> Wish:
    wishes = [objective.wish for objective in objectives]
    return Wish(
        whole=any(wish.whole for wish in wishes),
        masked=training and any(wish.masked for wish in wishes),
        attention=any(wish.attention for wish in wishes),
    )


def _check_frames(ours: int, observation: Observation, teacher: Teacher) -> None:
    if ours != observation.num_frames:
        raise KDError(
            f"the student has {ours} frames where teacher {teacher.name} has "
            f"{observation.num_frames}; their convolutions differ"
        )
