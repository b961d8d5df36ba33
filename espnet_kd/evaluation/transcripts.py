"""WER and CER of transcripts at three strictnesses: raw, orthographic, normalised.

- raw: the strings as they are, all utterances (``wer_ortho`` of the published code).
- ortho: what is written, not how it is encoded: canonically equivalent characters (a letter with
  its accent as one code point or two) and runs of white space are the same.
- normalised: after a normaliser; utterances whose reference is empty then are left out, as
  published, and counted.

All are corpus rates in percent (spec whisper.md 4.8 and 8).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.wer import ErrorRates, word_error_rates
from espnet_kd.whisper.normalisers import Normaliser, strip_specials


@dataclass(frozen=True)
class TranscriptScores:
    """Error counts at each strictness."""

    raw: ErrorRates
    """Words as they are."""

    raw_characters: ErrorRates
    """Characters as they are."""

    ortho: ErrorRates
    """Words as written."""

    ortho_characters: ErrorRates
    """Characters as written."""

    normalised: ErrorRates
    """Words after the normaliser."""

    normalised_characters: ErrorRates
    """Characters after the normaliser."""

    empty_references: int
    """Utterances left out of the normalised rates."""

    def metrics(self) -> dict[str, float | int]:
        """Rates in percent, two decimals; ``WER`` and ``CER`` are the normalised ones."""
        rates = {
            "WER": self.normalised,
            "CER": self.normalised_characters,
            "wer_ortho": self.ortho,
            "cer_ortho": self.ortho_characters,
            "wer_raw": self.raw,
            "cer_raw": self.raw_characters,
        }
        rounded = {name: round(rate.error_rate, 2) for name, rate in rates.items()}
        return {**rounded, "empty_references": self.empty_references}


def score_transcripts(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    normalise: Normaliser,
    *,
    letters: bool = False,
) -> TranscriptScores:
    """Score one data set.

    Args:
        references: utterance to true text.
        hypotheses: utterance to recognised text; the same utterances.
        normalise: applied to both sides for the normalised rates.
        letters: the normaliser splits words into letters; the CER then ignores the spaces.

    Raises:
        DataDirError: other utterances, or no reference has a word.
    """
    clean = {key: normalise(strip_specials(text)).strip() for key, text in references.items()}
    kept = [key for key in clean if clean[key]]
    if not kept:
        raise DataDirError("no reference has a word after normalisation; there is nothing to score")
    ours = {key: clean[key] for key in kept}
    theirs = {key: normalise(strip_specials(hypotheses.get(key, ""))).strip() for key in kept}
    written = {key: orthographic(text) for key, text in references.items()}
    heard = {key: orthographic(text) for key, text in hypotheses.items()}
    joint = {key: text.replace(" ", "") for key, text in ours.items()} if letters else ours
    split = {key: text.replace(" ", "") for key, text in theirs.items()} if letters else theirs
    return TranscriptScores(
        raw=word_error_rates(references, hypotheses),
        raw_characters=word_error_rates(references, hypotheses, characters=True),
        ortho=word_error_rates(written, heard),
        ortho_characters=word_error_rates(written, heard, characters=True),
        normalised=word_error_rates(ours, theirs),
        normalised_characters=word_error_rates(joint, split, characters=True),
        empty_references=len(clean) - len(kept),
    )


def orthographic(text: str) -> str:
    """Canonical composition (NFC), single spaces, no special tokens."""
    return " ".join(unicodedata.normalize("NFC", strip_specials(text)).split())
