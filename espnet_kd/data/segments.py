"""Kaldi's ``segments``: which stretch of which recording an utterance is, in seconds.

A line is ``utterance recording start end``; ``wav.scp`` then names recordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.data.tables import Problem, Row, Table, read_table, write_table

SEGMENTS = "segments"


@dataclass(frozen=True)
class Span:
    """A stretch of a recording."""

    recording: str
    """Its key in wav.scp."""

    start: float
    """First second."""

    end: float
    """Second behind the last one."""

    @classmethod
    def parse(cls, value: str) -> Span | None:
        """Read ``recording start end``; None if it is something else or no stretch of time."""
        fields = value.split()
        try:
            start, end = (float(field) for field in fields[1:])
        except ValueError:
            return None
        if len(fields) != 3 or not 0 <= start < end < math.inf:
            return None
        return cls(fields[0], start, end)

    def __str__(self) -> str:
        return f"{self.recording} {self.start:.6f} {self.end:.6f}"


def read_segments(folder: str | Path) -> dict[str, Span]:
    """Utterance -> stretch; lines that make no sense are left out, the check tells of them."""
    rows = read_table(Path(folder) / SEGMENTS).first()
    spans = {key: Span.parse(row.value) for key, row in rows.items()}
    return {key: span for key, span in spans.items() if span is not None}


def write_segments(folder: str | Path, spans: Mapping[str, Span]) -> None:
    """Write ``segments``, sorted, atomically."""
    write_table(Path(folder) / SEGMENTS, {key: str(span) for key, span in spans.items()})


def check_segments(table: Table, recordings: Mapping[str, Row]) -> Iterable[Problem]:
    """Problems of ``segments``: lines of another form, recordings that wav.scp lacks."""
    for row in table.rows:
        span = Span.parse(row.value)
        if span is None:
            message = f"{row.key}: {row.value!r} is not `recording start end` with start < end (s)"
            yield Problem(table.name, row.line, message)
        elif span.recording not in recordings:
            message = f"{row.key}: recording {span.recording} is not in wav.scp"
            yield Problem(table.name, row.line, message)
