"""What a student can be trained to do: the table of objectives."""

from __future__ import annotations

from typing import Any

from torch import nn

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.tasks.codebook_prediction import CodebookPrediction
from espnet_kd.tasks.layer_distill import LayerDistill
from espnet_kd.tasks.masked_prediction import MaskedPrediction
from espnet_kd.tasks.masking_distill import MaskingDistill
from espnet_kd.tasks.options import Objectives
from espnet_kd.tasks.temporal_relation import TemporalRelation

OBJECTIVES: dict[str, Any] = {
    objective.name: objective
    for objective in (
        MaskingDistill,
        TemporalRelation,
        LayerDistill,
        MaskedPrediction,
        CodebookPrediction,
    )
}
"""Name in ``kd_conf.objectives`` -> class."""


def build_objectives(chosen: Objectives, student: SpeechEncoderConfig, seed: int) -> nn.ModuleDict:
    """The objectives of a run, in the table's order."""
    options = chosen.chosen()
    return nn.ModuleDict(
        {
            name: OBJECTIVES[name](options[name], student, seed)
            for name in OBJECTIVES
            if name in options
        }
    )
