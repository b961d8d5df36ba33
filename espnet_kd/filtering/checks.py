"""Labels that no score can save: empty, cut off, looping, in the wrong language, out of order."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.filtering.text_shape import phrase_repeats
from espnet_kd.whisper.label_checks import compression_ratio

_TIMESTAMP = re.compile(r"<\|(\d+\.\d\d)\|>")
_SLACK = 1.0
"""Seconds by which the last timestamp may lie behind the end: models round it up."""


@dataclass(frozen=True)
class Checks:
    """What is dropped whatever its scores are."""

    language: str | None = None
    """Labels of another language are dropped; None: any language."""

    max_repeats: int = 8
    """A phrase that stands more often than this in a row is a hallucinated loop; 0 = no limit."""

    max_compression: float = 2.4
    """A text that zlib makes more times smaller than this is a loop; 0 = no limit."""

    truncated: bool = True
    """Drop labels that decoding cut off: they teach a student to stop early."""

    timestamps: bool = True
    """Drop labels whose timestamps go backwards or lie behind the end of the audio."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        return [
            f"{name} is {value}; it must be at least 1, or 0 for no limit"
            for name in ("max_repeats", "max_compression")
            if not ((value := getattr(self, name)) == 0 or value >= 1)
        ]

    def problem(self, label: PseudoLabel) -> str:
        """Why the label is dropped; empty if it passes."""
        if not label.text.strip():
            return "empty label"
        if self.language and label.language != self.language:
            return f"language: {label.language}, not {self.language}"
        if self.truncated and label.truncated:
            return "truncated: no end token before the length limit"
        if self.timestamps and not _in_order(label):
            return "timestamps: they go back, or beyond the audio"
        return self._loop(label.text)

    def _loop(self, text: str) -> str:
        if self.max_repeats and (repeats := phrase_repeats(text)) > self.max_repeats:
            return f"loop: a phrase {repeats} times in a row"
        if self.max_compression and (ratio := compression_ratio(text)) > self.max_compression:
            return f"loop: zlib makes it {ratio:.1f} times smaller"
        return ""


def _in_order(label: PseudoLabel) -> bool:
    """By what labelling found, and by the text for labels of other makers."""
    if "timestamps" in label.flags:
        return False
    if not isinstance(label.whisper_transcript, str):
        return True
    times = [float(found) for found in _TIMESTAMP.findall(label.whisper_transcript)]
    ascending = all(earlier <= later for earlier, later in itertools.pairwise(times))
    return ascending and (not times or times[-1] <= label.duration + _SLACK)
