"""The supervised filter of Distil-Whisper: keep a pseudo-label whose WER is below a threshold.

Order of the published tests: an all-upper-case label is dropped; with a reference that is not
empty after normalisation and a label, the WER decides, strictly below the threshold; everything
else is dropped. Three rules:

- ``fixed`` (default): special tokens are stripped first; upper case counts only where a letter has
  case (the published test drops every Arabic, Hindi or Chinese label); blank is empty.
- ``upstream``: as published in huggingface/distil-whisper.
- ``fork``: as in uDistil-Whisper's fork: no upper-case test, label ids are decoded, an empty
  reference is scored too.

Source: spec whisper.md 3.2 and 6.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.normalisers import Normaliser, strip_specials

Rule = Literal["fixed", "upstream", "fork"]
RULES = ("fixed", "upstream", "fork")
Label = str | Sequence[int] | None
"""Text (special tokens allowed), token ids, or no label at all."""

_ID_LIST = re.compile(r"\[\s*\d+(\s*,\s*\d+)*\s*\]")


class Score(NamedTuple):
    """What a measure says of one utterance."""

    value: float | None
    """The score; None where there is none."""

    note: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class WERFilter:
    """Scores a label by its WER in percent, or says why it must not be kept."""

    normalise: Normaliser
    """Applied to both sides; :func:`published_normaliser` for the compatible rules."""

    rule: Rule = "fixed"
    """See the module's note."""

    decode: Callable[[list[int]], str] | None = None
    """Token ids to text without special tokens, for labels that are ids."""

    def score(self, reference: str | None, label: Label) -> Score:
        """WER in percent of one label.

        Raises:
            WhisperError: ids without ``decode``; or rule ``upstream`` on a reference of blanks
                only, where the published code divides by zero and ends.
        """
        if self.rule == "fixed":
            return self._fixed(reference, label)
        if self.rule == "upstream":
            return self._upstream(reference, label)
        return self._fork(reference, label)

    def keeps(self, reference: str | None, label: Label, threshold: float) -> bool:
        """Whether the label stays at a threshold in percent."""
        value = self.score(reference, label).value
        return value is not None and value < threshold

    def _fixed(self, reference: str | None, label: Label) -> Score:
        text = None if label is None else strip_specials(self._text(label))
        if not text:
            return Score(None, "no label" if text is None else "empty label")
        if text == text.upper() and text != text.lower():
            return Score(None, "label all in upper case")
        if reference is None:
            return Score(None, "no reference")
        normalised = self.normalise(strip_specials(reference))
        if not normalised.strip():
            return Score(None, "empty reference")
        return Score(word_error_percent(normalised, self.normalise(text)))

    def _upstream(self, reference: str | None, label: Label) -> Score:
        text = None if label is None else self._text(label)
        if text is not None and text.upper() == text:
            return Score(None, "label all in upper case")
        normalised = "" if reference is None else self.normalise(reference)
        if not normalised or text is None:
            return Score(None, "no label" if text is None else "empty reference")
        if not normalised.strip():
            raise WhisperError(
                f"reference {reference!r} has no word after normalisation; the published filter "
                "divides by zero here and ends. Use the rule `fixed`, or remove the utterance"
            )
        return Score(word_error_percent(normalised, self.normalise(text)))

    def _fork(self, reference: str | None, label: Label) -> Score:
        if reference is None or label is None:
            return Score(None, "no reference" if reference is None else "no label")
        if isinstance(label, str) and _ID_LIST.fullmatch(label.strip()):
            label = ast.literal_eval(label.strip())
        assert label is not None
        return Score(
            word_error_percent(self.normalise(reference), self.normalise(self._text(label)))
        )

    def _text(self, label: str | Sequence[int]) -> str:
        if isinstance(label, str):
            return label
        if self.decode is None:
            raise WhisperError(
                "this label is a list of token ids; give the model's folder, whose tokenizer "
                "turns them into text"
            )
        return self.decode(list(label))


def word_error_percent(reference: str, hypothesis: str) -> float:
    """WER of one utterance, 100 (S + D + I) / (S + D + H) by words between spaces.

    An empty reference gives 0 for an empty hypothesis, and 100 per inserted word otherwise.
    """
    import jiwer

    reference, hypothesis = " ".join(reference.split()), " ".join(hypothesis.split())
    if not reference:
        return 100.0 * len(hypothesis.split())
    counts = jiwer.process_words(reference, hypothesis)
    errors = counts.substitutions + counts.deletions + counts.insertions
    percent: float = 100 * (errors / (counts.substitutions + counts.deletions + counts.hits))
    return percent
