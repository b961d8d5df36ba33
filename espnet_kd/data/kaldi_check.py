"""Find every problem of a Kaldi data folder, each with file and line, before anything reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_kd.data.segments import check_segments
from espnet_kd.data.tables import Problem, Row, Table, read_table
from espnet_kd.errors import DataDirError

_REQUIRED = ("wav.scp", "utt2spk")
_OPTIONAL = ("text", "spk2utt", "utt2num_samples", "segments")
TABLES = (*_REQUIRED, *_OPTIONAL)
"""Files of a data folder that are known here."""


def refuse_other_data(folder: Path, note: str, why: str, names: Sequence[str] = TABLES) -> None:
    """See that only what this package made, known by its note, is overwritten.

    Args:
        folder: is to be written.
        note: file that marks a folder of ours.
        why: what a folder without it is not.
        names: files that are somebody's data.

    Raises:
        DataDirError: data is there, and no note.
    """
    there = [name for name in names if (folder / name).exists()]
    if there and not (folder / note).is_file():
        raise DataDirError(
            f"{folder} holds data already ({', '.join(there)}) {why} (no {note}); choose a new "
            "folder"
        )


def check_kaldi_dir(
    folder: str | Path, *, need_text: bool = False, need_files: bool = True
) -> list[Problem]:
    """List all problems of ``folder``; an empty list means that it can be used.

    Args:
        folder: holds at least ``wav.scp`` and ``utt2spk``; where it has ``segments``, its
            utterances are those of that file.
        need_text: a missing ``text`` is a problem too.
        need_files: a missing recording is a problem too (else whoever reads it will say so).
    """
    source = Path(folder)
    if not source.is_dir():
        return [Problem("", 0, "no such folder; run the recipe's stage 1 to make it")]
    tables: dict[str, Table] = {}
    problems: list[Problem] = []
    required = (*_REQUIRED, "text") if need_text else _REQUIRED
    for name in TABLES:
        if (source / name).is_file():
            tables[name] = read_table(source / name)
            problems += tables[name].problems
            if not tables[name].rows:
                problems.append(Problem(name, 0, "is empty"))
        elif name in required:
            problems.append(Problem(name, 0, "is missing"))
    if "wav.scp" in tables:
        problems += _check_wav_scp(tables["wav.scp"], need_files)
        problems += _check_same_utterances(tables)
        if "segments" in tables:
            problems += check_segments(tables["segments"], tables["wav.scp"].first())
    if "utt2spk" in tables and "spk2utt" in tables:
        problems += _check_inverse(tables["utt2spk"], tables["spk2utt"])
    if "utt2num_samples" in tables:
        problems += _check_counts(tables["utt2num_samples"])
    return problems


def _check_wav_scp(table: Table, need_files: bool) -> list[Problem]:
    problems = []
    for row in table.rows:
        if row.value.endswith("|"):
            message = f"{row.key} is a command; commands are not run, convert it to a file first"
            problems.append(Problem(table.name, row.line, message))
        elif need_files and row.value and not Path(row.value).is_file():
            message = f"{row.key}: no such file {row.value}"
            problems.append(Problem(table.name, row.line, message))
    return problems


def _check_same_utterances(tables: dict[str, Table]) -> list[Problem]:
    """The utterances are those of wav.scp, or of segments where that file is there."""
    listing = tables.get("segments", tables["wav.scp"])
    thing = "recording" if listing.name == "wav.scp" else "stretch"
    listed = listing.first()
    problems = []
    for name in ("utt2spk", "text", "utt2num_samples"):
        if name not in tables:
            continue
        rows = tables[name].first()
        what = {"utt2spk": "speaker", "text": "transcript"}.get(name, "sample count")
        problems += [
            Problem(name, rows[key].line, f"{key} has no {thing} in {listing.name}")
            for key in sorted(rows.keys() - listed.keys())
        ]
        problems += [
            Problem(listing.name, listed[key].line, f"{key} has no {what} in {name}")
            for key in sorted(listed.keys() - rows.keys())
        ]
    return problems


def _check_inverse(utt2spk: Table, spk2utt: Table) -> list[Problem]:
    listed: dict[tuple[str, str], Row] = {}
    for row in spk2utt.rows:
        for utterance in row.value.split():
            listed[utterance, row.key] = row
    given = {(row.key, row.value): row for row in utt2spk.rows}
    problems = []
    for pair in sorted(given.keys() - listed.keys()):
        message = f"{pair[0]} of speaker {pair[1]} is not in spk2utt"
        problems.append(Problem("utt2spk", given[pair].line, message))
    for pair in sorted(listed.keys() - given.keys()):
        message = f"{pair[0]} is not an utterance of {pair[1]} in utt2spk"
        problems.append(Problem("spk2utt", listed[pair].line, message))
    return problems


def _check_counts(table: Table) -> list[Problem]:
    return [
        Problem(table.name, row.line, f"{row.key}: {row.value!r} is not a positive whole number")
        for row in table.rows
        if row.value and (not row.value.isascii() or not row.value.isdigit() or int(row.value) < 1)
    ]
