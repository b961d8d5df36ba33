"""A folder of pseudo-labels: ``labels.jsonl`` beside a Kaldi data folder's tables.

Every line of ``labels.jsonl`` is one :class:`PseudoLabel`; keys that are not its own are kept as
they are. A run that is not finished has only shards (``labels.NN.jsonl``) and is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy
from espnet_kd.data.kaldi_dir import speakers_to_utterances
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.data.tables import read_table, write_table
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import atomic_folder
from espnet_kd.utils.jsonl import read_jsonl, write_jsonl
from espnet_kd.utils.options import short

LABELS = "labels.jsonl"
TABLES = ("text", "utt2spk", "utt2num_samples", "utt2dur", "utt2lang", "segments", "wav.scp")
"""Tables that are split with the labels; spk2utt is made anew."""

REPLACED = (LABELS, "labels.*.jsonl", "*.json", "spk2utt", *TABLES)
"""What a folder that is written again may hold."""


@dataclass(frozen=True)
class PseudoLabel:
    """What a teacher heard in one utterance."""

    id: str
    """Utterance."""

    text: str
    """Label without special tokens."""

    whisper_transcript: str | None = None
    """Label with special tokens, the published column."""

    token_ids: tuple[int, ...] = ()
    """Prefix, text, and end token."""

    language: str | None = None
    """Code of the label's language."""

    task: str = "transcribe"
    """``transcribe`` or ``translate``."""

    duration: float | None = None
    """Seconds of audio."""

    source_ids: tuple[str, ...] = ()
    """Utterances that were joined into this one."""

    condition_on_prev: int = 0
    """1 where the line before it is the same speaker's previous text."""

    reference: str | None = None
    """True transcript, where there is one."""

    avg_logprob: float | None = None
    """Mean log-probability of the label's tokens, natural logarithm."""

    mean_entropy: float | None = None
    """Mean entropy of the teacher's distributions over those tokens, in nats."""

    num_tokens: int | None = None
    """Tokens over which both were averaged."""

    truncated: bool = False
    """Whether decoding hit its cap before the end token."""

    extra: dict[str, Any] = field(default_factory=dict, compare=False)
    """Keys of the line that are none of the above."""

    def to_record(self) -> dict[str, Any]:
        """The line's object."""
        names = (f.name for f in dataclasses.fields(self) if f.name != "extra")
        return {name: getattr(self, name) for name in names} | self.extra


@dataclass
class LabelFolder:
    """Labels in the order of the file, and where their audio is."""

    labels: list[PseudoLabel]
    """All labels."""

    tables: dict[str, dict[str, str]]
    """Kaldi table to key to value; only tables that are there."""

    recordings: Recordings | None
    """The audio; None without wav.scp."""


_NUMBER = (int, float)
_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,), "text": (str,), "whisper_transcript": (str,), "token_ids": (list,),
    "language": (str,), "task": (str,), "duration": _NUMBER, "source_ids": (list,),
    "condition_on_prev": (int,), "reference": (str,), "avg_logprob": _NUMBER,
    "mean_entropy": _NUMBER, "num_tokens": (int,), "truncated": (bool,),
}  # fmt: skip
_NEVER_NULL = ("id", "text", "token_ids", "task", "source_ids", "condition_on_prev", "truncated")


def read_labels(path: str | Path) -> list[PseudoLabel]:
    """Read one ``labels.jsonl``.

    Raises:
        DataDirError: names the line that is no label, or repeats an id.
    """
    seen: dict[str, int] = {}
    labels = []
    for number, record in read_jsonl(path):
        label = _label(record, f"{path}:{number}")
        if label.id in seen:
            raise DataDirError(
                f"{path}:{number}: utterance {label.id} was there before, in line {seen[label.id]};"
                " remove one"
            )
        seen[label.id] = number
        labels.append(label)
    if not labels:
        raise DataDirError(f"{path} holds no label")
    return labels


def read_label_folder(folder: str | Path, policy: AudioPolicy = DEFAULT_POLICY) -> LabelFolder:
    """Read labels and tables; no audio is opened.

    Raises:
        DataDirError: no labels, unfinished labels, or tables with problems.
    """
    source = Path(folder)
    if not (source / LABELS).is_file():
        shards = sorted(source.glob("labels.*.jsonl"))
        what = (
            f"only {len(shards)} unfinished shard(s); start the same labelling command again"
            if shards
            else "make it with espnet_kd.bin.whisper_pseudo_label"
        )
        raise DataDirError(f"{source} has no {LABELS}: {what}")
    labels = read_labels(source / LABELS)
    tables = {
        name: {key: row.value for key, row in read_table(source / name).first().items()}
        for name in TABLES
        if (source / name).is_file()
    }
    recordings = open_recordings(source, policy) if "wav.scp" in tables else None
    return LabelFolder(labels, tables, recordings)


def write_label_folder(
    folder: str | Path,
    labels: Sequence[PseudoLabel],
    tables: Mapping[str, Mapping[str, str]],
) -> None:
    """Write these labels and the rows of ``tables`` that are about them; all or nothing.

    Args:
        folder: an earlier folder of labels there is replaced.
        labels: in the order to write.
        tables: see :class:`LabelFolder`; rows of other utterances are left out.
    """
    ids = {label.id for label in labels}
    with atomic_folder(folder, replaces=REPLACED) as new:
        for name, rows in _rows_about(ids, tables).items():
            write_table(new / name, rows)
        if "utt2spk" in tables and ids & tables["utt2spk"].keys():
            kept = {key: value for key, value in tables["utt2spk"].items() if key in ids}
            write_table(new / "spk2utt", speakers_to_utterances(kept))
        write_jsonl(new / LABELS, (label.to_record() for label in labels))


def _rows_about(
    ids: set[str], tables: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    segments = tables.get("segments")
    recordings = ids
    if segments is not None:
        recordings = {value.split()[0] for key, value in segments.items() if key in ids}
    found = {}
    for name, rows in tables.items():
        wanted = recordings if name == "wav.scp" else ids
        found[name] = {key: value for key, value in rows.items() if key in wanted}
    return found


def merge_tables(
    folders: Iterable[LabelFolder],
) -> dict[str, dict[str, str]]:
    """Join the tables of several folders.

    Raises:
        DataDirError: two folders give one key different values.
    """
    merged: dict[str, dict[str, str]] = {}
    for folder in folders:
        for name, rows in folder.tables.items():
            table = merged.setdefault(name, {})
            clash = next((k for k in rows if k in table and table[k] != rows[k]), None)
            if clash is not None:
                raise DataDirError(
                    f"{name}: {clash} is {table[clash]!r} in one folder and {rows[clash]!r} in "
                    "another; give its utterances different ids"
                )
            table.update(rows)
    return merged


def _label(record: Mapping[str, Any], where: str) -> PseudoLabel:
    problems = [name for name in ("id", "text") if name not in record]
    if problems:
        raise DataDirError(f"{where}: no {' and no '.join(problems)}; this is no pseudo-label")
    for name, kinds in _TYPES.items():
        value = record.get(name)
        if value is None and (name not in record or name not in _NEVER_NULL):
            continue
        if not isinstance(value, kinds):
            raise DataDirError(f"{where}: {name} is {short(value)}, which makes no sense")
    known = {
        name: tuple(record[name]) if isinstance(record[name], list) else record[name]
        for name in _TYPES
        if name in record
    }
    return PseudoLabel(**known, extra={k: v for k, v in record.items() if k not in _TYPES})
