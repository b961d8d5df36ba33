"""STaRHuBERT's objective: the relations between frames.

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

from torch import Tensor

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.losses import TemporalRelationLoss
from espnet_kd.tasks.objective import Objective, Seen
from espnet_kd.tasks.options import TemporalRelationOptions
from espnet_kd.tasks.teacher import Teacher, Wish


class TemporalRelation(Objective):
    """STaRHuBERT: nothing is masked."""

    name = "temporal_relation"

    def __init__(
        self, options: TemporalRelationOptions, student: SpeechEncoderConfig, seed: int
    ) -> None:
        super().__init__()
        self.weight = options.weight
        self.attention = options.attention_weight > 0
        self.loss = TemporalRelationLoss(
            layer_weight=options.layer_weight,
            intra_weight=options.intra_weight,
            attention_weight=options.attention_weight,
            relation=options.relation,
            include_input=options.include_input,
        )

    @property
    def wish(self) -> Wish:
        """The teacher on the whole input."""
        return Wish(whole=True, attention=self.attention)

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What does not fit, each with its remedy."""
        if teacher is None:
            return ["temporal_relation needs a teacher: give --teacher PATH or s3prl:NAME"]
        if self.attention and teacher.name.startswith("s3prl:") and not teacher.can_mask:
            return [
                f"temporal_relation.attention_weight: teacher {teacher.name} shows no attention "
                f"maps; "
                "load its checkpoint itself with --teacher PATH"
            ]
        return []

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms."""
        assert seen.whole is not None
        assert seen.whole.layer_input is not None
        assert seen.student.layer_input is not None
        maps = {}
        if self.attention:
            maps = {
                "student_attention": seen.student.attention_maps,
                "teacher_attention": seen.whole.attention_maps,
            }
        terms: dict[str, Tensor] = self.loss(
            [seen.student.layer_input, *seen.student.layer_outputs],
            [seen.whole.layer_input, *seen.whole.layers],
            seen.student.padding_BT,
            **maps,
        )
        return terms

    def validation(self, seen: Seen) -> dict[str, Tensor]:
        """The same as in training."""
        return self.forward(seen)
