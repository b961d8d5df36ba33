"""What a student kept of its teacher, with parameters before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from espnet_kd.whisper.config import POSITIONS_PER_SECOND

PARTS = ("encoder", "decoder layers", "embeddings")


@dataclass(frozen=True)
class ShrinkReport:
    """Before and after."""

    teacher: str
    """Name of the teacher."""

    encoder: list[int]
    """Teacher layer of each encoder layer of the student."""

    decoder: list[int]
    """Teacher layer of each decoder layer of the student."""

    max_source_positions: int
    """Encoder positions of the student, 50 per second."""

    before: dict[str, int]
    """Parameters of the teacher by part."""

    after: dict[str, int]
    """Parameters of the student by part."""

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, ready for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Lines for people."""
        lines = [
            f"encoder layers: {_listed(self.encoder)}",
            f"decoder layers: {_listed(self.decoder)}",
            f"context: {self.max_source_positions / POSITIONS_PER_SECOND:g} s",
            f"{'parameters':14}  {'before':>13}  {'after':>13}    kept",
        ]
        rows = [(part, self.before[part], self.after[part]) for part in PARTS]
        rows.append(("total", sum(self.before.values()), sum(self.after.values())))
        lines += [
            f"{part:14}  {before:13,}  {after:13,}  {after / max(before, 1):6.1%}"
            for part, before, after in rows
        ]
        return "\n".join(lines)


def count_parameters(model: Any) -> dict[str, int]:
    """Parameters by part; the output projection is the token embedding and counts once."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if name.startswith("model.encoder."):
            part = "encoder"
        elif name.startswith("model.decoder.embed_"):
            part = "embeddings"
        else:
            part = "decoder layers"
        counts[part] += parameter.numel()
    return counts


def _listed(numbers: list[int]) -> str:
    return f"{len(numbers)} (the teacher's {', '.join(map(str, numbers))})"
