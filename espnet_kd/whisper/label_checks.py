"""Signs of a bad label that need no reference: cut, empty, a loop, timestamps out of order.

The published command cannot tell a label that the length cap cut from a finished one, nor a
hallucinated loop from speech; students learn both (spec whisper.md 2.3).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from espnet_kd.utils.options import too_small
from espnet_kd.whisper.hypothesis import Hypothesis
from espnet_kd.whisper.labels import timestamps_in_order
from espnet_kd.whisper.specials import SpecialIds

TIMESTAMP_SECONDS = 0.02
_BEHIND_SECONDS = 1.0
"""How far a timestamp may lie behind the end of the speech: models round the end up."""

_LONGEST_PERIOD = 30


@dataclass(frozen=True, kw_only=True)
class LoopLimits:
    """What counts as a loop rather than as speech."""

    compression_ratio_threshold: float = 2.4
    """Text that zlib makes smaller than 1 / 2.4 repeats itself (OpenAI's transcription: 2.4)."""

    max_repeats: int = 8
    """More direct repetitions of a token or phrase than this are a loop, in short texts too."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        return too_small(self, {"compression_ratio_threshold": 1, "max_repeats": 1})


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes a text; 0 for an empty one.

    Characters are numbered before: as UTF-8, Arabic or Hindi (two or three bytes, the first nearly
    always the same) would seem to repeat itself. Latin text gets OpenAI's ratio.
    """
    if not text:
        return 0.0
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    width = 1 if len(number) <= 256 else 2
    coded = b"".join(number[character].to_bytes(width, "big") for character in text)
    return len(coded) / len(zlib.compress(coded))


def most_repeats(tokens: Sequence[int], longest_period: int = _LONGEST_PERIOD) -> int:
    """How often a token, or a phrase of up to ``longest_period``, comes directly one after another.

    1 where nothing is repeated, 0 where there is nothing.
    """
    best = min(1, len(tokens))
    for period in range(1, min(longest_period, len(tokens) // 2) + 1):
        run = 0
        for token, before in zip(tokens[period:], tokens, strict=False):
            run = run + 1 if token == before else 0
            best = max(best, run // period + 1)
    return best


def timestamps_fit(tokens: Sequence[int], duration: float, specials: SpecialIds) -> bool:
    """Whether timestamps never go back and none lies behind the end of the speech.

    Args:
        tokens: of a label.
        duration: length of the speech in seconds.
        specials: ids of the special tokens.
    """
    last = max((token - specials.timestamp_begin for token in tokens), default=0)
    behind = last * TIMESTAMP_SECONDS > duration + _BEHIND_SECONDS
    return timestamps_in_order(tokens, specials) and not behind


def label_flags(
    hypothesis: Hypothesis,
    text: str,
    duration: float,
    specials: SpecialIds,
    limits: LoopLimits,
) -> list[str]:
    """What is wrong with a label: ``truncated``, ``empty``, ``repeated``, ``timestamps``.

    Args:
        hypothesis: the decoded label.
        text: what it says, without special tokens.
        duration: length of the speech in seconds.
        specials: ids of the special tokens.
        limits: what counts as a loop.
    """
    words = [i for i in hypothesis.tokens if i < specials.end]
    loop = compression_ratio(text) > limits.compression_ratio_threshold
    found = {
        "truncated": not hypothesis.finished,
        "empty": not text,
        "repeated": loop or most_repeats(words) > limits.max_repeats,
        "timestamps": not timestamps_fit(hypothesis.tokens, duration, specials),
    }
    return [name for name, wrong in found.items() if wrong]
