"""Measures of the label's text alone: how well it compresses, how much of it repeats."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import TypeVar

from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.whisper.wer_filter import Score

T = TypeVar("T")
MAX_PERIOD = 10
"""Longest repeated phrase that is looked for, in words (four times as many letters)."""


class CompressionRatio(Measure):
    """Bytes of the text over bytes of its zlib form, as Whisper's own decoding looks at it.

    OpenAI's decoder calls more than 2.4 a failure; texts of a few words are below 1.
    """

    name = "compression"
    higher_is_better = False
    about = "bytes of the text over its zlib form; high where it loops"

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


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over zlib bytes; 0 for an empty text."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def repeated_share(text: str) -> float:
    """Share of units inside runs that repeat the phrase before them; 0 for an empty text."""
    units, longest = _units(text)
    if not units:
        return 0.0
    return max((_best_run(units, period)[1] for period in _periods(units, longest)), default=0) / (
        len(units)
    )


def most_repeats(text: str) -> int:
    """How often some phrase stands in a row, at most; 1 where nothing repeats."""
    units, longest = _units(text)
    return max((_best_run(units, period)[0] for period in _periods(units, longest)), default=1)


def _units(text: str) -> tuple[list[str], int]:
    words = text.lower().split()
    if len(words) > 1:
        return words, MAX_PERIOD
    return list("".join(words)), 4 * MAX_PERIOD


def _periods(units: Sequence[str], longest: int) -> range:
    return range(1, min(longest, len(units) // 2) + 1)


def _best_run(units: Sequence[T], period: int) -> tuple[int, int]:
    """(repeats, further units) of the longest run in which every unit equals that ``period``
    before it.
    """
    same = [units[i] == units[i - period] for i in range(period, len(units))]
    run = max((sum(1 for _ in group) for value, group in itertools.groupby(same) if value),
              default=0)  # fmt: skip
    repeats = run // period
    return (1 + repeats, repeats * period) if repeats else (1, 0)
