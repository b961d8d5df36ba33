"""``encoder: kd_student``: a distilled student as the encoder of stock ESPnet ASR, ST, SLU and S2T.

Its input is the raw waveform: set ``frontend: null``, ``input_size: 1``, ``normalize: null``.

Shapes: B batch, S samples, T frames, D width, N layers.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn

from espnet_kd.encoder import EncoderOutput, SpeechEncoder, SpeechEncoderConfig
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.tasks.objective import final_states
from espnet_kd.tasks.students import saved_config, student_config

_LOG = logging.getLogger(__name__)

HIDDEN_STATES = ("last", "weighted")


class KDStudentEncoder(AbsEncoder):
    """Any encoder of ours under ESPnet's interface.

    Args:
        input_size: 1, the raw waveform.
        pretrained: folder of a student (``exp/.../student``), or null.
        architecture: name of an architecture, for training from random weights.
        config: the full encoder configuration. ``python -m espnet_kd.bin.espnet`` fills it in from
            ``pretrained`` before training, so that ``config.yaml`` alone rebuilds the encoder and
            decoding works where the folder is gone.
        hidden_state: ``last`` (last layer's output) or ``weighted`` (learned mix of all hidden
            states).
        freeze_frontend: keep the convolutions as they are.
        freeze_updates: train only what stands behind the encoder for so many training batches.
        overrides: configuration fields to change, e.g. ``{layerdrop: 0.05}``.
    """

    num_batches: Tensor

    def __init__(
        self,
        input_size: int = 1,
        pretrained: str | None = None,
        architecture: str | None = None,
        config: dict[str, Any] | None = None,
        hidden_state: str = "last",
        freeze_frontend: bool = True,
        freeze_updates: int = 0,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        problems = []
        if input_size != 1:
            problems.append(
                f"input_size is {input_size}; the student reads the waveform: set input_size: 1 "
                f"and "
                "frontend: null"
            )
        if hidden_state not in HIDDEN_STATES:
            problems.append(
                f"hidden_state is {hidden_state!r}; choose one of {', '.join(HIDDEN_STATES)}"
            )
        if problems:
            raise ConfigError("encoder_conf of kd_student", problems)
        self.encoder = _build(pretrained, architecture, config, overrides or {})
        self.hidden_state = hidden_state
        self.freeze_updates = freeze_updates
        if freeze_frontend:
            self.encoder.feature_extractor.requires_grad_(False)
        _drop_unused(self.encoder, hidden_state)
        if hidden_state == "weighted":
            self.mix_N = nn.Parameter(torch.zeros(_num_states(self.encoder.config)))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    def output_size(self) -> int:
        """Width D of the frames."""
        config = self.encoder.config
        return config.output_dim if self.hidden_state == "weighted" else config.embed_dim

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Encode a batch.

        Args:
            xs_pad: (B, S) or (B, S, 1) waveforms.
            ilens: (B,) samples.
            prev_states: ignored.

        Returns:
            Frames (B, T, D), their lengths (B,), None.
        """
        speech_BS = xs_pad.squeeze(-1) if xs_pad.dim() == 3 else xs_pad
        frozen = self.training and int(self.num_batches) < self.freeze_updates
        if self.training:
            self.num_batches += 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            output = self.encoder(speech_BS, ilens)
        frames_BTD = self._chosen(output)
        lengths_B = output.lengths_B
        return frames_BTD[:, : int(lengths_B.max())], lengths_B, None

    def _chosen(self, output: EncoderOutput) -> Tensor:
        if self.hidden_state == "last":
            last_BTD = final_states(output)
            # Of a pre-norm model only `transformers` lists the last state with its final norm.
            return self.encoder.encoder_norm(last_BTD) if _ends_open(self.encoder) else last_BTD
        stacked_NBTD = torch.stack(output.hidden_states)
        return torch.einsum("n,nbtd->btd", self.mix_N.softmax(0), stacked_NBTD)


def _num_states(config: SpeechEncoderConfig) -> int:
    return config.num_layers + (config.hidden_states in ("transformers", "features"))


def _ends_open(encoder: SpeechEncoder) -> bool:
    """Whether the last hidden state still lacks the final LayerNorm of a pre-norm model."""
    return encoder.config.norm_first and encoder.config.hidden_states != "transformers"


def _drop_unused(encoder: SpeechEncoder, hidden_state: str) -> None:
    """Without gradient: parameters that no output depends on (distributed training insists)."""
    if encoder.mask_embedding is not None:
        encoder.mask_embedding.requires_grad_(False)
    if encoder.heads is not None and (
        hidden_state == "last" or encoder.config.hidden_states != "heads"
    ):
        encoder.heads.requires_grad_(False)
    if hidden_state == "weighted" and _ends_open(encoder):
        encoder.encoder_norm.requires_grad_(False)


def _build(
    pretrained: str | None,
    architecture: str | None,
    config: dict[str, Any] | None,
    overrides: dict[str, Any],
) -> SpeechEncoder:
    if pretrained is not None and Path(pretrained).exists():
        return SpeechEncoder.from_pretrained(pretrained, **overrides)
    if config is not None:
        if pretrained is not None:
            _LOG.warning(
                f"{pretrained} is gone; the encoder is rebuilt from its stored configuration and "
                f"its "
                "weights must come from the model file"
            )
        return SpeechEncoder.from_config(SpeechEncoderConfig.from_dict({**config, **overrides}))
    if pretrained is not None:
        raise _missing(pretrained)
    if architecture is not None:
        return SpeechEncoder.from_config(student_config(architecture, overrides))
    raise ConfigError(
        "encoder_conf of kd_student",
        ["give pretrained: FOLDER of a student, or architecture: NAME for random weights"],
    )


def resolve_encoder_conf(conf: dict[str, Any]) -> dict[str, Any]:
    """Store the configuration of ``pretrained`` in the options, before training.

    Raises:
        CheckpointError: the folder does not exist (random weights are never taken in its place).
    """
    pretrained = conf.get("pretrained")
    if pretrained is None:
        return conf
    if not Path(pretrained).exists():
        raise _missing(pretrained)
    return {**conf, "config": saved_config(pretrained).to_dict()}


def _missing(pretrained: str) -> CheckpointError:
    return CheckpointError(
        f"encoder_conf.pretrained: no such folder {pretrained}; run the stage that exports the "
        "student, or correct the path"
    )
