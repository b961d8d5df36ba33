"""The ESPnet model of a distillation run: one student, its objectives, and a teacher beside them.

Shapes: B batch, S samples, T frames, N code streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.tasks.fit import fit_teacher
from espnet_kd.tasks.guard import FiniteGuard
from espnet_kd.tasks.hooks import RunHooks, RunInfo
from espnet_kd.tasks.masks import MaskSource
from espnet_kd.tasks.objective import Objective
from espnet_kd.tasks.objectives import build_objectives
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.passes import Batch, Passes
from espnet_kd.tasks.teacher import Teacher, load_teacher
from espnet_kd.utils.weights import load_strictly

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

    def attach_teacher(self, teacher: Teacher | None) -> None:
        """Use this teacher (or none).

        Raises:
            ConfigError: it does not fit the student; all misfits are listed.
        """
        fit_teacher(self.student, teacher, self.kd, self._all())
        self.teacher = teacher

    def start_epoch(self, epoch: int) -> None:
        """Draw the epoch's hint layers and begin its masks."""
        self.masks.start_epoch(epoch)
        for objective in self._all():
            objective.start_epoch(epoch - 1)

    def start_validation(self) -> None:
        """Begin the masks of validation, the same every time."""
        self.masks.start_validation()

    def updated(self) -> None:
        """Count an update and tell the guard that all is well."""
        super().updated()
        self.guard.updated()

    def export(self, states: dict[str, Tensor], folder: Path) -> None:
        """Write the student of an epoch file as ``config.json`` + ``model.safetensors``."""
        own = {k.removeprefix("student."): v for k, v in states.items() if k.startswith("student.")}
        student = SpeechEncoder.from_config(self.student.config)
        load_strictly(student, own, "the epoch file")
        student.save_pretrained(folder)

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
        """Total loss (weighted sum of the objectives), all terms by name, and the batch size.

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
        passes = Passes(
            batch, self.student, self.teacher, self.masks, self._all(), training=self.training
        )
        terms: Stats = {}
        total = speech.new_zeros(())
        for objective in self._all():
            seen = passes.seen_by(objective)
            parts = objective(seen) if self.training else objective.validation(seen)
            loss = parts.pop("loss")
            total = total + objective.weight * loss
            terms.update(parts)
            if len(self.objectives) > 1:
                terms[f"{objective.name}_loss"] = loss
        if self.training:
            self.guard.check(total, utterances, [passes.whole, passes.masked])
        stats = {"loss": total.detach(), **{name: term.detach() for name, term in terms.items()}}
        gathered = force_gatherable((total, stats, speech.new_tensor(len(speech))), speech.device)
        loss, stats, weight = gathered
        return loss, stats, weight

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_others: Any) -> Stats:
        """For ESPnet's statistics stage, which only needs the lengths."""
        return {"feats": speech.unsqueeze(-1), "feats_lengths": speech_lengths}
