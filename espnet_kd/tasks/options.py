"""The options of ``--kd_conf``: which objectives a student is trained with, and how.

Names are the published YAML's where it has one (``rec_loss_weight``, ``distil_random_layer``,
``mask_prob`` ...). Every class lists all its problems at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from espnet_kd.errors import ConfigError
from espnet_kd.losses.frame_rate import ratio_problems
from espnet_kd.losses.layer_distill import COS_TYPES, DISTILL_MODES, parse_layers
from espnet_kd.losses.masking import MaskConfig
from espnet_kd.losses.schedule import MaskProbSchedule
from espnet_kd.pruning.config import PruningConfig
from espnet_kd.tasks.batching_options import BatchingOptions
from espnet_kd.utils.options import from_mapping, too_small


@dataclass(kw_only=True)
class MaskingDistillOptions:
    """Masked frames learn from the unmasked teacher, unmasked ones from the masked teacher."""

    weight: float = 1.0
    """Share of this objective in the total loss."""

    rec_loss_weight: float = 1.0
    """Weight of the last layer's terms (published 1.0)."""

    random_layer_weight: float = 0.1
    """Weight of the hint layers' terms (published 0.1)."""

    rec_loss_type: str = "mse"
    """Distance between frames: mse (published) or l1."""

    distil_random_layer: int | None = None
    """How many layers below the last are hints, drawn anew each epoch; null = all (published: 11
    of 11)."""

    padded_frames: str = "exclude"
    """`exclude` leaves padding out of the loss; `count` is the published behaviour."""


@dataclass(kw_only=True)
class TemporalRelationOptions:
    """STaR: the student's frame-by-frame relations follow the teacher's; nothing is masked."""

    weight: float = 1.0
    """Share of this objective in the total loss."""

    layer_weight: float = 1.0
    """Weight of the Gram matrices of layer outputs (paper: used)."""

    intra_weight: float = 1.0
    """Weight of the matrices between the input and the output of a layer (paper: used)."""

    attention_weight: float = 0.0
    """Weight of the head-averaged attention maps (a variant of the paper)."""

    relation: str = "scaled_dot"
    """Inner product of two frames: scaled_dot (divided by the width), dot or cosine."""

    include_input: bool = True
    """Also match the Gram matrix of the first layer's input."""


