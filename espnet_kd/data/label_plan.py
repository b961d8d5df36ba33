"""What will be labelled, in which segments and batches: fixed before the first label is made.

Batches depend on data and options alone, not on the number of processes nor on what an earlier run
has done, so a resumed run computes what an unbroken one would.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from espnet_kd.data.speech_source import Note, SpeechSource
from espnet_kd.errors import AudioError, DataDirError
from espnet_kd.utils.files import atomic_path
from espnet_kd.whisper.packing import Clip, Segment, one_by_one, pack, published_id
from espnet_kd.whisper.splitting import split_clip

PLAN = "plan.jsonl"


@dataclass(frozen=True)
class PlannedSegment:
    """A segment with its place in the output and in the work."""

    index: int
    """Position in the output."""

    batch: int
    """Number of its batch."""

    id: str
    """Unique name."""

    segment: Segment
    """What is heard."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How utterances become segments and batches."""

    max_samples: int
    """Longest segment."""

    batch_size: int
    """Segments of a batch."""

    concatenate_audio: bool = True
    """Join utterances of a speaker."""

    preprocessing_batch_size: int = 0
    """Never join across a multiple of so many rows (published 500); 0 = only speakers count."""

    long_audio: Literal["split", "skip"] = "split"
    """What becomes of an utterance longer than a segment: cut where it is quiet, or left out."""

    segment_ids: Literal["source", "published"] = "source"
    """Names: of the first utterance and how many follow it, or dataset, speaker and number."""

    window: int = 8
    """Batches whose segments are sorted by length together."""


def plan_segments(
    source: SpeechSource, options: PlanOptions, note: Note
) -> Iterator[PlannedSegment]:
    """All segments, batch after batch.

    Raises:
        DataDirError: two segments would have the same name.
    """
    clips = _fitting(source, options, note)
    segments = (
        pack(clips, options.max_samples, batch_size=options.preprocessing_batch_size or None)
        if options.concatenate_audio
        else one_by_one(clips)
    )
    seen: set[str] = set()
    numbered = enumerate(segments)
    for first_batch in itertools.count(0, options.window):
        window = list(itertools.islice(numbered, options.window * options.batch_size))
        if not window:
            return
        # Longest first: if a batch does not fit into memory, it shows at once.
        window.sort(key=lambda pair: -pair[1].samples)
        for place, (index, segment) in enumerate(window):
            published = options.segment_ids == "published"
            name = published_id(source.name, segment, index) if published else segment.id
            if name in seen:
                raise DataDirError(
                    f"{source.name}: two segments would be called {name}; rename that utterance"
                )
            seen.add(name)
            batch = first_batch + place // options.batch_size
            yield PlannedSegment(index, batch, name, segment)


def _fitting(source: SpeechSource, options: PlanOptions, note: Note) -> Iterator[Clip]:
    """The source's clips, long ones in pieces."""
    for clip in source.clips(note):
        if clip.samples <= options.max_samples:
            yield clip
        elif options.long_audio == "skip":
            note(clip.id, f"has {clip.samples} samples, a segment at most {options.max_samples}")
        else:
            try:
                wave_S = source.read(clip)
            except AudioError as error:
                note(clip.id, str(error))
                continue
            yield from split_clip(clip, wave_S, options.max_samples)


def batches(planned: Iterable[PlannedSegment]) -> Iterator[list[PlannedSegment]]:
    """The segments of one batch after another."""
    for _, group in itertools.groupby(planned, key=lambda item: item.batch):
        yield list(group)


def write_plan(path: Path, planned: Iterable[PlannedSegment]) -> None:
    """Write a plan, whole or not at all."""
    with atomic_path(path) as new, new.open("w", encoding="utf-8") as stream:
        for item in planned:
            stream.write(json.dumps(_as_json(item), ensure_ascii=False) + "\n")


def read_plan(path: Path) -> Iterator[PlannedSegment]:
    """Read what :func:`write_plan` wrote."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            values = json.loads(line)
            clips = tuple(Clip(**clip) for clip in values["clips"])
            segment = Segment(clips, values["condition_on_prev"])
            yield PlannedSegment(values["index"], values["batch"], values["id"], segment)


def _as_json(item: PlannedSegment) -> dict[str, Any]:
    usual = asdict(Clip("", -1))
    clips = [
        {key: value for key, value in asdict(clip).items() if value != usual[key]}
        for clip in item.segment.clips
    ]
    return {
        "index": item.index,
        "batch": item.batch,
        "id": item.id,
        "condition_on_prev": item.segment.condition_on_prev,
        "clips": clips,
    }
