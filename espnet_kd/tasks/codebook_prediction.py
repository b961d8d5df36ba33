"""MVQ-KD for encoders: a layer of the student predicts the codes of a teacher; nothing is masked.

Shapes: B batch, T frames, D width, M codes of a student frame.
"""

from __future__ import annotations

from torch import Tensor

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.errors import KDError
from espnet_kd.losses import JointCodebookLoss
from espnet_kd.tasks.codes import codes_of_frames
from espnet_kd.tasks.objective import Objective, Seen, final_states
from espnet_kd.tasks.options import CodebookPredictionOptions
from espnet_kd.tasks.teacher import Teacher, Wish


class CodebookPrediction(Objective):
    """Cross-entropy of the codes; the classifiers belong to training only."""

    name = "codebook_prediction"

    def __init__(
        self, options: CodebookPredictionOptions, student: SpeechEncoderConfig, seed: int
    ) -> None:
        super().__init__()
        self.weight = options.weight
        self.options = options
        self.uses_final_norm = options.layer == -1
        self.all_parameters_each_step = options.layer in (-1, student.num_layers - 1)
        self.loss = JointCodebookLoss(
            student.embed_dim,
            options.num_codebooks * max(1, round(options.frame_ratio)),
            options.hidden_channels,
            options.codebook_size,
            reduction="mean",
            ignore_index=-1,
            is_joint=options.is_joint,
        )

    @property
    def wish(self) -> Wish:
        """No teacher: its codes are the data stream."""
        return Wish()

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What does not fit, each with its remedy."""
        if self.options.layer < student.num_layers:
            return []
        return [
            f"codebook_prediction.layer is {self.options.layer}, counted from 0; the student has "
            f"{student.num_layers} layers"
        ]

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms."""
        if seen.codes is None or seen.code_lengths_B is None:
            raise KDError(
                "codebook_prediction needs the data stream `codes`: give e.g. "
                "--train_data_path_and_name_and_type codes.scp,codes,kaldi_ark (and the same for "
                "valid); bin.extract_codebook_indexes makes it"
            )
        layer = self.options.layer
        final = layer == -1
        x_BTD = final_states(seen.student) if final else seen.student.layer_outputs[layer]
        assert seen.student.lengths_B is not None
        codes_BTM = codes_of_frames(
            seen.codes,
            seen.code_lengths_B,
            seen.student.lengths_B,
            x_BTD.shape[1],
            self.options.frame_ratio,
            delay=0,
            tolerance=self.options.length_tolerance,
            utterances=seen.utterances,
        )
        terms: dict[str, Tensor] = self.loss(x_BTD, codes_BTM)
        return terms

    def validation(self, seen: Seen) -> dict[str, Tensor]:
        """The same as in training."""
        return self.forward(seen)
