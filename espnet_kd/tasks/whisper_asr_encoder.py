"""``encoder: kd_whisper_encoder``: a Whisper's encoder in stock ESPnet ASR.

Its input is the raw waveform: set ``frontend: null``, ``input_size: 1``, ``normalize: null``.

Shapes: B batch, S samples, E encoder positions, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.whisper_student import load_student
from espnet_kd.whisper.log_mel import LogMel

SAMPLES_PER_POSITION = 320
"""Hop of the features times the stride of the convolutions."""


class KDWhisperEncoder(AbsEncoder):  # ESPnet looks for "Whisper" in this name
    """A transformers Whisper encoder under ESPnet's interface.

    Args:
        input_size: 1, the raw waveform.
        pretrained: folder of a Whisper, e.g. a shrunk or distilled one.
        student_conf: changes as in ``WhisperDistillTask``, e.g. ``{dropout: 0.1}``.
        freeze: keep the encoder as it is.
        trim: end where the longest utterance of the batch ends. False shows all of the model's
            context to the decoder, as Whisper's own training does; with ``ctc_weight`` above 0
            write true, or CTC sees silence in decoding that it never saw in training.
    """

    def __init__(
        self,
        input_size: int = 1,
        pretrained: str | None = None,
        student_conf: dict[str, Any] | None = None,
        freeze: bool = False,
        trim: bool = False,
    ) -> None:
        super().__init__()
        problems = []
        if input_size != 1:
            problems.append(
                f"input_size is {input_size}; Whisper reads the waveform: set input_size: 1 and "
                "frontend: null"
            )
        if pretrained is None:
            problems.append("give pretrained: FOLDER of a Whisper")
        if problems or pretrained is None:
            raise ConfigError("encoder_conf of kd_whisper_encoder", problems)
        bundle = load_student(pretrained, student_conf or {})
        self.log_mel = LogMel(bundle.feature_extractor)
        self.encoder = bundle.model.model.encoder
        self.freeze = freeze
        self.trim = trim
        if freeze:
            self.encoder.requires_grad_(False)

    def output_size(self) -> int:
        """Width D."""
        return int(self.encoder.config.d_model)

    def train(self, mode: bool = True) -> KDWhisperEncoder:
        """A frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.encoder.eval()
        return self

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Encode a batch.

        Args:
            xs_pad: (B, S) or (B, S, 1) waveforms at 16 kHz.
            ilens: (B,) samples.
            prev_states: ignored.

        Returns:
            States (B, E, D), how many of them belong to the speech (B,), None.

        Raises:
            AudioError: an utterance is longer than the model's context.
        """
        speech_BS = xs_pad.squeeze(-1) if xs_pad.dim() == 3 else xs_pad
        features_BMF = self.log_mel(speech_BS, ilens).to(self.encoder.conv1.weight.dtype)
        states_BED: Tensor = self.encoder(features_BMF).last_hidden_state
        lengths_B = torch.div(
            ilens + SAMPLES_PER_POSITION - 1, SAMPLES_PER_POSITION, rounding_mode="floor"
        ).clamp(max=states_BED.shape[1])
        if self.trim:
            states_BED = states_BED[:, : int(lengths_B.max())]
        return states_BED, lengths_B, None
