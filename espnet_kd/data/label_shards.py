"""Append-only files that survive a kill: what is written stays, a torn last line is cut off.

Each process has its own file. Lines are JSON objects; nothing is ever changed in place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError, KDError


def shard_path(folder: Path, kind: str, rank: int) -> Path:
    """The file of one process, e.g. ``labels.00.jsonl``."""
    return folder / f"{kind}.{rank:02d}.jsonl"


def shard_paths(folder: Path, kind: str) -> list[Path]:
    """The files of all processes that ever wrote."""
    return sorted(folder.glob(f"{kind}.[0-9]*.jsonl"))


def append(path: Path, rows: Iterable[Any]) -> None:
    """Add lines with a single write.

    Raises:
        KDError: the disk is full or the file not writable.
    """
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not data:
        return
    try:
        with path.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise KDError(
            f"cannot write {path}: {error.strerror or error}; what is there stays, free some space "
            "and start the same command again"
        ) from error


def mend(path: Path) -> None:
    """Cut off what a killed process wrote of its last line."""
    size = path.stat().st_size
    good = 0
    for offset, raw in _raw_lines(path):
        if raw.endswith(b"\n") and _parsed(raw) is not None:
            good = offset + len(raw)
        elif offset + len(raw) < size:
            number = path.read_bytes()[:offset].count(b"\n") + 1
            raise DataDirError(
                f"{path}:{number}: is damaged, and not as the last line; remove that line, its "
                "segment will be labelled again"
            )
    if good < size:
        os.truncate(path, good)


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Offset and object of each line of a mended file."""
    for offset, raw in _raw_lines(path):
        yield offset, json.loads(raw)


def row_at(path: Path, offset: int) -> Any:
    """The object of the line that starts at ``offset``."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return json.loads(stream.readline())


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with path.open("rb") as stream:
        for raw in stream:
            yield offset, raw
            offset += len(raw)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
