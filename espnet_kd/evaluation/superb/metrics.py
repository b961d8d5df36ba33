"""The eleven numbers of SUPERB's ten tasks: names, units, the scale of the leaderboard's score.

Everything is in per cent but QbE's MTWV, which the published tables print as a fraction (0.0736).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

PER_CENT, FRACTION = "%", "fraction"


@dataclass(frozen=True)
class Metric:
    """One number of one task."""

    field: str
    """Attribute of :class:`~espnet_kd.evaluation.superb.scores.Scores`."""
    task: str
    """Short name of the task, e.g. ``SF``."""
    name: str
    """Name of the number within the task, e.g. ``slot_type_f1``."""
    direction: str
    """``lower`` or ``higher`` is better."""
    base: float
    """What filter banks reach: 0 on the leaderboard's scale."""
    sota: float
    """The best when the leaderboard was made: 1000 on its scale."""
    most: float
    """Largest value that can be meant."""
    unit: str = PER_CENT
    """Unit of the published tables."""

    @property
    def label(self) -> str:
        """Column head, e.g. ``PR PER ↓``."""
        arrow = "↓" if self.direction == "lower" else "↑"
        return f"{self.task} {SHORT_NAMES.get(self.name, self.name)} {arrow}"

    def gain(self, value: float) -> float:
        """Where ``value`` stands between filter banks (0) and the best of then (1)."""
        return (value - self.base) / (self.sota - self.base)

    def text(self, value: float) -> str:
        """The value with the published tables' number of digits."""
        return f"{value:.4f}" if self.unit == FRACTION else f"{value:.2f}"

    def problem(self, value: object, unit: str | None = None) -> str | None:
        """Say why ``value`` cannot be this number.

        Args:
            value: what was given.
            unit: its unit where that is stated; else values that look like another unit are
                refused.

        Returns:
            None for a value that can be.
        """
        wanted = f"{self.task} {self.name} is given {_SPOKEN[self.unit]}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{wanted}, and {value!r:.60} is no number"
        value = _as_float(value)
        if not math.isfinite(value):
            return f"{wanted}, and {value} is not finite"
        if unit is not None and unit != self.unit:
            return f"{wanted}, and {value:g} is said to be in {unit!r}"
        if not 0 <= value <= self.most:
            return f"{wanted}, from 0 to {self.most:g}, and is {value:g}"
        if unit is None and self._looks_foreign(value):
            stated = f'{{"value": {value:g}, "unit": "{self.unit}"}}'
            return f"{wanted}, and {value:g} looks like another unit; if it is not, state: {stated}"
        return None

    def _looks_foreign(self, value: float) -> bool:
        """An accuracy of 0.65 or an error of 0.08 per cent, an MTWV of 0.58 (published: < 0.1)."""
        if self.unit == FRACTION:
            return value > 0.5
        return 0 < value < 1 or (value == 1 and self.direction == "higher")


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


_SPOKEN = {PER_CENT: "in per cent (5.41)", FRACTION: "as a fraction (0.0736)"}
SHORT_NAMES = {"accuracy": "acc", "slot_type_f1": "F1", "slot_value_cer": "CER"}

# Base and sota are the leaderboard's. Its text has 90.33 for SID; only 90.3 gives its scores.
METRICS = (
    Metric("pr", "PR", "PER", "lower", 82.01, 3.53, most=200),
    Metric("asr", "ASR", "WER", "lower", 23.18, 3.62, most=200),
    Metric("ks", "KS", "accuracy", "higher", 41.3826674, 96.66, most=100),
    Metric("qbe", "QbE", "MTWV", "higher", 0.0058, 0.0736, most=1, unit=FRACTION),
    Metric("sid", "SID", "accuracy", "higher", 20.058174, 90.3, most=100),
    Metric("asv", "ASV", "EER", "lower", 9.56, 5.11, most=100),
    Metric("sd", "SD", "DER", "lower", 10.05, 5.62, most=200),
    Metric("ic", "IC", "accuracy", "higher", 9.649354219, 98.76, most=100),
    Metric("sf_f1", "SF", "slot_type_f1", "higher", 69.64, 89.81, most=100),
    Metric("sf_cer", "SF", "slot_value_cer", "lower", 52.94, 21.76, most=200),
    Metric("er", "ER", "accuracy", "higher", 48.23672168, 67.62, most=100),
)
TASKS = tuple(dict.fromkeys(metric.task for metric in METRICS))
"""The ten tasks in the order of the published tables."""


def task_metrics(task: str) -> tuple[Metric, ...]:
    """The metrics of a task by its name in any case; empty for an unknown one."""
    return tuple(metric for metric in METRICS if metric.task.lower() == task.lower())


def closest(name: str, known: tuple[str, ...]) -> str:
    """``; did you mean …?`` for a mistyped name, or what there is."""
    lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), lower, n=2)
    if close:
        return f"; did you mean {' or '.join(lower[word] for word in close)}?"
    return f"; there are {', '.join(known) or 'none'}"
