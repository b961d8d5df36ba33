"""Speaker turns and the RTTM files that hold them (NIST, RT-09 evaluation plan, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_text

_FEWEST_FIELDS = 9
_OTHER_TYPES = {
    "A/P", "CB", "EDIT", "FILLER", "IP", "LEXEME", "NO_RT_METADATA", "NON-LEX", "NON-SPEECH",
    "SEGMENT", "SPKR-INFO", "SU",
}  # fmt: skip
"""Lines that are no turns and are passed over."""


@dataclass(frozen=True)
class Turn:
    """A stretch of speech of one speaker; times in seconds from the start of the recording."""

    speaker: str
    start: float
    end: float


Turns = dict[str, list[Turn]]
"""Recording -> its turns, in the order of the file."""


def read_rttm(path: str | Path) -> Turns:
    """Read the ``SPEAKER`` lines of an RTTM file; other types and ``;;`` comments are passed over.

    Raises:
        DataDirError: the file cannot be read, or names the first line that is wrong: too few
            fields, an unknown type, a time that is no number, negative, or of no length.
    """
    turns: Turns = {}
    for number, line in enumerate(_lines(Path(path)), start=1):
        fields = line.split()
        if not fields or line.lstrip().startswith(";") or fields[0] in _OTHER_TYPES:
            continue
        recording, turn = _turn(fields, f"{path}:{number}")
        turns.setdefault(recording, []).append(turn)
    return turns


def write_rttm(path: str | Path, turns: Mapping[str, Sequence[Turn]]) -> None:
    """Write turns, sorted by recording, with times to the millisecond; atomically."""
    write_text(
        path, "".join(line for name in sorted(turns) for line in _written(name, turns[name]))
    )


def _written(recording: str, turns: Iterable[Turn]) -> Iterable[str]:
    for turn in turns:
        times = f"{turn.start:.3f} {turn.end - turn.start:.3f}"
        yield f"SPEAKER {recording} 1 {times} <NA> <NA> {turn.speaker} <NA> <NA>\n"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"cannot read the speaker turns of {path}: {error}") from error


def _turn(fields: list[str], where: str) -> tuple[str, Turn]:
    if fields[0] != "SPEAKER":
        raise DataDirError(
            f"{where}: lines of type {fields[0]!r} are not understood here, only SPEAKER"
        )
    if len(fields) < _FEWEST_FIELDS:
        raise DataDirError(
            f"{where}: {len(fields)} fields instead of at least {_FEWEST_FIELDS}: SPEAKER "
            "recording channel start duration <NA> <NA> speaker <NA>"
        )
    start = _seconds(fields[3], "start", where)
    duration = _seconds(fields[4], "duration", where)
    if start < 0 or duration <= 0:
        raise DataDirError(
            f"{where}: start {fields[3]} and duration {fields[4]}: a turn starts at 0 or later "
            "and lasts longer than 0 seconds"
        )
    return fields[1], Turn(fields[7], start, start + duration)


def _seconds(text: str, what: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataDirError(f"{where}: {what} {text!r} is no number of seconds")
    return value
