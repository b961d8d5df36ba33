"""Recordings that the lists of a corpus name, compared with the disk; no audio is decoded."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError

INTENT_COLUMNS = ("path", "action", "object", "location")
"""Columns of Fluent Speech Commands that S3PRL reads."""

SLOTS = "all.iob.snips.txt"
"""Transcripts in the folder of Audio SNIPS: ``ID BOS words EOS<TAB>tags``."""

_SHOWN = 10


class Disk:
    """Knows which files are there. Each folder is read once: VoxCeleb1 has 150,000 files."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str]] = {}

    def holds(self, path: str | Path) -> bool:
        """Whether this is a file."""
        folder, name = os.path.split(path)
        if folder not in self._files:
            self._files[folder] = _files(folder or ".")
        return name in self._files[folder]


def _files(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def compare(source: object, names: Iterable[str], folders: Sequence[Path]) -> list[str]:
    """Look for every recording of a list.

    Args:
        source: the list, for the message.
        names: paths inside the folders.
        folders: each recording must be in one of them; none = the names are whole paths.

    Returns:
        One problem that names the first ten missing recordings, or none.
    """
    disk, wanted = Disk(), list(dict.fromkeys(names))
    roots = folders or [Path()]
    lost = [n for n in wanted if not any(disk.holds(os.path.join(root, n)) for root in roots)]
    place = f"in {' or '.join(map(str, folders))}" if folders else "there"
    return say(source, lost, len(wanted), place)


def say(source: object, lost: Sequence[str], total: int, place: str) -> list[str]:
    """Return the problem of a list with missing recordings, or without any recording, or none."""
    if not total:
        return [f"{source} names no recordings"]
    if not lost:
        return []
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return [
        f"{len(lost)} of {total} recordings that {source} names are not {place}: "
        f"{', '.join(lost[:_SHOWN])}{more}. Restore them, or remove their lines"
    ]


def split_names(path: Path) -> list[str]:
    """Return the recordings in VoxCeleb1's lines ``SPLIT PATH``, of the splits that S3PRL reads.

    Raises:
        DataDirError: another line.
    """
    return [name for split, name, *_ in _fields(path, "SPLIT PATH") if split in ("1", "2", "3")]


def trial_names(path: Path) -> list[str]:
    """Return the recordings in lines ``LABEL PATH PATH``.

    Raises:
        DataDirError: another line.
    """
    return [name for row in _fields(path, "LABEL PATH PATH") for name in row[1:3]]


def query_names(path: Path) -> list[str]:
    """Return the English recordings in QUESST's lines ``FOLDER/PATH LANGUAGE``, without FOLDER.

    Raises:
        DataDirError: another line.
    """
    rows = _fields(path, "PATH LANGUAGE")
    return [re.sub(r"^.*?/", "", row[0]) for row in rows if row[1] == "nnenglish"]


def intent_names(path: Path) -> list[str]:
    """Return the recordings in a table of Fluent Speech Commands.

    Raises:
        DataDirError: a column that S3PRL reads is not there.
    """
    rows = csv.DictReader(_lines(path))
    absent = [name for name in INTENT_COLUMNS if name not in (rows.fieldnames or ())]
    if absent:
        raise DataDirError(f"{path} has no column {', '.join(absent)}")
    return [row["path"] or "" for row in rows]


def table_problems(path: Path) -> list[str]:
    """Compare a Kaldi ``wav.scp`` with the disk; what a command makes is not looked for."""
    names = [row.value for row in read_table(path).rows]
    files = [name for name in names if not name.endswith("|")]
    return compare(path, files, []) if files or not names else []


def transcript_problems(folder: Path) -> list[str]:
    """Compare LibriSpeech's transcripts in the folder of a split with the recordings beside."""
    disk, total, lost = Disk(), 0, []
    for transcript in sorted(folder.rglob("*.trans.txt")):
        for name in (line.split(maxsplit=1)[0] for line in _lines(transcript) if line.strip()):
            total += 1
            path = transcript.parent / name
            if not any(disk.holds(f"{path}{suffix}") for suffix in (".flac", ".wav")):
                lost.append(str(path.relative_to(folder)))
    if not total:
        return [f"{folder} holds no transcripts (*.trans.txt)"]
    return say(f"{folder.name}'s *.trans.txt", lost, total, f"in {folder} as .flac or .wav")


def slot_problems(root: Path, split: str, voices: Iterable[str]) -> list[str]:
    """Compare Audio SNIPS's transcripts of a split with its recordings.

    An id is ``VOICE-snips-SPLIT-NUMBER``. The transcripts have all voices in all splits, of which
    SUPERB takes some, so that the other lines need no recordings.

    Raises:
        DataDirError: the transcripts cannot be read.
    """
    # The task's own reader would import torch, for which nobody who checks data should wait.
    lines = [line.split(maxsplit=1) for line in _lines(root / SLOTS)]
    texts = dict.fromkeys(line[0] for line in lines if line)
    chosen = set(voices)

    def used(name: str) -> bool:
        return not chosen or name.split("-", maxsplit=1)[0] in chosen

    there = {path.stem for path in (root / split).rglob("*.wav")}
    if not any(used(name) and name in texts for name in there):
        who = ", ".join(sorted(chosen)) or "any voice"
        return [f"{root / split} has no transcribed recordings of {who}"]
    names = [name for name in texts if name.split("-")[2:3] == [split] and used(name)]
    lost = [f"{name}.wav" for name in names if name not in there]
    return say(root / SLOTS, lost, len(names), f"in {root / split}") if lost else []


def _fields(path: Path, form: str) -> list[list[str]]:
    rows = [line.split() for line in _lines(path)]
    for number, row in enumerate(rows, start=1):
        if len(row) < len(form.split()):
            raise DataDirError(f"{path}:{number}: {' '.join(row)!r} is not {form}")
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataDirError(f"{path} is not UTF-8 ({error}); convert it first") from error
