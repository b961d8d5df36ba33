"""The file ``labels.jsonl`` of a labelled folder: one pseudo-label a line, with its scores."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError
from espnet_kd.utils.options import short

LABELS = "labels.jsonl"
"""Name of the file; it is written last, so a folder that has it is complete."""


@dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """What a teacher says about one segment."""

    id: str
    """Segment, as in ``wav.scp`` (or ``segments``)."""

    text: str
    """What is said, without special tokens and timestamps."""

    whisper_transcript: str | list[int]
    """The published column: text with special tokens, or the ids (--decode_token_ids false)."""

    token_ids: list[int]
    """Prefix, text and timestamps, and the end token unless the label was cut."""

    language: str
    """Language code that the prefix names; ``en`` for English-only models."""

    task: str
    """``transcribe`` or ``translate``."""

    duration: float
    """Seconds of speech."""

    source_ids: list[str]
    """Utterances that are heard in the segment, in order."""

    condition_on_prev: int
    """1 where the same speaker's segment before it is the line before, else 0."""

    reference: str | None
    """Transcript of the data, null where there is none."""

    avg_logprob: float | None
    """Mean ln p of the tokens and the end token."""

    mean_entropy: float | None
    """Mean entropy in nats of the distributions they were chosen from; null from CTranslate2."""

    num_tokens: int
    """Tokens decoded: text, timestamps and the end token."""

    truncated: bool
    """Whether the length cap cut the label before its end token."""

    compression_ratio: float = 0.0
    """How many times smaller zlib makes the text; above 2.4 it repeats itself."""

    flags: list[str] = field(default_factory=list)
    """What is wrong: truncated, empty, repeated, timestamps."""

    prompt_ids: list[int] | None = None
    """Text and timestamps of the label before, to be put behind startofprev; null where none."""

    speaker: str = ""
    """Speaker; empty where unknown."""

    def line(self) -> str:
        """A line of the file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False) + "\n"


def parse_label(values: Any, where: str) -> PseudoLabel:
    """A label from a parsed line; keys that are not ours (scores of a filter) are left alone.

    Raises:
        DataDirError: missing keys or values of another type; all are listed.
    """
    if not isinstance(values, dict):
        raise DataDirError(f"{where}: holds a {type(values).__name__} instead of an object")
    kinds, required = _kinds(), _REQUIRED
    problems = [f"{name} is missing" for name in required if name not in values]
    problems += [
        f"{name} is {short(values[name])}, which must be {' or '.join(k.__name__ for k in kind)}"
        for name, kind in kinds.items()
        if name in values and not isinstance(values[name], kind)
    ]
    if problems:
        raise DataDirError(f"{where}: {'; '.join(problems)}")
    return PseudoLabel(**{name: values[name] for name in kinds if name in values})


_REQUIRED = [
    f.name
    for f in dataclasses.fields(PseudoLabel)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
]


@functools.cache
def _kinds() -> dict[str, tuple[type, ...]]:
    """Field -> classes that its JSON value may have."""
    kinds: dict[str, tuple[type, ...]] = {}
    for name, hint in typing.get_type_hints(PseudoLabel).items():
        members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        found = tuple(typing.get_origin(member) or member for member in members)
        kinds[name] = (*found, int) if float in found else found
    return kinds


def read_labels(folder: str | Path) -> Iterator[PseudoLabel]:
    """Labels of a folder in order.

    Raises:
        DataDirError: the folder has no labels, or a line is damaged (its number is named).
    """
    path = Path(folder) / LABELS
    if not path.is_file():
        raise DataDirError(
            f"{path}: no such file; label first (bin.whisper_pseudo_label), or let it finish"
        )
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                values = json.loads(line)
            except ValueError as error:
                raise DataDirError(f"{path}:{number}: not JSON: {error}") from None
            yield parse_label(values, f"{path}:{number}")