@dataclass(kw_only=True)
class LayerDistillOptions:
    """DPHuBERT's loss: chosen hidden states follow the teacher's; nothing is masked."""

    weight: float = 1.0
    """Share of this objective in the total loss."""

    distill_layers: str = "0.4,8,12"
    """Hidden states, 0 = projected features; "." separates groups with a projection each
    (published "0.4,8,12" of 12 layers)."""

    distill_mode: str = "layer2layer"
    """`layer2layer` (published), or `predlayer`: all predicted from the last state."""

    l2_weight: float = 0.0
    """Weight of the squared difference (published 0)."""

    l1_weight: float = 1.0
    """Weight of the absolute difference (published 1)."""

    cos_weight: float = 1.0
    """Weight of the cosine term (published 1)."""

    cos_type: str = "raw"
    """Cosine term: raw (published) or log_sig."""

    teacher_width: int = 0
    """Width of the teacher where it is not the student's, 0 = the same."""

    projections: str | None = None
    """Folder or file with the projections of an earlier phase to start from; null = new ones."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        problems = []
        try:
            parse_layers(self.distill_layers)
        except ConfigError as error:
            problems += [f"distill_layers: {problem}" for problem in error.problems]
        for name, allowed in (("distill_mode", DISTILL_MODES), ("cos_type", COS_TYPES)):
            if getattr(self, name) not in allowed:
                problems.append(f"{name} is {getattr(self, name)!r}; choose {' or '.join(allowed)}")
        weights = (self.l2_weight, self.l1_weight, self.cos_weight)
        if min(weights) < 0 or not any(weights):
            problems.append("l2_weight, l1_weight and cos_weight: none negative, not all 0")
        if self.teacher_width < 0:
            problems.append(f"teacher_width is {self.teacher_width}; 0 or a width")
        return problems


@dataclass(kw_only=True)
class MaskedPredictionOptions:
    """HuBERT's objective: predict cluster or codebook indexes of masked frames; needs no
    teacher.
    """

    weight: float = 1.0
    """Share of this objective in the total loss."""

    num_classes: int = 100
    """Classes per codebook, i.e. the largest index plus one (HuBERT's first iteration: 100)."""

    num_codebooks: int = 1
    """Indexes per frame in the `codes` stream (HuBERT: 1)."""

    head: str = "linear"
    """Classifier: linear, or cosine as HuBERT's."""

    final_dim: int = 256
    """Width of the cosine head (HuBERT Base: 256)."""

    logit_temp: float = 0.1
    """Temperature of the cosine head (HuBERT: 0.1)."""

    masked_weight: float = 1.0
    """Weight of the masked frames (HuBERT: 1)."""

    unmasked_weight: float = 0.0
    """Weight of the visible frames (HuBERT Base: 0)."""

    length_tolerance: int = 2
    """Frames by which `codes` may be longer or shorter than the student's frames."""


@dataclass(kw_only=True)
class CodebookPredictionOptions:
    """MVQ-KD: every frame predicts the codes of a teacher, which need not be there."""

    weight: float = 1.0
    """Share of this objective in the total loss."""

    layer: int = -1
    """Student layer, from 0, that predicts; -1 = the encoder's output (published: a middle layer
    of a recogniser)."""

    num_codebooks: int = 8
    """Codes of a teacher frame (published 8)."""

    codebook_size: int = 256
    """Centres of a codebook (published 256)."""

    frame_ratio: float = 1.0
    """Teacher frames per student frame (published: 2, for students at 25 frames per second)."""

    is_joint: bool = False
    """Predict codes one after the other, given those before (published recipes: no)."""

    hidden_channels: int = 512
    """Hidden width of joint prediction (published 512)."""

    length_tolerance: int = 2
    """Teacher frames by which `codes` may be longer or shorter than the student's frames."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        least = {
            "layer": -1, "num_codebooks": 1, "codebook_size": 2, "hidden_channels": 1,
            "length_tolerance": 0,
        }  # fmt: skip
        problems = too_small(self, least)
        problems += ratio_problems(self.frame_ratio, 0, "frame_ratio")
        if self.num_codebooks * max(1, round(self.frame_ratio)) < 2 and not problems:
            problems.append(
                "num_codebooks is 1: a single code stream is masked_prediction's (unmasked_weight)"
            )
        return problems


@dataclass(kw_only=True)
class Objectives:
    """The objectives of a run; those left out are off. Several may be combined by their weights."""

    masking_distill: MaskingDistillOptions | None = None
    """ARMHuBERT, ARMwavLM, MaskHuBERT."""

    temporal_relation: TemporalRelationOptions | None = None
    """STaRHuBERT."""

    layer_distill: LayerDistillOptions | None = None
    """DPHuBERT, DPWavLM."""

    masked_prediction: MaskedPredictionOptions | None = None
    """Training without a teacher, from the data stream `codes`."""

    codebook_prediction: CodebookPredictionOptions | None = None
    """MVQ-KD, from the data stream `codes`."""

    def chosen(self) -> dict[str, Any]:
        """Name -> options of the objectives that are on."""
        named = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: options for name, options in named.items() if options is not None}


@dataclass(kw_only=True)
class CropOptions:
    """What part of a long training utterance is used; codes are cropped with the speech."""

    max_seconds: float = 0.0
    """Random crop of longer utterances to this duration, 0 = never (published: full length)."""

    to_shortest: bool = False
    """Crop every utterance of a batch to the shortest one instead of padding (fairseq's
    pre-training)."""


@dataclass(kw_only=True)
class DistillConfig:
    """All of ``--kd_conf``."""

    objectives: Objectives = field(
        default_factory=lambda: Objectives(masking_distill=MaskingDistillOptions())
    )
    """What is minimised (published ARM/Mask systems: masking distillation alone)."""

    mask: MaskConfig = field(default_factory=MaskConfig)
    """How frames are masked (published mask_prob: 0.8 for 960 h, 0.4 for 100 h)."""

    teacher_layers: list[int] | None = None
    """Teacher layer (from 0) that each student layer learns from; null = layer i from layer i
    (published)."""

    mask_prob_schedule: str | list[float] | None = None
    """`[a, b]`: mask_prob goes linearly from a to b over the epochs; null = constant
    (published)."""

    update_teacher_mask: bool = False
    """Copy the student's mask embedding into the teacher at each step; needs equal widths
    (published: no)."""

    freeze_student_mask: bool = False
    """Keep the student's mask embedding at its initial value (published: no)."""

    pruning: PruningConfig | None = None
    """Prune the student while it learns, whatever the objectives; null = no (DPHuBERT's first
    phase)."""

    crop: CropOptions = field(default_factory=CropOptions)
    """Cropping of training utterances."""

    batching: BatchingOptions | None = None
    """Batches of so many seconds, cropped to their shortest utterance; null = ESPnet's batch_type
    (DPHuBERT: {})."""

    max_bad_steps: int = 20
    """Stop after so many updates in a row were skipped because of NaN or infinity."""

    def __post_init__(self) -> None:
        problems = self.validate()
        if problems:
            raise ConfigError("kd_conf", problems)

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        chosen = self.objectives.chosen()
        problems = [] if chosen else ["objectives: none is chosen; write e.g. masking_distill: {}"]
        for name, options in chosen.items():
            if not 0 < options.weight < math.inf:
                problems.append(
                    f"objectives.{name}.weight is {options.weight}; it must be positive"
                )
        problems += [f"mask.{problem}" for problem in self.mask.validate()]
        if self.pruning is not None:
            problems += [f"pruning.{problem}" for problem in self.pruning.validate()]
        for name in ("layer_distill", "codebook_prediction"):
            if name in chosen:
                problems += [f"objectives.{name}.{problem}" for problem in chosen[name].validate()]
        problems += self._masking_distill_problems() + self._prediction_problems()
        try:
            MaskProbSchedule(self.mask_prob_schedule, 1)
        except ConfigError as error:
            problems += [f"mask_prob_schedule: {problem}" for problem in error.problems]
        if self.crop.max_seconds < 0:
            problems.append(f"crop.max_seconds is {self.crop.max_seconds}; 0 or more seconds")
        problems += self._batching_problems()
        if self.max_bad_steps < 1:
            problems.append(f"max_bad_steps is {self.max_bad_steps}; it must be at least 1")
        return problems

    def _masking_distill_problems(self) -> list[str]:
        options, where = self.objectives.masking_distill, "objectives.masking_distill"
        if options is None:
            return []
        problems = [
            f"{where}.{name} is negative; write 0 to switch it off"
            for name in ("rec_loss_weight", "random_layer_weight")
            if getattr(options, name) < 0
        ]
        if options.rec_loss_weight == options.random_layer_weight == 0:
            problems.append(f"{where}: rec_loss_weight and random_layer_weight must not both be 0")
        if options.rec_loss_type not in ("mse", "l1"):
            problems.append(f"{where}.rec_loss_type is {options.rec_loss_type!r}; choose mse or l1")
        if options.padded_frames not in ("exclude", "count"):
            problems.append(
                f"{where}.padded_frames is {options.padded_frames!r}; choose exclude or count"
            )
        if options.distil_random_layer is not None and options.distil_random_layer < 0:
            problems.append(f"{where}.distil_random_layer is negative; write 0 for no hints")
        return problems

    def _batching_problems(self) -> list[str]:
        if self.batching is None:
            return []
        problems = [f"batching.{problem}" for problem in self.batching.validate()]
        if self.crop != CropOptions():
            problems.append("crop: batching crops already; leave crop out")
        if self.batching.published:
            problems += [
                f"batching.quirks: published crops start between frames, {name} needs whole ones; "
                "write repaired"
                for name in ("masked_prediction", "codebook_prediction")
                if name in self.objectives.chosen()
            ]
        return problems

    def _prediction_problems(self) -> list[str]:
        options = self.objectives.masked_prediction
        if options is None:
            return []
        least = {"num_classes": 2, "num_codebooks": 1, "length_tolerance": 0}
        return too_small(options, least, "objectives.masked_prediction.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DistillConfig:
        """Build from YAML values.

        Raises:
            ConfigError: unknown keys, wrong types and impossible values, all at once.
        """
        # One by one: a wrong type must not hide a wrong value.
        problems = [
            problem for key, value in values.items() for problem in _problems_of(cls, {key: value})
        ]
        if problems:
            raise ConfigError("kd_conf", problems)
        return from_mapping(cls, values, subject="kd_conf")


def _problems_of(cls: type[DistillConfig], values: Mapping[str, Any]) -> list[str]:
    try:
        from_mapping(cls, values, subject="kd_conf")
    except ConfigError as error:
        return error.problems
    return []
