"""Word and character error rates with the columns of ESPnet's RESULTS tables.

Alignment by jiwer (Levenshtein, all costs 1). Rates are percentages of the reference length over
the whole set, as sclite gives them: ``Err = 100 · (Sub + Del + Ins) / words``.

Empty references follow sclite: the utterance counts as a sentence, every hypothesis word in it is
an insertion, and it adds nothing to the number of reference words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer

from espnet_kd.errors import DataDirError

COLUMNS = ("Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")


@dataclass(frozen=True)
class ErrorRates:
    """Counts of one test set; rates in percent are properties."""

    sentences: int
    """Utterances scored."""
    words: int
    """Reference tokens (words, or characters for a CER)."""
    hits: int
    """Tokens that are right."""
    substitutions: int
    """Tokens replaced."""
    deletions: int
    """Reference tokens missing from the hypothesis."""
    insertions: int
    """Hypothesis tokens too many."""
    wrong_sentences: int
    """Utterances with at least one error."""

    @property
    def error_rate(self) -> float:
        """(Sub + Del + Ins) in percent of the reference tokens."""
        return self._percent(self.substitutions + self.deletions + self.insertions)

    @property
    def sentence_error_rate(self) -> float:
        """Percent of utterances with at least one error (ESPnet's ``S.Err``)."""
        return 100.0 * self.wrong_sentences / self.sentences

    def row(self) -> tuple[int, int, float, float, float, float, float, float]:
        """Values in the order of :data:`COLUMNS`."""
        parts = (self.hits, self.substitutions, self.deletions, self.insertions)
        corr, sub, dele, ins = (self._percent(part) for part in parts)
        return (
            *(self.sentences, self.words, corr, sub, dele, ins),
            *(self.error_rate, self.sentence_error_rate),
        )

    def _percent(self, count: int) -> float:
        return 100.0 * count / self.words


def word_error_rates(
    references: Mapping[str, str], hypotheses: Mapping[str, str], *, characters: bool = False
) -> ErrorRates:
    """Score ``hypotheses`` against ``references``.

    Args:
        references: utterance id to text.
        hypotheses: utterance id to text; the same ids.
        characters: count characters (spaces included, runs of spaces as one) instead of words.

    Raises:
        DataDirError: ids differ (the first ones are named), or all references are empty.
    """
    _check_ids(references, hypotheses)
    inserted = wrong = 0
    filled = []
    for key, reference in references.items():
        hypothesis = " ".join(hypotheses[key].split())
        if reference.strip():
            filled.append((" ".join(reference.split()), hypothesis))
        elif hypothesis:
            inserted += len(hypothesis if characters else hypothesis.split())
            wrong += 1
    if not filled:
        raise DataDirError("every reference is empty: an error rate needs reference words")
    wrong += sum(reference != hypothesis for reference, hypothesis in filled)
    hits, substitutions, deletions, insertions = _align(filled, characters)
    return ErrorRates(
        sentences=len(references),
        words=hits + substitutions + deletions,
        hits=hits,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions + inserted,
        wrong_sentences=wrong,
    )


def read_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a Kaldi ``text`` file (``id words…`` per line; a line with the id only is empty).

    Raises:
        DataDirError: names the line of a repeated id, or the file that cannot be read.
    """
    texts: dict[str, str] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        key, _, text = line.strip().partition(" ")
        if key in texts:
            raise DataDirError(f"{path}:{number}: utterance {key} was there before; remove one")
        texts[key] = text.strip()
    return texts


def markdown_table(rates: Mapping[str, ErrorRates], title: str = "WER") -> str:
    """Format test sets as one of ESPnet's RESULTS tables.

    Args:
        rates: ``"decode/test_clean"`` to counts.
        title: heading, ``WER`` or ``CER``.
    """
    head = ["dataset", *COLUMNS]
    lines = [f"### {title}", "", f"|{'|'.join(head)}|", f"|{'---|' * len(head)}"]
    for name, rate in rates.items():
        cells = [f"{v:.1f}" if isinstance(v, float) else str(v) for v in rate.row()]
        lines.append(f"|{'|'.join([name, *cells])}|")
    return "\n".join(lines) + "\n"


def _align(pairs: Sequence[tuple[str, str]], characters: bool) -> tuple[int, int, int, int]:
    process = jiwer.process_characters if characters else jiwer.process_words
    out = process([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return out.hits, out.substitutions, out.deletions, out.insertions


def _check_ids(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> None:
    missing = [key for key in references if key not in hypotheses]
    extra = [key for key in hypotheses if key not in references]
    if missing or extra or not references:
        raise DataDirError(
            f"references and hypotheses are not the same utterances: {len(missing)} without a "
            f"hypothesis {missing[:3]}, {len(extra)} without a reference {extra[:3]}; "
            "score the set that was decoded"
        )
