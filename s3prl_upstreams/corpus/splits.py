"""Utterances of LibriSpeech's layout: ``SPLIT/READER/CHAPTER/READER-CHAPTER.trans.txt``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espnet_kd.errors import DataDirError

_SUFFIXES = (".flac", ".wav")


@dataclass(frozen=True)
class Utterance:
    """One line of a transcript file and the recording beside it."""

    name: str
    """Id, ``READER-CHAPTER-INDEX``."""

    path: Path
    """The recording."""

    text: str
    """Transcript as written."""


def read_split(root: str | Path, split: str) -> list[Utterance]:
    """List the utterances of a split, sorted by id.

    Raises:
        DataDirError: no such split, nothing in it, an id twice, or a line without a recording.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise DataDirError(
            f"{folder} is not there; {root} must hold LibriSpeech's folders such as {split}"
        )
    found: dict[str, Utterance] = {}
    for transcript in sorted(folder.rglob("*.trans.txt")):
        for number, line in enumerate(_lines(transcript), start=1):
            name, _, text = line.partition(" ")
            where = f"{transcript}:{number}"
            if name in found:
                raise DataDirError(f"{where}: utterance {name} is there twice")
            found[name] = Utterance(name, _recording(transcript.parent, name, where), text.strip())
    if not found:
        raise DataDirError(f"{folder} holds no transcripts (*.trans.txt)")
    return [found[name] for name in sorted(found)]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataDirError(f"{path} is not UTF-8 ({error}); convert it first") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _recording(folder: Path, name: str, where: str) -> Path:
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DataDirError(
        f"{where}: utterance {name} has no recording ({' or '.join(_SUFFIXES)}) in {folder}; "
        "restore it or remove the line"
    )
