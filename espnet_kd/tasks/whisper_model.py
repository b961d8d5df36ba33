"""The ESPnet model of a Whisper distillation: the student, and a teacher beside it.

Shapes: B batch, M mel bins, F feature frames, T tokens, D width, N positions that have a label.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor

from espnet_kd.losses.hidden_states import HiddenStateLoss
from espnet_kd.losses.logits import LogitDistillLoss
from espnet_kd.tasks.guard import FiniteGuard
from espnet_kd.tasks.hooks import RunHooks, RunInfo, StudentLimits
from espnet_kd.tasks.teacher import View
from espnet_kd.tasks.token_average import TokenAverage
from espnet_kd.tasks.whisper_fit import fit_teacher, wants_to_share
from espnet_kd.tasks.whisper_options import CE_WEIGHT, WhisperDistillConfig
from espnet_kd.tasks.whisper_teacher import WhisperTeacher, load_teacher
from espnet_kd.tasks.whisper_validation import Validation
from espnet_kd.whisper.collate import IGNORE_INDEX
from espnet_kd.whisper.load import WhisperBundle, build_model, save_whisper
from espnet_kd.whisper.pair import published_teacher_input
from espnet_kd.whisper.step import Pass, look

Stats = dict[str, Tensor]

_STUDENT = "student."


class WhisperDistillModel(RunHooks):
    """A student (saved) with teacher, guard and validation (not saved).

    Args:
        bundle: the student with its tokenizer and feature extractor.
        kd: all options of ``--kd_conf``.
        with_teacher: whether a teacher will come; without one the loss is the cross-entropy.
    """

    def __init__(
        self, bundle: WhisperBundle, kd: WhisperDistillConfig, *, with_teacher: bool
    ) -> None:
        super().__init__()
        self.bundle = bundle
        self.student = bundle.model
        self.kd = kd
        kl_weight = kd.kl_weight if with_teacher else 0.0
        default = CE_WEIGHT if kl_weight else 1.0
        self.loss = LogitDistillLoss(
            ce_weight=default if kd.ce_weight is None else kd.ce_weight,
            kl_weight=kl_weight,
            temperature=kd.temperature,
        )
        self.teacher: WhisperTeacher | None = None  # a plain object, so no submodule
        self.guard = FiniteGuard(kd.max_bad_steps)
        self.validation = Validation(bundle, kd)
        self.accum_grad = 1
        self._share = False
        kd.freezing.apply(self.student)
        if kd.gradient_checkpointing:
            # The older way of torch gives no gradient to layers whose input needs none.
            self.student.gradient_checkpointing_enable({"use_reentrant": False})

    def train(self, mode: bool = True) -> WhisperDistillModel:
        """A frozen encoder stays in evaluation mode: no dropout, and no checkpointing of its
        layers.
        """
        super().train(mode)
        if self.kd.freeze_encoder:
            self.student.model.encoder.eval()
        return self

    @property
    def all_parameters_each_step(self) -> bool:
        """Whether each update gives a gradient to every trainable parameter."""
        config = self.student.config
        drops = (0.0 if self.kd.freeze_encoder else config.encoder_layerdrop) or (
            config.decoder_layerdrop
        )
        return not drops

    # --- Hooks of the trainer
    def start_run(self, run: RunInfo) -> None:
        """Load the teacher and check that it fits; nothing has been computed yet."""
        if run.teacher is not None and self.kd.needs_teacher():
            self.attach_teacher(load_teacher(run.teacher, run.teacher_conf))
        self.guard = FiniteGuard(self.kd.max_bad_steps, run.accum_grad)
        self.accum_grad = run.accum_grad
        self.validation.start_run(run.output_dir if run.rank == 0 else None)

    def attach_teacher(self, teacher: WhisperTeacher) -> None:
        """Use this teacher.

        Raises:
            ConfigError: it does not fit the student; all misfits are listed.
        """
        self.teacher = fit_teacher(self.bundle, teacher, self.kd)
        self._share = wants_to_share(self.bundle, self.teacher, self.kd)

    def start_epoch(self, epoch: int) -> None:
        """Remember the epoch for the files of its validation."""
        self.validation.epoch = epoch

    def start_validation(self) -> None:
        """Forget the transcripts of the validation before."""
        self.validation.start()

    def finish_validation(self) -> dict[str, float]:
        """Word error rates of all processes' transcripts."""
        return self.validation.finish()

    def updated(self) -> None:
        """Count an update and tell the guard that all is well."""
        super().updated()
        self.guard.updated()

    def training_batches(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Batches that know their share of the label tokens of their update."""
        if self.kd.average_over != "update":
            return batches
        return TokenAverage(batches, self.accum_grad, next(self.parameters()).device)

    def student_limits(self, nbest: int) -> StudentLimits:
        """As ``save_best_total_limit`` and ``save_total_limit`` say."""
        best = self.kd.save_best_total_limit
        return StudentLimits(nbest if best is None else best, self.kd.save_total_limit)

    def export(self, states: dict[str, Tensor], folder: Path) -> None:
        """Write the student of an epoch file as a complete Hugging Face directory."""
        weights = {
            name.removeprefix(_STUDENT): tensor
            for name, tensor in states.items()
            if name.startswith(_STUDENT)
        }
        model = build_model(self.student.config, weights, "the epoch file")
        model.generation_config = copy.deepcopy(self.student.generation_config)
        files = self.bundle
        save_whisper(
            WhisperBundle(
                model, files.tokenizer, files.feature_extractor, files.specials, files.name
            ),
            folder,
        )

    # --- One batch
    def forward(
        self,
        input_features: Tensor,
        decoder_input_ids: Tensor,
        labels: Tensor,
        loss_scale: Tensor | None = None,
        reference: Sequence[str] | None = None,
        dataset: Sequence[str] | None = None,
        utt_id: Sequence[str] = (),
        **_others: Any,
    ) -> tuple[Tensor, Stats, Tensor]:
        """Loss, all terms by name, and the batch's weight.

        Args:
            input_features: (B, M, F) log-mel features.
            decoder_input_ids: (B, T) tokens that both decoders see.
            labels: (B, T), :data:`IGNORE_INDEX` where nothing is learnt.
            loss_scale: see :class:`espnet_kd.tasks.token_average.TokenAverage`.
            reference: B transcripts, in validation.
            dataset: B names of validation sets.
            utt_id: B utterance names, for messages.
        """
        utterances = list(utt_id) or [f"number {i}" for i in range(len(labels))]
        if self.training:
            self.guard.before_forward()
        student, teacher = self._passes(input_features, decoder_input_ids, labels)
        terms = self._terms(student, teacher, labels)
        total = terms.pop("loss")
        if self.training:
            view = None if teacher is None else View([teacher.decoder_BTD], None, None)
            self.guard.check(total, utterances, [view])
        elif reference is not None and self.kd.predict_with_generate:
            self.validation.transcribe(
                utterances, student.encoder_BED, decoder_input_ids, reference, dataset
            )
        stats = {"loss": total.detach(), **{name: term.detach() for name, term in terms.items()}}
        if loss_scale is not None:
            total = total * loss_scale.to(total)
        weight = total.new_tensor(self._weight(labels), dtype=torch.float32)
        loss, stats, weight = force_gatherable((total, stats, weight), labels.device)
        return loss, stats, weight

    def _weight(self, labels_BT: Tensor) -> int:
        """How much a batch counts beside those of other processes, and in the epoch's mean."""
        if self.training and self.kd.average_over != "update":
            return 1
        return int((labels_BT != IGNORE_INDEX).sum())

    def _passes(
        self, features_BMF: Tensor, tokens_BT: Tensor, labels_BT: Tensor
    ) -> tuple[Pass, Pass | None]:
        labelled_BT = labels_BT != IGNORE_INDEX
        features_BMF = features_BMF.to(next(self.student.parameters()).dtype)
        hidden = self.kd.mse_weight > 0 and self.teacher is not None
        if self.teacher is None:
            return look(self.student, tokens_BT, labelled_BT, features_BMF=features_BMF), None
        if self._share and not self.teacher.shares_encoder:
            self.teacher.give_up_encoder(self.student)
        theirs: Pass | None = None
        options: dict[str, Any] = {"hidden_states": hidden}
        if not self.teacher.shares_encoder:
            # First the teacher: a student's own augmentation writes into the features.
            theirs = self.teacher.look(
                tokens_BT, labelled_BT, features_BMF=features_BMF, encoder_BED=None, **options
            )
        ours = look(self.student, tokens_BT, labelled_BT, features_BMF=features_BMF, **options)
        if theirs is None:
            theirs = self.teacher.look(
                self._shared_tokens(tokens_BT, labels_BT),
                labelled_BT,
                features_BMF=None,
                encoder_BED=ours.encoder_BED,
                **options,
            )
        return ours, theirs

    def _shared_tokens(self, tokens_BT: Tensor, labels_BT: Tensor) -> Tensor:
        """Decoder input of a teacher that shares the encoder."""
        if self.kd.teacher_sees_prompt:
            return tokens_BT
        ids = self.bundle.specials
        return published_teacher_input(labels_BT, ids.start, ids.end)

    def _terms(self, ours: Pass, theirs: Pass | None, labels_BT: Tensor) -> Stats:
        """``loss`` and its parts."""
        labels_N = labels_BT[labels_BT != IGNORE_INDEX]
        teacher_NV = None if theirs is None or not self.loss.kl_weight else theirs.logits_NV
        compute = self.loss if self.training else self.loss.validation
        terms: Stats = compute(ours.logits_NV, labels_N, teacher_NV)
        if theirs is not None and self.kd.mse_weight > 0:
            terms["loss_mse"] = self._hidden_state_loss(ours, theirs, labels_BT == IGNORE_INDEX)
            terms["loss"] = terms["loss"] + self.kd.mse_weight * terms["loss_mse"]
        return terms

    def _hidden_state_loss(self, ours: Pass, theirs: Pass, unlabelled_BT: Tensor) -> Tensor:
        """Of the decoders at labels, and of the encoders where both ran."""
        assert ours.decoder_states is not None
        assert theirs.decoder_states is not None
        student, teacher = ours.decoder_states, theirs.decoder_states
        match = HiddenStateLoss(len(student) - 1, len(teacher) - 1)
        loss: Tensor = match(student, teacher, unlabelled_BT)["loss"]
        if theirs.encoder_states is not None and ours.encoder_states is not None:
            student, teacher = ours.encoder_states, theirs.encoder_states
            match = HiddenStateLoss(len(student) - 1, len(teacher) - 1)
            loss = loss + match(student, teacher)["loss"]
        return loss

    def collect_feats(self, input_features: Tensor, **_others: Any) -> Stats:
        """For ESPnet's statistics stage."""
        lengths_B = torch.full((len(input_features),), input_features.shape[-1])
        return {"feats": input_features.transpose(1, 2), "feats_lengths": lengths_B}
