"""JSON Lines: one object per line, read with its line number or appended so that a kill loses
at most the line that was being written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError, KDError
from espnet_kd.utils.files import write_text


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of every line that is not blank.

    Raises:
        DataDirError: the file cannot be read, or a line is no JSON object; it is named.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, _parse(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"cannot read {path}: {error}") from error


def write_jsonl(path: str | os.PathLike[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Write all records, atomically."""
    write_text(path, "".join(f"{_line(record)}\n" for record in records))


class RecordLog:
    """An append-only file of records, each with an ``id``; reopened, it goes on behind them.

    A last line without its newline, which a kill left behind, is removed on opening.

    Args:
        path: file, made if it is not there.

    Raises:
        KDError: the file cannot be written.
        DataDirError: a line in it is no JSON object.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._drop_torn_line()
        except OSError as error:
            raise KDError(f"cannot write {self.path}: {error.strerror}") from error
        self.records: dict[str, dict[str, Any]] = {}
        """Id to the last record written for it."""
        for _, record in read_jsonl(self.path):
            self.records[str(record.get("id"))] = record

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records behind the others, and down to the operating system.

        Raises:
            KDError: the disk is full.
        """
        new = [dict(record) for record in records]
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("".join(f"{_line(record)}\n" for record in new))
        except OSError as error:
            raise KDError(
                f"cannot write {self.path}: {error.strerror}; what is in it stays valid, and the "
                "same command goes on from there"
            ) from error
        self.records |= {str(record["id"]): record for record in new}

    def _drop_torn_line(self) -> None:
        with self.path.open("ab+") as stream:
            stream.seek(0)
            content = stream.read()
            if content and not content.endswith(b"\n"):
                stream.truncate(content.rfind(b"\n") + 1)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(dict(record), ensure_ascii=False)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataDirError(
            f"{where} is no JSON ({error}); was the file cut? Make it again, or remove the line"
        ) from None
    if not isinstance(value, dict):
        raise DataDirError(f"{where} is no JSON object but {line.strip():.60}")
    return value
