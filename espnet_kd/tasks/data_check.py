"""Look at the data before a run starts: tables, ids and the headers of the recordings."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_kd.data.audio import AudioPolicy, inspect_audio
from espnet_kd.data.tables import Table, read_table
from espnet_kd.errors import AudioError, DataDirError

_LOG = logging.getLogger(__name__)

MAX_HEADERS = 20000
"""Recordings whose headers are read per list; beyond that an even sample of them."""

_SHOWN = 20
_TABLES = ("sound", "text_int", "npy", "kaldi_ark")
"""Stream types whose file is a table of utterances."""

_TOLERATED = ("is not in sorted order", "the last line does not end with a newline")
"""Defects that ESPnet does not mind (scripts of others leave them)."""


def check_data(args: argparse.Namespace, policy: AudioPolicy) -> None:
    """Check the training and validation data of an ESPnet command line.

    Raises:
        DataDirError: lists the problems (the first twenty, and how many there are).
    """
    problems: list[str] = []
    for part in ("train", "valid"):
        streams = getattr(args, f"{part}_data_path_and_name_and_type")
        shapes = getattr(args, f"{part}_shape_file")
        if not streams:
            problems.append(f"no --{part}_data_path_and_name_and_type PATH,speech,sound is given")
        if not shapes:
            problems.append(
                f"no --{part}_shape_file is given (utt2num_samples of the data folder will do)"
            )
        problems += _check_part(streams, shapes, policy)
    _refuse(problems)


def check_headers(folders: Iterable[Path], policy: AudioPolicy) -> None:
    """Check the headers of the recordings that the ``wav.scp`` of each folder names.

    Raises:
        DataDirError: lists the problems (the first twenty, and how many there are).
    """
    problems: list[str] = []
    for folder in folders:
        path = folder / "wav.scp"
        if path.is_file():
            problems += _header_problems(str(path), read_table(path), policy)
        else:
            problems.append(f"{path}: no such file; run the stage that prepares the data")
    _refuse(problems)


def _refuse(problems: Sequence[str]) -> None:
    if not problems:
        return
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    listing = "".join(f"\n  - {problem}" for problem in problems[:_SHOWN])
    raise DataDirError(
        f"the data cannot be used: {len(problems)} problem(s){listing}{more}\n"
        "(--check_data false starts without these checks)"
    )


def _check_part(
    streams: Sequence[Sequence[str]], shapes: Sequence[str], policy: AudioPolicy
) -> list[str]:
    paths = [*(stream[0] for stream in streams), *shapes]
    missing = {path for path in paths if not Path(path).is_file()}
    problems = [
        f"{path}: no such file; run the stage that prepares the data" for path in sorted(missing)
    ]
    ids: dict[str, set[str]] = {}
    for path, _name, kind in streams:
        if path not in missing and kind in _TABLES:
            table = read_table(Path(path))
            ids[path] = set(table.first())
            problems += _table_problems(path, table)
            problems += _header_problems(path, table, policy) if kind == "sound" else []
    for path in shapes:
        if path not in missing:
            table = read_table(Path(path))
            problems += _table_problems(path, table) + _absent(set(table.first()), ids)
            problems += _shape_problems(path, table)
    return problems


def _shape_problems(path: str, table: Table) -> list[str]:
    """Lengths that ESPnet cannot read: it takes whole numbers, separated by commas."""
    return [
        f"{path}:{row.line}: {row.key} has {row.value!r}, no number of samples; give "
        "utt2num_samples, or count again"
        for row in table.rows
        if row.value and not (row.value.isascii() and row.value.replace(",", "").isdigit())
    ]


def _absent(wanted: set[str], ids: dict[str, set[str]]) -> list[str]:
    """Utterances that the shape file lists and a stream lacks."""
    return [
        f"{path}: {len(wanted - present)} utterance(s) of the shape file are not in it, e.g. "
        f"{min(wanted - present)}"
        for path, present in ids.items()
        if wanted - present
    ]


def _table_problems(path: str, table: Table) -> list[str]:
    if not table.rows:
        return [f"{path}: is empty"]
    return [
        f"{path}:{problem.line}: {problem.message}"
        for problem in table.problems
        if not any(words in problem.message for words in _TOLERATED)
    ]


def _header_problems(path: str, table: Table, policy: AudioPolicy) -> list[str]:
    rows = [row for row in table.rows if row.value and not row.value.endswith("|")]
    step = -(-len(rows) // MAX_HEADERS) or 1
    if step > 1:
        _LOG.info(f"{path}: headers of every {step}th of {len(rows)} recordings are checked")

    def problem(entry: tuple[str, str]) -> str | None:
        try:
            inspect_audio(entry[1], entry[0], policy)
        except AudioError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(problem, [(row.key, row.value) for row in rows[::step]])
        return [text for text in found if text is not None]
