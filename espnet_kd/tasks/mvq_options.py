"""The options of ``--kd_conf`` of the MVQ tasks; names are icefall's where it has one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.errors import ConfigError
from espnet_kd.losses.frame_rate import TOLERANCE, ratio_problems
from espnet_kd.utils.options import from_mapping, too_small

REDUCTIONS = ("sum", "mean")
WARMUPS = ("icefall", "espnet")


@dataclass(kw_only=True)
class MVQConfig:
    """All of ``--kd_conf``: how a student predicts the codes of a teacher."""

    enable_distillation: bool = True
    """Whether codes are predicted at all; false trains the same model without (the baseline)."""

    codebook_loss_scale: float = 0.1
    """Weight of the prediction loss (published 0.1; for 16 codebooks and later recipes 0.005 to
    0.01)."""

    codebook_loss_reduction: str = "sum"
    """`sum` over frames and codebooks, per utterance (published: a sum beside a sum), or `mean` of
    all codes of a batch."""

    num_codebooks: int = 8
    """Codes of a teacher frame (published 8; the head has `frame_ratio` times as many)."""

    codebook_size: int = 256
    """Centres of a codebook (published 256)."""

    distillation_layer: int = 5
    """Encoder layer, from 0, that predicts the codes (published 5 of 12); -1 = the encoder's
    output."""

    distillation_module: str | None = None
    """Instead of a layer: a module of the encoder by its dotted name, where the layers of an
    encoder are not found."""

    layer_width: int | None = None
    """Width of that layer; null = the encoder's (published 512)."""

    frame_ratio: float = 2.0
    """Teacher frames per student frame (published 2: 50 and 25 per second)."""

    delay: int = 0
    """Student frames by which the prediction may come later (streaming students; published 0)."""

    length_tolerance: int = TOLERANCE
    """Teacher frames by which codes may be longer or shorter than the student's frames."""

    is_joint: bool = False
    """Predict codes one after the other, given those before (published recipes: no)."""

    hidden_channels: int = 512
    """Hidden width of joint prediction (published 512)."""

    transducer_warmup: str = "icefall"
    """Of the pruned transducer loss: `icefall` (published: none, then a tenth, then all of it) or
    `espnet` (linear)."""

    model_warm_step: int = 3000
    """Updates of each of the two parts of icefall's warm-up (published 3000)."""

    max_bad_steps: int = 20
    """Stop after so many updates in a row were skipped because of NaN or infinity."""

    def __post_init__(self) -> None:
        problems = self.validate()
        if problems:
            raise ConfigError("kd_conf", problems)

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        least = {
            "codebook_loss_scale": 0, "num_codebooks": 1, "codebook_size": 2,
            "distillation_layer": -1, "layer_width": 1, "length_tolerance": 0,
            "hidden_channels": 1, "model_warm_step": 1, "max_bad_steps": 1,
        }  # fmt: skip
        problems = too_small(self, least)
        if self.codebook_loss_scale == math.inf:
            problems.append("codebook_loss_scale is inf; it must be finite")
        for name, allowed in (
            ("codebook_loss_reduction", REDUCTIONS),
            ("transducer_warmup", WARMUPS),
        ):
            if getattr(self, name) not in allowed:
                problems.append(f"{name} is {getattr(self, name)!r}; choose {' or '.join(allowed)}")
        return problems + ratio_problems(self.frame_ratio, self.delay, "frame_ratio")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MVQConfig:
        """Build from YAML values.

        Raises:
            ConfigError: unknown keys, wrong types and impossible values, all at once.
        """
        return from_mapping(cls, values, subject="kd_conf")

    @property
    def head_codebooks(self) -> int:
        """Codes that a student frame predicts."""
        return self.num_codebooks * max(1, round(self.frame_ratio))
