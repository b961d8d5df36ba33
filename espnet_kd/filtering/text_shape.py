"""Measures of the label's text alone: how well it compresses, how much of it repeats."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.whisper.label_checks import compression_ratio, most_repeats
from espnet_kd.whisper.wer_filter import Score

MAX_PERIOD = 10
"""Longest repeated phrase that is looked for, in words (four times as many letters)."""


class CompressionRatio(Measure):
    """How many times smaller zlib makes the text; OpenAI's decoder calls more than 2.4 a failure.

    Short texts are below 1.
    """

    name = "compression"
    higher_is_better = False
    about = "how many times smaller zlib makes the text; high where it loops"

    @classmethod
    def from_options(cls, options: MeasureOptions) -> Measure:
        """Needs no option."""
        return cls()

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        return [Score(compression_ratio(item.label.text)) for item in items]


class Repetition(Measure):
    """Share of the words (letters, where a text has one word) inside immediate repetitions."""

    name = "repetition"
    higher_is_better = False
    about = "share of the text that repeats what stands right before it, 0 to 1"

    @classmethod
    def from_options(cls, options: MeasureOptions) -> Measure:
        """Needs no option."""
        return cls()

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        return [Score(repeated_share(item.label.text)) for item in items]


def repeated_share(text: str) -> float:
    """Share of units that the longest run of repetitions adds to its first phrase, 0 to 1."""
    units, longest = _units(text)
    periods = range(1, min(longest, len(units) // 2) + 1)
    return max((_repeated(units, period) for period in periods), default=0) / max(len(units), 1)


def phrase_repeats(text: str) -> int:
    """How often a phrase of words (letters, where there is one word) stands in a row, at most."""
    units, longest = _units(text)
    return most_repeats(units, longest)


def _units(text: str) -> tuple[list[int], int]:
    """Words, or the letters of a single one, as numbers, and the longest period to look for."""
    words = text.lower().split()
    units, longest = (words, MAX_PERIOD) if len(words) > 1 else (list(text), 4 * MAX_PERIOD)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(unit, len(numbers)) for unit in units], longest


def _repeated(units: Sequence[int], period: int) -> int:
    """Units of the longest run in which each equals that ``period`` before it, in whole phrases."""
    same = (units[i] == units[i - period] for i in range(period, len(units)))
    runs = (sum(1 for _ in group) for equal, group in itertools.groupby(same) if equal)
    return max(runs, default=0) // period * period
