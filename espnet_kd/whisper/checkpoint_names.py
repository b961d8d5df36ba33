"""Names of a run's checkpoint folders, their order, and which are too many.

Names are Distil-Whisper's: ``checkpoint-<step>-epoch-<epoch>``, and for the best ones
``checkpoint-<step>-epoch-<epoch>-val-wer-<percent>``. The two kinds are counted apart; nothing else
in the folder is looked at. Source: spec whisper.md 4.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(
    r"checkpoint-(?P<step>\d+)-epoch-(?P<epoch>\d+)"
    r"(-(?P<criterion>[a-z]+-.+?)-(?P<value>-?\d+\.\d+))?"
)


@dataclass(frozen=True)
class CheckpointName:
    """What the name of a checkpoint folder says."""

    step: int
    """Updates until then."""

    epoch: int
    """Epoch."""

    criterion: str = ""
    """What the value is, e.g. ``val-wer``; empty for a checkpoint that is none of the best."""

    value: float | None = None
    """Score that made it one of the best."""

    def __str__(self) -> str:
        plain = f"checkpoint-{self.step}-epoch-{self.epoch}"
        if self.value is None:
            return plain
        # Percentages as published; losses differ later than in the third decimal.
        decimals = 3 if "wer" in self.criterion else 6
        return f"{plain}-{self.criterion}-{self.value:.{decimals}f}"

    @classmethod
    def parse(cls, name: str) -> CheckpointName | None:
        """Read a name; None if it is not that of a checkpoint."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        value = found["value"]
        return cls(
            int(found["step"]),
            int(found["epoch"]),
            found["criterion"] or "",
            None if value is None else float(value),
        )


def by_step(names: Iterable[str]) -> list[str]:
    """Checkpoints that are none of the best, the earliest first; a run goes on from the last."""
    plain = [(found.step, name) for name, found in _parsed(names) if found.value is None]
    return [name for _, name in sorted(plain)]


def worst_first(names: Iterable[str], *, higher_is_better: bool = False) -> list[str]:
    """The best checkpoints, the worst of them first; of equal ones the later is the worse.

    Args:
        names: of any folders.
        higher_is_better: direction of the criterion (a word error rate: False).
    """
    sign = 1 if higher_is_better else -1
    scored = [
        (sign * found.value, -found.step, name)
        for name, found in _parsed(names)
        if found.value is not None
    ]
    return [name for _, _, name in sorted(scored)]


def too_many(ordered: list[str], limit: int | None) -> list[str]:
    """The first of ``ordered``, all but ``limit`` of them; None = there is no limit."""
    return [] if limit is None else ordered[: max(0, len(ordered) - limit)]


def _parsed(names: Iterable[str]) -> list[tuple[str, CheckpointName]]:
    pairs = ((name, CheckpointName.parse(name)) for name in names)
    return [(name, found) for name, found in pairs if found is not None]
