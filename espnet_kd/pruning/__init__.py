"""Structured pruning: gates on any encoder, a size target, and the physically smaller encoder."""

from __future__ import annotations

from espnet_kd.pruning.config import PruningConfig
from espnet_kd.pruning.gates import EncoderGates
from espnet_kd.pruning.hard_concrete import HardConcrete
from espnet_kd.pruning.prune import PruningError, prune_encoder
from espnet_kd.pruning.report import PruneReport
from espnet_kd.pruning.structured import StructuredPruning

__all__ = [
    "EncoderGates",
    "HardConcrete",
    "PruneReport",
    "PruningConfig",
    "PruningError",
    "StructuredPruning",
    "prune_encoder",
]
