"""From scores to decisions: thresholds or quantiles per measure, all of them or any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from espnet_kd.errors import ConfigError
from espnet_kd.whisper.wer_filter import Score

Combine = Literal["all", "any"]


@dataclass(frozen=True)
class Limit:
    """What a user asks of one measure."""

    measure: str
    """Name."""

    value: float
    """Threshold, or share of the labels to keep (0 to 1, the best first)."""

    is_quantile: bool = False
    """Whether ``value`` is a share."""

    def validate(self) -> list[str]:
        """What is wrong with the value, whatever the scores are; empty if nothing is."""
        if not self.is_quantile or 0 < self.value <= 1:
            return []
        return [f"quantile {self.measure}: {self.value:g} is no share between 0 and 1"]


@dataclass(frozen=True)
class Cut:
    """A limit with its threshold known."""

    measure: str
    """Name."""

    higher_is_better: bool
    """Direction of the measure."""

    threshold: float
    """Scores must be strictly better; of a quantile, at least as good."""

    inclusive: bool = False
    """Whether the threshold itself passes."""

    def passes(self, value: float | None) -> bool:
        """Whether a score is good enough; no score never is."""
        if value is None:
            return False
        if self.inclusive and value == self.threshold:
            return True
        return value > self.threshold if self.higher_is_better else value < self.threshold

    def describe(self, score: Score) -> str:
        """The comparison in words, for a reason."""
        if score.value is None:
            return f"{self.measure}: {score.note or 'no score'}"
        better, worse = (">", "<=") if self.higher_is_better else ("<", ">=")
        if self.inclusive:
            better, worse = f"{better}=", worse.rstrip("=")
        sign = better if self.passes(score.value) else worse
        return f"{self.measure} {score.value:.4g} {sign} {self.threshold:.4g}"


@dataclass(frozen=True)
class Decision:
    """What becomes of one label."""

    id: str
    """Utterance."""

    kept: bool
    """Whether it stays."""

    reason: str
    """Comparisons that decided, or the check that failed."""

    scores: dict[str, float | None]
    """Every measure that was computed."""

    notes: dict[str, str] = field(default_factory=dict)
    """Why a measure has no score."""

    failed: tuple[str, ...] = ()
    """Names of the limits that were not met, or ``check``."""


def make_cut(limit: Limit, higher_is_better: bool, scores: Sequence[Score]) -> Cut:
    """Find the threshold of a limit.

    A quantile keeps that share of the scored labels, the best ones; labels that tie with the last
    of them stay too, so that the order of the labels does not matter.

    Raises:
        ConfigError: a share outside 0 to 1, or no label has a score.
    """
    if not limit.is_quantile:
        return Cut(limit.measure, higher_is_better, limit.value)
    if problems := limit.validate():
        raise ConfigError("filter", problems)
    values = [score.value for score in scores if score.value is not None]
    if not values:
        raise ConfigError(f"quantile {limit.measure}", ["no label has a score of this measure"])
    best_first = sorted(values, reverse=higher_is_better)
    # Rounded first: 0.07 * 100 is a little more than 7.
    last = math.ceil(round(limit.value * len(values), 6)) - 1
    return Cut(limit.measure, higher_is_better, best_first[last], inclusive=True)


def decide(
    utterance: str,
    problem: str,
    cuts: Sequence[Cut],
    scores: Mapping[str, Score],
    combine: Combine = "all",
) -> Decision:
    """Decide on one label.

    Args:
        utterance: id.
        problem: what a check found; not empty: dropped.
        cuts: limits; none: whatever passes the checks is kept.
        scores: by measure, also of measures without a limit.
        combine: whether all limits must be met, or any.
    """
    values = {name: score.value for name, score in scores.items()}
    notes = {name: score.note for name, score in scores.items() if score.note}
    if problem:
        return Decision(utterance, False, problem, values, notes, ("check",))
    failed = [cut for cut in cuts if not cut.passes(values[cut.measure])]
    met = [cut for cut in cuts if cut not in failed]
    kept = not failed if combine == "all" else bool(met) or not cuts
    deciding = met if kept else failed
    reason = "; ".join(cut.describe(scores[cut.measure]) for cut in deciding)
    names = tuple(cut.measure for cut in failed)
    return Decision(utterance, kept, reason or "passed the checks", values, notes, names)
