"""The ESPnet model of a distillation run: one student, its objectives, and a teacher beside them.

Shapes: B batch, S samples, T frames, N code streams.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.pruning import StructuredPruning
from espnet_kd.tasks.fit import fit_teacher
from espnet_kd.tasks.guard import FiniteGuard
from espnet_kd.tasks.hooks import RunHooks, RunInfo
from espnet_kd.tasks.masks import MaskSource
from espnet_kd.tasks.objective import Objective
from espnet_kd.tasks.objectives import build_objectives
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.passes import Batch, Passes
from espnet_kd.tasks.pruning import LOG, PruningLog, export_pruned
from espnet_kd.tasks.teacher import Teacher, load_teacher
from espnet_kd.utils.weights import load_strictly

_LOG = logging.getLogger(__name__)

Stats = dict[str, Tensor]


class SSLDistillModel(RunHooks):
    """Student and objectives (saved) with teacher, masks and guard (not saved).

    Args:
        student: the encoder that is trained.
        kd: all options of ``--kd_conf``.
        seed: of masks and hint layers.
    """

    def __init__(self, student: SpeechEncoder, kd: DistillConfig, seed: int = 0) -> None:
        super().__init__()
        self.student = student
        self.kd = kd
        self.seed = seed
        self.objectives = build_objectives(kd.objectives, student.config, seed)
        self.pruning = None if kd.pruning is None else StructuredPruning(student, kd.pruning)
        self.pruning_log: PruningLog | None = None
        self.teacher: Teacher | None = None  # a plain object, so no submodule
        self.guard = FiniteGuard(kd.max_bad_steps)
        self.masks = self._mask_source(max_epoch=1, rank=0)
        self._freeze_what_nothing_trains()

    def _mask_source(self, max_epoch: int, rank: int) -> MaskSource:
        schedule = self.kd.mask_prob_schedule
        return MaskSource(self.kd.mask, schedule, max_epoch=max_epoch, seed=self.seed, rank=rank)

    def _all(self) -> list[Objective]:
        return [o for o in self.objectives.values() if isinstance(o, Objective)]

    def _freeze_what_nothing_trains(self) -> None:
        """Distributed training demands that every trainable parameter gets a gradient."""
        masks = any(objective.masks for objective in self._all())
        heads = any(objective.uses_heads for objective in self._all())
        if self.student.mask_embedding is not None and (self.kd.freeze_student_mask or not masks):
            self.student.mask_embedding.requires_grad_(False)
        if self.student.heads is not None and not heads:
            self.student.heads.requires_grad_(False)
        normed = any(objective.uses_final_norm for objective in self._all())
        config = self.student.config
        if config.norm_first and not (normed and config.hidden_states == "transformers"):
            self.student.encoder_norm.requires_grad_(False)

    @property
    def all_parameters_each_step(self) -> bool:
        """Whether each update gives a gradient to every trainable parameter."""
        return self.student.config.layerdrop == 0 and all(
            objective.all_parameters_each_step for objective in self._all()
        )

    # --- Hooks of the trainer
    def start_run(self, run: RunInfo) -> None:
        """Load the teacher and check that it fits; nothing has been computed yet."""
        teacher = load_teacher(run.teacher, run.teacher_conf) if run.teacher else None
        self.attach_teacher(teacher)
        self.guard = FiniteGuard(self.kd.max_bad_steps, run.accum_grad)
        self.masks = self._mask_source(max_epoch=run.max_epoch, rank=run.rank)
        for objective in self._all():
            objective.start_run()
        if self.pruning is not None and run.rank == 0:
            self.pruning_log = PruningLog(run.output_dir / LOG, self.pruning.options.log_every)

    def attach_teacher(self, teacher: Teacher | None) -> None:
        """Use this teacher (or none).

        Raises:
            ConfigError: it does not fit the student; all misfits are listed.
        """
        fit_teacher(self.student, teacher, self.kd, self._all())
        self.teacher = teacher

    def expect_updates(self, updates: int) -> None:
        """Warn of a target sparsity that is still rising when the run ends."""
        options = self.kd.pruning
        if options is not None and options.sparsity_warmup >= updates:
            _LOG.warning(
                f"kd_conf.pruning.sparsity_warmup is {options.sparsity_warmup}, but the run has "
                f"{updates} updates: it will not reach target_sparsity {options.target_sparsity}; "
                "lower sparsity_warmup, or train longer"
            )

    def start_epoch(self, epoch: int) -> None:
        """Draw the epoch's hint layers and begin its masks."""
        self.masks.start_epoch(epoch)
        if self.pruning_log is not None:
            self.pruning_log.drop_after(int(self.num_updates))
        for objective in self._all():
            objective.start_epoch(epoch - 1)

    def start_validation(self) -> None:
        """Begin the masks of validation, the same every time."""
        self.masks.start_validation()

    def updated(self) -> None:
        """Count an update and tell the guard that all is well."""
        super().updated()
        self.guard.updated()
        if self.pruning_log is not None and self.pruning is not None:
            self.pruning_log.add(int(self.num_updates), self.pruning)

    def export(self, states: dict[str, Tensor], folder: Path) -> None:
        """Write the student of an epoch file (pruned, in a pruning run) as ``config.json`` +
        ``model.safetensors``, and what a later phase needs of the objectives.
        """
        student = SpeechEncoder.from_config(self.student.config)
        load_strictly(student, _part(states, "student."), "the epoch file")
        if self.pruning is None:
            student.save_pretrained(folder)
        else:
            export_pruned(student, self.pruning, _part(states, "pruning."), folder)
        for name, objective in zip(self.objectives, self._all(), strict=True):
            objective.export(_part(states, f"objectives.{name}."), folder)

    @property
    def exports_averages(self) -> bool:
        """Whether the mean of the best epochs means anything: while the target sparsity rises, the
        best epochs are the least pruned ones.
        """
        return self.pruning is None

    def _update_teacher_mask(self) -> None:
        if (
            self.kd.update_teacher_mask
            and self.teacher is not None
            and self.student.mask_embedding is not None
        ):
            self.teacher.copy_mask_embedding(self.student.mask_embedding.detach())

    # --- One batch
    def forward(
        self,
        speech: Tensor,
        speech_lengths: Tensor,
        codes: Tensor | None = None,
        codes_lengths: Tensor | None = None,
        utt_id: Sequence[str] = (),
        **_others: Any,
    ) -> tuple[Tensor, Stats, Tensor]:
        """Total loss (weighted sum of the objectives), all terms by name, and its weight.

        Args:
            speech: (B, S) waveforms, zero-padded.
            speech_lengths: (B,) samples.
            codes: (B, T', N) or (B, T') indexes, -1 padded, for masked prediction.
            codes_lengths: (B,) their lengths.
            utt_id: B utterance names, for messages.
        """
        if self.training:
            self.guard.before_forward()
            self._update_teacher_mask()
        utterances = list(utt_id) or [f"number {i}" for i in range(len(speech))]
        batch = Batch(speech, speech_lengths, codes, codes_lengths, utterances)
        with self._gated():
            passes = Passes(
                batch, self.student, self.teacher, self.masks, self._all(), training=self.training
            )
            total, terms = self._objective_terms(passes)
        if self.pruning is not None:
            total = self._add_pruning(total, terms)
        if self.training:
            self.guard.check(total, utterances, [passes.whole, passes.masked])
        stats = {"loss": total.detach(), **{name: term.detach() for name, term in terms.items()}}
        weight = speech.new_tensor(self._weight(len(speech)))
        gathered = force_gatherable((total, stats, weight), speech.device)
        loss, stats, weight = gathered
        return loss, stats, weight

    def _weight(self, utterances: int) -> int:
        """How much a batch counts beside those of other processes, and in the epoch's mean."""
        # Batches of equal duration count alike, as they do when accumulated on one process.
        return 1 if self.training and self.kd.batching is not None else utterances

    def _gated(self) -> contextlib.AbstractContextManager[Any]:
        """One sample of the gates for all passes of a batch."""
        if self.pruning is None:
            return contextlib.nullcontext()
        return self.pruning.applied(self.student)

    def _objective_terms(self, passes: Passes) -> tuple[Tensor, Stats]:
        """Weighted sum of the objectives, and all their terms by name."""
        terms: Stats = {}
        losses = []
        for objective in self._all():
            seen = passes.seen_by(objective)
            parts = objective(seen) if self.training else objective.validation(seen)
            loss = parts.pop("loss")
            losses.append(objective.weight * loss)
            terms.update(parts)
            if len(self.objectives) > 1:
                terms[f"{objective.name}_loss"] = loss
        return torch.stack(losses).sum(), terms

    def _add_pruning(self, total: Tensor, terms: Stats) -> Tensor:
        """Add the Lagrangian in training; validation shows it and judges by the objectives."""
        assert self.pruning is not None
        parts = self.pruning.loss(int(self.num_updates))
        regulariser = parts.pop("loss")
        terms.update(loss_distill=total, loss_reg=regulariser, **parts)
        return total + regulariser if self.training else total

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_others: Any) -> Stats:
        """For ESPnet's statistics stage, which only needs the lengths."""
        return {"feats": speech.unsqueeze(-1), "feats_lengths": speech_lengths}


def _part(states: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in states.items() if k.startswith(prefix)}
