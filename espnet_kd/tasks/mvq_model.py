"""ESPnet's ASR and transducer models with a head that predicts a teacher's codes.

A stock model is changed in place: its weights, their names and its options stay, so that stock
ESPnet decodes what was trained here; it skips the head. The teacher is not there: its codes are a
data stream.

Shapes: B batch, S samples, L tokens, T student frames, T' teacher frames, N codebooks, M codes of a
student frame, C width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import JointCodebookLoss
from espnet_kd.losses.checks import LossInputError
from espnet_kd.losses.transducer.loss import pruned_loss_scale
from espnet_kd.tasks.codes import codes_of_frames
from espnet_kd.tasks.guard import FiniteGuard
from espnet_kd.tasks.hooks import RunHooks, RunInfo
from espnet_kd.tasks.layer_tap import LayerTap
from espnet_kd.tasks.mvq_options import MVQConfig
from espnet_kd.tasks.transducer_model import KDTransducerModel

IGNORE_INDEX = -1
"""ESPnet's padding of integer streams."""

Stats = dict[str, Any]


class MVQModel(RunHooks):
    """What both models share; made by :meth:`adopt_mvq`."""

    stock: ClassVar[type[AbsESPnetModel]]
    """The class that is adopted."""

    kd: MVQConfig
    tap: LayerTap
    guard: FiniteGuard
    codebook_loss: JointCodebookLoss | None

    @classmethod
    def adopt_mvq(cls, model: AbsESPnetModel, kd: MVQConfig) -> Any:
        """Give a model the prediction head; it is changed in place.

        Args:
            model: built by ESPnet, of exactly the class ``stock``.
            kd: the options.

        Raises:
            ConfigError: a model of another class, or an encoder without the layer asked for.
        """
        if type(model) is not cls.stock:
            raise ConfigError(
                "model",
                [f"{type(model).__name__} cannot be distilled by codes; choose ESPnet's default"],
            )
        encoder: Any = model.encoder
        tap = LayerTap(encoder, kd.distillation_layer, kd.distillation_module)
        model.__class__ = cls
        adopted: Any = model
        adopted.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))
        adopted.kd, adopted.tap, adopted.guard = kd, tap, FiniteGuard(kd.max_bad_steps)
        size = encoder.output_size
        width = kd.layer_width or int(size() if callable(size) else size)
        adopted.codebook_loss = _head(kd, width) if kd.enable_distillation else None
        return adopted

    @property
    def exports(self) -> bool:
        """ESPnet's own files are what is decoded."""
        return False

    def start_run(self, run: RunInfo) -> None:
        """Real training begins."""
        self.guard = FiniteGuard(self.kd.max_bad_steps, run.accum_grad)

    def updated(self) -> None:
        """Count an update and tell the guard that all is well."""
        super().updated()
        self.guard.updated()

    def forward(
        self,
        speech: Tensor,
        speech_lengths: Tensor,
        text: Tensor,
        text_lengths: Tensor,
        codes: Tensor | None = None,
        codes_lengths: Tensor | None = None,
        utt_id: Sequence[str] = (),
        **others: Any,
    ) -> tuple[Tensor, Stats, Tensor]:
        """The model's own loss, in training with that of the codes.

        Args:
            speech: (B, S) waveforms or features.
            speech_lengths: (B,) lengths.
            text: (B, L) tokens, -1 padded.
            text_lengths: (B,) lengths.
            codes: (B, T', N) codes, -1 padded; in validation they may be missing.
            codes_lengths: (B,) teacher frames.
            utt_id: B names, for messages.
            others: further streams of the stock model.
        """
        if self.training:
            self.guard.before_forward()
        names = list(utt_id) or [f"number {i}" for i in range(len(speech))]
        own: Any = super().forward(
            speech, speech_lengths, text, text_lengths, utt_id=utt_id, **others
        )
        loss, stats, weight = own
        if self.codebook_loss is not None and (self.training or codes is not None):
            code_loss = self._code_loss(codes, codes_lengths, names)
            stats["loss_codebook"] = code_loss.detach().view(1)
            if self.training:
                loss = loss + self.kd.codebook_loss_scale * code_loss
                stats["loss"] = loss.detach()
        if self.training:
            self.guard.check(loss, names, ())
        return loss, stats, weight

    def _code_loss(
        self, codes: Tensor | None, lengths_B: Tensor | None, names: Sequence[str]
    ) -> Tensor:
        assert self.codebook_loss is not None
        if codes is None or lengths_B is None:
            raise KDError(
                "the data stream `codes` is missing: give --train_data_path_and_name_and_type "
                "codes.scp,codes,kaldi_ark (made by bin.extract_codebook_indexes), or set "
                "kd_conf.enable_distillation: false"
            )
        frames_BTC, frame_lengths_B = self.tap.frames()
        kd = self.kd
        codes_BTM = codes_of_frames(
            codes, lengths_B, frame_lengths_B, frames_BTC.shape[1],
            kd.frame_ratio, delay=kd.delay, tolerance=kd.length_tolerance, utterances=names,
        )  # fmt: skip
        width = self.codebook_loss.linear2b_weight.shape[2]
        if frames_BTC.shape[2] != width:
            raise ConfigError(
                "kd_conf",
                [
                    f"{self.tap.name} is {frames_BTC.shape[2]} wide, the head {width}: set "
                    f"layer_width: {frames_BTC.shape[2]}"
                ],
            )
        try:
            terms: dict[str, Tensor] = self.codebook_loss(frames_BTC, codes_BTM)
        except LossInputError as error:
            raise KDError(f"{_whose(codes, names, kd.codebook_size)}: {error}") from None
        total = terms["loss"]
        return total / len(codes) if kd.codebook_loss_reduction == "sum" else total


class MVQASRModel(MVQModel, ESPnetASRModel):
    """CTC and attention, and codes."""

    stock = ESPnetASRModel


class MVQTransducerModel(MVQModel, KDTransducerModel):
    """Transducer, and codes."""

    stock = KDTransducerModel

    def _scales(self) -> tuple[float, float]:
        """Weights of simple and pruned loss.

        icefall: the pruned loss waits for the simple one, then counts a tenth, then fully; the
        count is that of the updates, also after a run was resumed.
        """
        if self.kd.transducer_warmup == "espnet":
            return super()._scales()
        warmup = int(self.num_updates) / self.kd.model_warm_step if self.training else math.inf
        return self.pruned_loss.simple_loss_scale, pruned_loss_scale(warmup)


def _whose(codes: Tensor, names: Sequence[str], size: int) -> str:
    """The utterances of a batch with codes (B, T', N) out of range."""
    pairs = zip(names, codes, strict=True)
    wrong = [name for name, x in pairs if int(x.max()) >= size or int(x.min()) < IGNORE_INDEX]
    return f"utterance(s) {', '.join(wrong or names)} (bin.check_codes finds all such)"


def _head(kd: MVQConfig, width: int) -> JointCodebookLoss:
    return JointCodebookLoss(
        width,
        kd.head_codebooks,
        kd.hidden_channels,
        kd.codebook_size,
        reduction=kd.codebook_loss_reduction,
        ignore_index=IGNORE_INDEX,
        is_joint=kd.is_joint,
    )
