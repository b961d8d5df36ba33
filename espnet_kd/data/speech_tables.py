"""Corpora that come as a table of clips beside a folder of audio: Common Voice, MASC and the like.

A row names an audio file and what is said in it, perhaps the speaker, perhaps a stretch of the
file in seconds. Columns are found by the names that published corpora use; others can be given.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.segments import Span
from espnet_kd.data.speech_source import KaldiSource
from espnet_kd.errors import DataDirError

KNOWN = {
    "audio": ("path", "file_path", "audio", "file", "filename", "video_id"),
    "text": ("sentence", "text", "transcript", "transcription"),
    "speaker": ("client_id", "speaker_id", "speaker", "video_id"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "id": ("id", "utterance_id", "segment_id"),
}
"""Role of a column -> names that it may have, the first that is there counts."""

FOLDERS = ("", "clips", "audios", "audio", "wavs", "wav")
"""Where audio lies, as seen from the table."""
SUFFIXES = ("", ".mp3", ".wav", ".flac", ".ogg")
"""What is put behind names of files without a suffix."""
SPEAKER_LETTERS = 32
"""Longer names of speakers (Common Voice hashes them to 128 letters) are cut."""


@dataclass
class TableSource(KaldiSource):
    """The rows of a ``.tsv`` or ``.csv`` file as speech; ``folder`` is that file."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role of :data:`KNOWN` -> column, where it has another name."""

    def _load(self) -> KaldiDir:
        return read_speech_table(self.folder, self.columns)


def read_speech_table(file: str | Path, columns: Mapping[str, str] | None = None) -> KaldiDir:
    """Read a table as the tables of a Kaldi folder; no audio is opened.

    Utterances are called ``speaker-clip``, as Kaldi sorts them; rows without a transcript have
    none.

    Args:
        file: tab-separated with the suffix ``.tsv``, otherwise comma-separated, with a header.
        columns: role of :data:`KNOWN` -> name of its column.

    Raises:
        DataDirError: no such file, no row, a column that is missing, a stretch that is none.
    """
    path = Path(file)
    rows = _rows(path)
    roles = _roles(path, list(rows[0]), columns or {})
    places = _Places(path.parent)
    data = KaldiDir({}, {})
    for number, row in enumerate(rows, 2):
        _add(data, row, roles, places, f"{path}:{number}")
    return data


def common_voice_table(root: str | Path, split: str, language: str = "") -> Path:
    """The table of a split in an unpacked release: ``ROOT/LANGUAGE/SPLIT.tsv``, or below it.

    Args:
        root: the release, its folder of a language, or a folder that holds the release.
        split: ``train``, ``dev``, ``test``, ``validated``, ...
        language: code, needed where ``root`` is not the folder of a language.

    Raises:
        DataDirError: there is no such table, or there are several.
    """
    folder = Path(root)
    name = f"{split}.tsv"
    found = [
        place for place in (folder / name, folder / language / name) if place.is_file()
    ] or sorted(folder.glob(f"*/{language or '*'}/{name}"))
    if len(dict.fromkeys(found)) != 1:
        what = f"several: {', '.join(map(str, found))}" if found else "not there"
        raise DataDirError(
            f"{folder}: {language or 'LANGUAGE'}/{name} is {what}; give the folder of an unpacked "
            f"Common Voice release, which has LANGUAGE/{name} and LANGUAGE/clips"
        )
    return found[0]


class _Places:
    """Where the files that rows name lie; the place of the last one is tried first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._order = [(folder, suffix) for folder in FOLDERS for suffix in SUFFIXES]

    def find(self, name: str) -> Path:
        for place in self._order:
            folder, suffix = place
            path = self._root / folder / f"{name}{suffix}"
            if path.is_file():
                self._order.remove(place)
                self._order.insert(0, place)
                return path
        return self._root / name  # reading it will say that it is not there


class _Tabs(csv.excel_tab):
    """Common Voice writes quotation marks as they are."""

    quoting = csv.QUOTE_NONE


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            dialect = _Tabs if path.suffix == ".tsv" else csv.excel
            rows = list(csv.DictReader(stream, dialect=dialect))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataDirError(f"{path}: cannot be read as a table: {error}") from error
    if not rows:
        raise DataDirError(f"{path}: has no row behind its header")
    return rows


def _roles(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    problems = [
        f"there is no column {name!r} for {role}"
        for role, name in given.items()
        if name not in header
    ]
    roles = dict(given)
    for role, names in KNOWN.items():
        known = [name for name in names if name in header]
        if role not in roles and known:
            roles[role] = known[0]
    if "audio" not in roles:
        problems.append(f"no column names the audio files (known: {', '.join(KNOWN['audio'])})")
    if problems:
        raise DataDirError(f"{path}: {'; '.join(problems)}; it has {', '.join(header)}")
    return roles


def _add(
    data: KaldiDir, row: Mapping[str, str], roles: Mapping[str, str], places: _Places, where: str
) -> None:
    def cell(role: str) -> str:
        return " ".join((row.get(roles.get(role, ""), "") or "").split())

    name = cell("audio")
    if not name:
        raise DataDirError(f"{where}: no audio file is named; remove the line")
    stem = Path(name).stem
    speaker = cell("speaker").replace(" ", "_")[:SPEAKER_LETTERS] or stem
    recording = stem if stem.startswith(speaker) else f"{speaker}-{stem}"
    utterance, span = recording, _span(cell("start"), cell("end"), recording, where)
    if span is not None:
        times = f"{round(100 * span.start):07d}-{round(100 * span.end):07d}"
        own = cell("id").replace(" ", "_")
        utterance = f"{speaker}-{own}" if own else f"{recording}-{times}"
    if utterance in data.utt2spk:
        raise DataDirError(f"{where}: {utterance} is there twice; remove one of the lines")
    if recording not in data.wav_scp:
        data.wav_scp[recording] = str(places.find(name))
    data.utt2spk[utterance] = speaker
    if cell("text"):
        data.text[utterance] = cell("text")
    if span is not None:
        data.segments[utterance] = span


def _span(start: str, end: str, recording: str, where: str) -> Span | None:
    """The stretch that two cells name; None where both are empty."""
    if not start and not end:
        return None
    try:
        span = Span(recording, float(start), float(end))
    except ValueError:
        span = Span(recording, 0.0, 0.0)
    if not 0 <= span.start < span.end < math.inf:
        raise DataDirError(f"{where}: {start!r} to {end!r} is no stretch of seconds")
    return span
