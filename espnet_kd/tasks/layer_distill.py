"""DPHuBERT's objective, layer-wise distillation, in both of its phases.

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.errors import CheckpointError
from espnet_kd.losses import LayerDistillLoss
from espnet_kd.losses.layer_distill import parse_layers
from espnet_kd.tasks.objective import Objective, Seen
from espnet_kd.tasks.options import LayerDistillOptions
from espnet_kd.tasks.teacher import Teacher, View, Wish
from espnet_kd.utils.files import atomic_path
from espnet_kd.utils.weights import load_strictly

PROJECTIONS = "distill_projections.safetensors"
"""File in an exported student's folder that holds the projections for the next phase."""


class LayerDistill(Objective):
    """DPHuBERT and DPWavLM."""

    name = "layer_distill"

    def __init__(
        self, options: LayerDistillOptions, student: SpeechEncoderConfig, seed: int
    ) -> None:
        super().__init__()
        self.weight = options.weight
        self.teacher_width = options.teacher_width or student.embed_dim
        self.loss = LayerDistillLoss(
            parse_layers(options.distill_layers),
            student.embed_dim,
            self.teacher_width,
            distill_mode=options.distill_mode,
            l2_weight=options.l2_weight,
            l1_weight=options.l1_weight,
            cos_weight=options.cos_weight,
            cos_type=options.cos_type,
        )
        self.projections = options.projections

    @property
    def wish(self) -> Wish:
        """The whole view of the teacher."""
        return Wish(whole=True)

    def start_run(self) -> None:
        """Take over the projections of an earlier phase, if any is named."""
        if self.projections is not None:
            _load_projections(self.loss, Path(self.projections))

    def misfits(self, student: SpeechEncoderConfig, teacher: Teacher | None) -> list[str]:
        """What does not fit, each with its remedy."""
        if teacher is None:
            return ["layer_distill needs a teacher: give --teacher PATH or s3prl:NAME"]
        problems = []
        deep = [layer for layer in self.loss.layers if layer > student.num_layers]
        if deep:
            problems.append(
                f"layer_distill: distill_layers names {deep}, the student has hidden states 0 to "
                f"{student.num_layers}; choose others"
            )
        if 0 in self.loss.layers and not teacher.shows_features:
            problems.append(
                f"layer_distill: hidden state 0 of teacher {teacher.name} (an S3PRL upstream) is "
                "not the projected feature; leave 0 out of distill_layers or load its checkpoint "
                "itself with --teacher PATH"
            )
        if teacher.width != self.teacher_width:
            problems.append(
                f"layer_distill: teacher {teacher.name} is {teacher.width} wide; set "
                f"kd_conf.objectives.layer_distill.teacher_width: {teacher.width}"
            )
        return problems

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Training terms."""
        assert seen.whole is not None
        output = seen.student
        assert output.features is not None
        student = [output.features, *output.layer_outputs]
        terms: dict[str, Tensor] = self.loss(student, _states(seen.whole), output.padding_BT)
        return terms

    def validation(self, seen: Seen) -> dict[str, Tensor]:
        """The same loss."""
        return self.forward(seen)

    def export(self, states: Mapping[str, Tensor], folder: Path) -> None:
        """Write the projections, from which the next phase can start."""
        tensors = {name.removeprefix("loss."): t.contiguous() for name, t in states.items()}
        with atomic_path(folder / PROJECTIONS) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})


def _states(view: View) -> dict[int, Tensor]:
    """The teacher's hidden states by number."""
    states = dict(enumerate(view.layers, start=1))
    return states if view.features is None else {0: view.features, **states}


def _load_projections(loss: LayerDistillLoss, path: Path) -> None:
    """Start from the projections of an earlier phase.

    Raises:
        CheckpointError: there is no such file, or its layers or widths are others.
    """
    file = path / PROJECTIONS if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            f"{file}: no such file; layer_distill.projections is the folder that bin.prune or an "
            "earlier phase wrote, or null for new projections"
        )
    try:
        states = load_file(file)
    except Exception as error:  # the reader raises several kinds for damaged files
        raise CheckpointError(f"{file} is damaged: {error}; write it again") from None
    load_strictly(loss, states, str(file))
