"""The lines of a Kaldi table (``key value...`` in UTF-8), with every defect and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_kd.utils.files import write_text

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Problem:
    """One defect of a data folder."""

    file: str
    """File name inside the folder; empty = the folder itself."""

    line: int
    """Line number from 1; 0 = the file as a whole."""

    message: str
    """What is wrong, and with which key."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.message}" if where else self.message

    def within(self, folder: str | Path) -> str:
        """The whole sentence, with the path of the file."""
        return f"{folder}/{self}" if self.file else f"{folder}: {self.message}"


@dataclass(frozen=True)
class Row:
    """One usable line."""

    line: int
    key: str
    value: str


@dataclass
class Table:
    """The usable lines of one file and the defects found while reading it."""

    name: str
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, line: int, message: str) -> None:
        """Add a defect."""
        self.problems.append(Problem(self.name, line, message))

    def first(self) -> dict[str, Row]:
        """Key -> its first row."""
        found: dict[str, Row] = {}
        for row in self.rows:
            found.setdefault(row.key, row)
        return found


def sort_key(key: str) -> bytes:
    """Kaldi's order: bytes, as ``LC_ALL=C sort`` has it."""
    return key.encode("utf-8")


def read_table(path: Path) -> Table:
    """Read ``path`` and note each defect of its lines, its order and its keys."""
    table = Table(path.name)
    data = path.read_bytes()
    if data.startswith(_BOM):
        table.note(1, "starts with a byte-order mark (BOM)")
        data = data[len(_BOM) :]
    if data and not data.endswith(b"\n"):
        table.note(data.count(b"\n") + 1, "the last line does not end with a newline")
    for number, raw in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], 1):
        _read_line(table, number, raw)
    _note_order(table)
    return table


def _read_line(table: Table, number: int, raw: bytes) -> None:
    if raw.endswith(b"\r"):
        table.note(number, "ends with a carriage return (CRLF line end)")
    if b"\0" in raw:
        table.note(number, "contains a NUL byte")
    try:
        text = raw.replace(b"\0", b"").decode("utf-8")
    except UnicodeDecodeError as error:
        table.note(number, f"is not UTF-8 (byte {raw[error.start]:#04x})")
        return
    fields = text.strip().split(maxsplit=1)
    if not fields:
        table.note(number, "is blank")
    elif len(fields) == 1:
        table.note(number, f"{fields[0]} has no value")
        table.rows.append(Row(number, fields[0], ""))
    else:
        table.rows.append(Row(number, fields[0], fields[1]))


def _note_order(table: Table) -> None:
    seen: dict[str, int] = {}
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if row.key in seen:
            table.note(row.line, f"{row.key} is a duplicate of line {seen[row.key]}")
        elif before is not None and sort_key(before.key) > sort_key(row.key):
            table.note(row.line, f"{row.key} is not in sorted order (LC_ALL=C)")
        seen.setdefault(row.key, row.line)


def write_table(path: Path, values: Mapping[str, str]) -> None:
    """Write ``key value`` lines, sorted, atomically."""
    write_text(path, "".join(f"{key} {values[key]}\n" for key in sorted(values, key=sort_key)))
