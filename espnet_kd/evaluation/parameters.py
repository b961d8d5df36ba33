"""Parameter counts of an encoder by part, and with or without its training heads.

Published totals of the ARM family include the heads, because they stay in at inference
(spec: 26 448 448 with, 22 015 552 without for ARMHuBERT-960h); papers differ, so both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

PARTS = ("front end", "positional conv", "layers", "heads", "other")


def count_by_part(model: nn.Module) -> dict[str, int]:
    """Count each parameter once (a shared one belongs to the first part that uses it).

    Returns:
        part name (:data:`PARTS`) to number of parameters.
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return counts


def part_of(parameter_name: str) -> str:
    """Return the part (:data:`PARTS`) that a parameter of ``SpeechEncoder`` belongs to."""
    raise NotImplementedError


def summary(model: nn.Module) -> dict[str, object]:
    """Return ``{"total", "without_heads", "heads", "parts": {...}}`` for the profile."""
    parts: Mapping[str, int] = count_by_part(model)
    total = sum(parts.values())
    return {
        "total": total,
        "without_heads": total - parts["heads"],
        "heads": parts["heads"],
        "parts": dict(parts),
    }
