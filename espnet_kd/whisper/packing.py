"""Utterances of a speaker joined into segments of up to 30 s, as Distil-Whisper's labelling does.

Whisper always sees 30 s: one sentence of 4 s wastes the rest, and students trained on short clips
do badly on full windows. Source: Distil-Whisper (arXiv 2311.00430) and spec whisper.md 2.2.
Lengths are samples at the model's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from espnet_kd.errors import WhisperError


@dataclass(frozen=True)
class Clip:
    """A stretch of one recording: an utterance, or a piece of one that is too long."""

    id: str
    """Unique name."""

    samples: int
    """Length."""

    speaker: str = ""
    """Only clips of one speaker are joined; the same everywhere where speakers are unknown."""

    text: str | None = None
    """Reference; None if there is none, as for a piece of an utterance."""

    source_id: str = ""
    """Utterance that the clip belongs to; empty = ``id``."""

    where: Any = None
    """Where the samples are read from; nothing here looks at it."""

    start: int = 0
    """First sample inside the recording."""

    ranged: bool = False
    """Whether the recording has more than this clip."""

    continues: bool = False
    """Whether it goes on exactly where the clip before ends."""


@dataclass(frozen=True)
class Segment:
    """Clips that are heard as one, in order and without silence between them."""

    clips: tuple[Clip, ...]
    """At least one."""

    condition_on_prev: bool
    """Whether the same speaker's speech comes directly before: its text may be the prompt."""

    @property
    def id(self) -> str:
        """The clip's id; of n joined clips the first one's, ``+`` and n - 1."""
        first, *others = self.clips
        return f"{first.id}+{len(others)}" if others else first.id

    @property
    def samples(self) -> int:
        """Length."""
        return sum(clip.samples for clip in self.clips)

    @property
    def speaker(self) -> str:
        """Speaker of all clips."""
        return self.clips[0].speaker

    @property
    def text(self) -> str | None:
        """References joined by a space; None if one is missing."""
        texts = [clip.text for clip in self.clips if clip.text is not None]
        return " ".join(texts) if len(texts) == len(self.clips) else None

    @property
    def source_ids(self) -> list[str]:
        """Utterances that are heard in the segment, in order."""
        return list(dict.fromkeys(clip.source_id or clip.id for clip in self.clips))


def pack(
    clips: Iterable[Clip],
    max_samples: int,
    *,
    batch_size: int | None = None,
    long_clips: Literal["refuse", "keep"] = "refuse",
) -> Iterator[Segment]:
    """Join clips that follow each other, have the same speaker and fit together.

    Args:
        clips: in order, those of a speaker together (sort them first, stably).
        max_samples: longest segment.
        batch_size: never join across a multiple of so many clips, nor call what follows it a
            continuation (published: 500). By default only speakers and lengths are borders.
        long_clips: what to do with a clip longer than ``max_samples``: ``refuse`` (split it before,
            see :func:`espnet_kd.whisper.splitting.split_clip`) or ``keep`` it alone and whole
            (published; the features are cut later, the reference is not).

    Raises:
        WhisperError: a clip is too long.
    """
    current: list[Clip] = []
    flag = False
    for number, clip in enumerate(clips):
        if clip.samples > max_samples and long_clips == "refuse":
            raise WhisperError(
                f"utterance {clip.id} has {clip.samples} samples, a segment at most {max_samples}; "
                "split it, or leave it out"
            )
        border = batch_size is not None and number % batch_size == 0
        goes_on = bool(current) and not border and clip.speaker == current[0].speaker
        if goes_on and sum(c.samples for c in current) + clip.samples <= max_samples:
            current.append(clip)
            continue
        if current:
            yield Segment(tuple(current), flag)
        current, flag = [clip], goes_on
    if current:
        yield Segment(tuple(current), flag)


def one_by_one(clips: Iterable[Clip]) -> Iterator[Segment]:
    """A segment of each clip; only pieces of one utterance continue each other."""
    for clip in clips:
        yield Segment((clip,), clip.continues)


def published_id(dataset: str, segment: Segment, row: int) -> str:
    """Name as the published command gives it: ``dataset-speaker-row``, or ``dataset-row``.

    Args:
        dataset: first part of the name.
        segment: its speaker is the second part, unless it is empty.
        row: number of the segment.
    """
    return "-".join(part for part in (dataset, segment.speaker, str(row)) if part)
