"""Labels that no score can save: empty, cut off, looping, in the wrong language, out of order."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from espnet_kd.data.label_folder import PseudoLabel
from espnet_kd.filtering.text_shape import most_repeats

_TIMESTAMP = re.compile(r"<\|(\d+\.\d\d)\|>")
_SLACK = 0.5
"""Seconds by which the last timestamp may lie behind the end: Whisper rounds ends up."""


@dataclass(frozen=True)
class Checks:
    """What is dropped whatever its scores are."""

    language: str | None = None
    """Labels of another language are dropped; None: any language."""

    max_repeats: int = 8
    """A phrase that stands more often than this in a row is a hallucinated loop; 0 = no limit."""

    truncated: bool = True
    """Drop labels that decoding cut off: they teach a student to stop early."""

    timestamps: bool = True
    """Drop labels whose timestamps go backwards or lie behind the end of the audio."""

    def problem(self, label: PseudoLabel) -> str:
        """Why the label is dropped; empty if it passes."""
        if not label.text.strip():
            return "empty label"
        if self.language and label.language and label.language != self.language:
            return f"language {label.language}, not {self.language}"
        if self.truncated and label.truncated:
            return "truncated: no end token before the length limit"
        if self.timestamps and (problem := _timestamps(label)):
            return problem
        if self.max_repeats and (repeats := most_repeats(label.text)) > self.max_repeats:
            return f"loop: a phrase {repeats} times in a row"
        return ""


def _timestamps(label: PseudoLabel) -> str:
    times = [float(found) for found in _TIMESTAMP.findall(label.whisper_transcript or "")]
    if any(later < earlier for earlier, later in itertools.pairwise(times)):
        return "timestamps out of order"
    if times and label.duration is not None and max(times) > label.duration + _SLACK:
        return "timestamp behind the end of the audio"
    return ""
