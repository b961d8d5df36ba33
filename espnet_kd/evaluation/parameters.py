"""Parameter counts of an encoder by part, and with or without its training heads.

Published totals of the ARM family include the heads, because they stay in at inference
(ARMHuBERT-960h: 26 448 448 with, 22 015 552 without); papers differ, so both are shown.
"""

from __future__ import annotations

from typing import Any

from torch import nn

PARTS = {
    "feature_extractor": "front end",
    "feature_projection": "projection",
    "pos_conv": "positional conv",
    "layers": "layers",
    "encoder_norm": "layers",
    "position_bias": "layers",
    "time_reductions": "layers",
    "heads": "heads",
}
"""Top-level module of ``SpeechEncoder`` to the part it is counted in; the rest is ``other``."""


def part_of(name: str) -> str:
    """Part (value of :data:`PARTS`) of a parameter or module by its dotted name."""
    return PARTS.get(name.partition(".")[0], "other")


def count_by_part(model: nn.Module) -> dict[str, int]:
    """Count every parameter once.

    Returns:
        part to number of parameters; parts without any are left out.
    """
    counts = dict.fromkeys([*PARTS.values(), "other"], 0)
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return {part: count for part, count in counts.items() if count}


def parameter_summary(model: nn.Module) -> dict[str, Any]:
    """``{"total", "without_heads", "parts": {part: count}}`` for the profile."""
    parts = count_by_part(model)
    total = sum(parts.values())
    return {"total": total, "without_heads": total - parts.get("heads", 0), "parts": parts}
