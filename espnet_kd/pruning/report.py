"""What pruning removed, layer by layer, with parameters and MACs before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.pruning.config import PruningConfig
from espnet_kd.pruning.sizes import count_macs, parameter_total, sizes_of


@dataclass(frozen=True)
class PrunedPart:
    """One convolution, attention block or feed-forward block."""

    name: str
    """Such as ``conv 0``, ``layer 3 heads`` or ``layer 3 units``."""

    before: int
    """Units before pruning."""

    after: int
    """Units left; 0 where the block is gone."""


@dataclass(frozen=True)
class PruneReport:
    """Before and after."""

    parts: list[PrunedPart]
    """In the order of the network."""

    parameters: tuple[int, int]
    """Before and after, as published figures count them."""

    macs: tuple[float, float]
    """Before and after, for ``macs_seconds`` of speech."""

    macs_seconds: float = PruningConfig.macs_seconds
    """Duration of speech for which MACs are counted."""

    notes: list[str] = field(default_factory=list)
    """Where outputs differ from the gated model's, and why."""

    @property
    def sparsity(self) -> float:
        """Share of parameters removed."""
        return 1.0 - self.parameters[1] / self.parameters[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, ready for JSON."""
        return {**asdict(self), "sparsity": self.sparsity}

    def table(self) -> str:
        """Lines for people."""
        width = max(len(part.name) for part in self.parts)
        lines = [f"{'':{width}}  before   after    kept"]
        for part in self.parts:
            share = part.after / part.before if part.before else 0.0
            lines.append(f"{part.name:{width}}  {part.before:6d}  {part.after:6d}  {share:6.1%}")
        for name, (before, after), scale, unit in (
            ("parameters", self.parameters, 1e6, "M"),
            (f"MACs of {self.macs_seconds:g} s", self.macs, 1e9, "G"),
        ):
            lines.append(
                f"{name}: {before / scale:.3f} {unit} -> {after / scale:.3f} {unit} "
                f"({1 - after / before:.2%} removed)"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare(
    before: SpeechEncoder, after: SpeechEncoder, notes: Sequence[str], macs_seconds: float
) -> PruneReport:
    """Report on two encoders, the second pruned from the first."""
    macs = [
        float(count_macs(encoder.config, sizes_of(encoder.config), macs_seconds))
        for encoder in (before, after)
    ]
    return PruneReport(
        parts=_parts(before.config, after.config),
        parameters=(parameter_total(before), parameter_total(after)),
        macs=(macs[0], macs[1]),
        macs_seconds=macs_seconds,
        notes=list(notes),
    )


def _parts(before: SpeechEncoderConfig, after: SpeechEncoderConfig) -> list[PrunedPart]:
    parts = [
        PrunedPart(f"conv {index}", old[0], new[0])
        for index, (old, new) in enumerate(zip(before.conv_layers, after.conv_layers, strict=True))
    ]
    for index, (old_layer, new_layer) in enumerate(zip(before.layers, after.layers, strict=True)):
        heads = [
            0 if layer.attention == "none" else layer.num_heads for layer in (old_layer, new_layer)
        ]
        parts.append(PrunedPart(f"layer {index} heads", *heads))
        parts.append(PrunedPart(f"layer {index} units", old_layer.ffn_dim, new_layer.ffn_dim))
    return parts
