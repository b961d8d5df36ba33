"""ARMHuBERT's and MaskHuBERT's objective, masking distillation.

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from espnet_kd.encoder import EncoderOutput, SpeechEncoderConfig
from espnet_kd.losses import MaskingDistillLoss
from espnet_kd.losses.schedule import HintLayerSchedule
from espnet_kd.tasks.objective import Objective, Seen
from espnet_kd.tasks.options import MaskingDistillOptions
from espnet_kd.tasks.teacher import Teacher, Wish


class MaskingDistill(Objective):
    """ARMHuBERT and MaskHuBERT."""

    name = "masking_distill"
    masks = True
    uses_heads = True

    def __init__(
        self, options: MaskingDistillOptions, student: SpeechEncoderConfig, seed: int
    ) -> None:
        super().__init__()
        self.weight = options.weight
        self.loss = MaskingDistillLoss(
            rec_loss_weight=options.rec_loss_weight,
            random_layer_weight=options.random_layer_weight,
            rec_loss_type=options.rec_loss_type,
            padded_frames=options.padded_frames,
        )
        hints = options.distil_random_layer
        lower = student.num_layers - 1
        self.schedule = HintLayerSchedule(
            student.num_layers, lower if hints is None else hints, seed
        )
        self.all_parameters_each_step = self.schedule.num_hints == lower
        self.hint_layers: list[int] = self.schedule.layers(0)

    @property
    def wish(self) -> Wish:
        """Both views of the teacher."""
        return Wish(whole=True, masked=True)

    def start_epoch(self, epoch: int) -> None:
        """Draw the epoch's hint layers."""
        self.hint_layers = self.schedule.layers(epoch)

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What does not fit, each with its remedy."""
        problems = []
        if not student.mask_embedding:
            problems.append(
                "masking_distill: the student has no mask embedding; set "
                "student_conf.mask_embedding: "
                "true or choose another objective"
            )
        if teacher is None:
            return [*problems, "masking_distill needs a teacher: give --teacher PATH or s3prl:NAME"]
        if not teacher.can_mask:
            problems.append(
                f"masking_distill: teacher {teacher.name} cannot be given a masked input (an S3PRL "
                "upstream is seen from outside only); load its checkpoint itself with --teacher "
                "PATH, "
                "or choose an unmasked objective such as temporal_relation"
            )
        if student.head_dim != teacher.width:
            heads = f"heads of width {student.head_dim}" if student.head_dim else "no heads"
            problems.append(
                f"masking_distill: teacher {teacher.name} is {teacher.width} wide, the student has "
                f"{heads}; set student_conf.head_dim: {teacher.width}"
            )
        return problems

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms."""
        assert seen.whole is not None
        assert seen.masked is not None
        assert seen.mask_BT is not None
        terms: dict[str, Tensor] = self.loss(
            _heads(seen.student),
            seen.whole.layers,
            seen.masked.layers,
            seen.mask_BT,
            padding_BT=seen.student.padding_BT,
            hint_layers=self.hint_layers,
        )
        return terms

    def validation(self, seen: Seen) -> dict[str, Tensor]:
        """The published ``v_loss``: nothing is masked."""
        assert seen.whole is not None
        padding_BT = seen.student.padding_BT
        return self.loss.validation(_heads(seen.student), seen.whole.layers, padding_BT=padding_BT)


def _heads(output: EncoderOutput) -> Sequence[Tensor]:
    assert output.projections is not None
    return output.projections
