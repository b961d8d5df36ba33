"""Speaking styles that stand for emotions in corpora that are made here.

Nobody feels anything in them: a synthetic voice gets other settings, a recording is played at
another speed, louder or trembling. A model that tells them apart recognises a *speaking style*.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How an utterance differs from the same speaker's neutral way; factors and decibels."""

    label: str
    """IEMOCAP's name of the emotion that the style stands for."""

    pitch: float = 1.0
    """Factor on a synthetic voice's base pitch."""

    liveliness: float = 1.0
    """Factor on a synthetic voice's pitch range."""

    pace: float = 1.0
    """Factor on the speaking rate; recordings: on how short the pauses are."""

    volume_db: float = 0.0
    """Louder (positive) or softer."""

    tape: float = 1.0
    """Factor on the playback speed of recordings, which moves their pitch along."""

    tremolo: float = 0.0
    """Depth of a 7 Hz tremble of recordings, 0-1."""


NEUTRAL = Style("neu")
"""The ordinary way."""

STYLES = (
    NEUTRAL,
    Style("hap", pitch=1.2, liveliness=1.5, pace=1.1, volume_db=3, tape=1.12),
    Style("exc", pitch=1.35, liveliness=1.8, pace=1.25, volume_db=5, tape=1.2),
    Style("ang", pitch=1.1, liveliness=1.3, pace=1.3, volume_db=9, tape=1.05, tremolo=0.5),
    Style("sad", pitch=0.75, liveliness=0.3, pace=0.75, volume_db=-6, tape=0.85),
    Style("fru", pitch=0.9, liveliness=0.6, pace=0.9, volume_db=3, tape=0.95, tremolo=0.25),
)
"""One style per label; S3PRL's task leaves ``fru`` out and counts ``exc`` as ``hap``."""
