"""HuBERT's objective: the codes of masked frames; no teacher.

Shapes: B batch, T frames, D width, N code streams.
"""

from __future__ import annotations

from torch import Tensor

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.errors import KDError
from espnet_kd.losses import MaskedPredictionLoss
from espnet_kd.tasks.codes import fit_codes
from espnet_kd.tasks.objective import Objective, Seen, final_states
from espnet_kd.tasks.options import MaskedPredictionOptions
from espnet_kd.tasks.teacher import Teacher, Wish


class MaskedPrediction(Objective):
    """HuBERT's own objective on a stream of codes; the classifier belongs to training only."""

    name = "masked_prediction"
    masks = True
    masks_validation = True
    uses_final_norm = True

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
        """No teacher."""
        return Wish()

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What does not fit, each with its remedy."""
        if student.mask_embedding:
            return []
        return [
            "masked_prediction: the student has no mask embedding; set student_conf.mask_embedding"
        ]

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms."""
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
        """The same as in training, on masks that do not change."""
        return self.forward(seen)
