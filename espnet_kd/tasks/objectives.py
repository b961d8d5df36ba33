"""What a student can be trained to do: one class per objective of ``kd_conf.objectives``.

Shapes: B batch, T frames, D width, N code streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from espnet_kd.encoder import EncoderOutput, SpeechEncoderConfig
from espnet_kd.errors import KDError
from espnet_kd.losses import MaskedPredictionLoss, MaskingDistillLoss, TemporalRelationLoss
from espnet_kd.losses.schedule import HintLayerSchedule
from espnet_kd.tasks.codes import fit_codes
from espnet_kd.tasks.objective import Objective, Seen, final_states
from espnet_kd.tasks.options import (
    MaskedPredictionOptions,
    MaskingDistillOptions,
    Objectives,
    TemporalRelationOptions,
)
from espnet_kd.tasks.teacher import Teacher, Wish


class MaskingDistill(Objective):
    """ARMHuBERT and MaskHuBERT."""

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
        return Wish(whole=True, masked=True)

    def start_epoch(self, epoch: int) -> None:
        self.hint_layers = self.schedule.layers(epoch)

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        problems = []
        if not student.mask_embedding:
            problems.append(
                "masking_distill: the student has no mask embedding; set student_conf.mask_embedding: "
                "true or choose another objective"
            )
        if teacher is None:
            return [*problems, "masking_distill needs a teacher: give --teacher PATH or s3prl:NAME"]
        if not teacher.can_mask:
            problems.append(
                f"masking_distill: teacher {teacher.name} cannot be given a masked input (an S3PRL "
                "upstream is seen from outside only); load its checkpoint itself with --teacher PATH, "
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
        assert seen.whole is not None and seen.masked is not None and seen.mask_BT is not None
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
        assert seen.whole is not None
        padding_BT = seen.student.padding_BT
        return self.loss.validation(_heads(seen.student), seen.whole.layers, padding_BT=padding_BT)


class TemporalRelation(Objective):
    """STaRHuBERT: nothing is masked."""

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
        return Wish(whole=True, attention=self.attention)

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        if teacher is None:
            return ["temporal_relation needs a teacher: give --teacher PATH or s3prl:NAME"]
        if self.attention and teacher.name.startswith("s3prl:") and not teacher.can_mask:
            return [
                f"temporal_relation.attention_weight: teacher {teacher.name} shows no attention maps; "
                "load its checkpoint itself with --teacher PATH"
            ]
        return []

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        assert seen.whole is not None and seen.whole.layer_input is not None
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
        return self(seen)


class MaskedPrediction(Objective):
    """HuBERT's own objective on a stream of codes; the classifier belongs to training only."""

    masks = True
    masks_validation = True

    def __init__(
        self, options: MaskedPredictionOptions, student: SpeechEncoderConfig, seed: int
    ) -> None:
        super().__init__()
        self.weight = options.weight
        self.length_tolerance = options.length_tolerance
        self.loss = MaskedPredictionLoss(
            student.embed_dim,
            options.num_classes,
            options.num_codebooks,
            head=options.head,
            final_dim=options.final_dim,
            logit_temp=options.logit_temp,
            masked_weight=options.masked_weight,
            unmasked_weight=options.unmasked_weight,
        )

    @property
    def wish(self) -> Wish:
        return Wish()

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        if student.mask_embedding:
            return []
        return [
            "masked_prediction: the student has no mask embedding; set student_conf.mask_embedding"
        ]

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        if seen.codes is None or seen.code_lengths_B is None:
            raise KDError(
                "masked_prediction needs the data stream `codes`: give e.g. "
                "--train_data_path_and_name_and_type codes.scp,codes,npy (and the same for valid)"
            )
        last_BTD = final_states(seen.student)
        assert seen.student.lengths_B is not None
        codes_BTN = fit_codes(
            seen.codes,
            seen.code_lengths_B,
            seen.student.lengths_B,
            last_BTD.shape[1],
            tolerance=self.length_tolerance,
            utterances=seen.utterances,
        )
        terms: dict[str, Tensor] = self.loss(
            last_BTD, codes_BTN, seen.mask_BT, seen.student.padding_BT
        )
        return terms

    def validation(self, seen: Seen) -> dict[str, Tensor]:
        return self(seen)


def _heads(output: EncoderOutput) -> Sequence[Tensor]:
    assert output.projections is not None
    return output.projections


OBJECTIVES: dict[str, Any] = {
    "masking_distill": MaskingDistill,
    "temporal_relation": TemporalRelation,
    "masked_prediction": MaskedPrediction,
}
"""Name in ``kd_conf.objectives`` -> class."""


def build_objectives(chosen: Objectives, student: SpeechEncoderConfig, seed: int) -> nn.ModuleDict:
    """The objectives of a run, in the table's order."""
    options = chosen.chosen()
    return nn.ModuleDict(
        {
            name: OBJECTIVES[name](options[name], student, seed)
            for name in OBJECTIVES
            if name in options
        }
    )
