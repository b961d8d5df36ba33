"""Diarisation error rate as SUPERB measures it: exact, without a frame grid.

Source: S3PRL's ``diarization/score.sh`` calls dscore's ``score.py`` without a UEM, which runs
NIST's ``md-eval`` 22 with collar 0 and overlapping speech scored. What that amounts to:

- Scored is, per recording, the stretch from the first start to the last end of any turn of
  reference or system (dscore's ``gen_uem``): all that either of them says.
- Overlapping turns of one speaker count once.
- Where ``r`` reference and ``s`` system speakers speak, ``max(r - s, 0)`` are missed,
  ``max(s - r, 0)`` are false alarms, and of ``min(r, s)`` those are confused whose speaker is not
  the one that the mapping gives them.
- The mapping is one to one per recording and maximises the time that mapped speakers share. As
  in md-eval it is found before collars and overlaps are taken out.
- Totals are sums over recordings; the rate is errors over reference speaker time.

dscore writes times in milliseconds before it scores; here they stay as they are. md-eval leaves a
recording without any reference speech out of the total, here its false alarms count.

Legend: R reference speakers, Y system speakers, N stretches between neighbouring boundaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.rttm import Turn

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class DiarizationErrors:
    """Seconds of speaker time, so that two people talking for a second are two seconds."""

    scored: float
    """Reference speaker time."""
    missed: float
    """Reference speakers without a system speaker."""
    false_alarm: float
    """System speakers without a reference speaker."""
    confusion: float
    """Speakers taken for somebody else."""

    @property
    def rate(self) -> float:
        """Errors in percent of ``scored``; without reference speech 0 or, as in dscore, 100."""
        errors = self.missed + self.false_alarm + self.confusion
        if self.scored > 0:
            return 100.0 * errors / self.scored
        return 100.0 if errors > 0 else 0.0

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        return DiarizationErrors(
            self.scored + other.scored,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
        )


NO_ERRORS = DiarizationErrors(0.0, 0.0, 0.0, 0.0)


def diarization_errors(
    reference: Mapping[str, Sequence[Turn]],
    system: Mapping[str, Sequence[Turn]],
    *,
    collar: float = 0.0,
    overlaps: bool = True,
) -> DiarizationErrors:
    """Sum the errors of all recordings.

    Args:
        reference: recording -> true turns.
        system: recording -> found turns; a recording that is not in it has none.
        collar: seconds before and after each boundary of the reference that are not scored.
        overlaps: False leaves out where several reference speakers talk.

    Raises:
        DataDirError: the system has recordings that the reference lacks, or there are none at all.
    """
    extra = sorted(set(system) - set(reference))
    if extra or not reference:
        raise DataDirError(
            f"{len(reference)} recording(s) in the reference; it lacks {len(extra)} of the system "
            f"({', '.join(extra[:5])}): score the recordings that were diarised"
        )
    errors = NO_ERRORS
    for name, turns in reference.items():
        errors += recording_errors(turns, system.get(name, ()), collar=collar, overlaps=overlaps)
    return errors


def recording_errors(
    reference: Sequence[Turn],
    system: Sequence[Turn],
    *,
    collar: float = 0.0,
    overlaps: bool = True,
) -> DiarizationErrors:
    """Return the errors of one recording; see :func:`diarization_errors`."""
    edges = _boundaries(reference, system, collar)
    speakers_RN, speakers_YN = _activity(reference, edges), _activity(system, edges)
    seconds_N = np.diff(edges)
    mapped = _mapping(speakers_RN, speakers_YN, seconds_N)

    count_N, found_N = speakers_RN.sum(axis=0), speakers_YN.sum(axis=0)
    scored_N = np.where(_outside_collars(reference, edges, collar), seconds_N, 0.0)
    if not overlaps:
        scored_N[count_N > 1] = 0.0
    both_N = (speakers_RN[mapped[0]] & speakers_YN[mapped[1]]).sum(axis=0)
    return DiarizationErrors(
        scored=float(scored_N @ count_N),
        missed=float(scored_N @ np.maximum(count_N - found_N, 0)),
        false_alarm=float(scored_N @ np.maximum(found_N - count_N, 0)),
        confusion=float(scored_N @ (np.minimum(count_N, found_N) - both_N)),
    )


def _boundaries(reference: Sequence[Turn], system: Iterable[Turn], collar: float) -> Floats:
    """Sorted times at which anything changes."""
    own = _times(reference)
    around = np.concatenate([own - collar, own + collar]) if collar > 0 else own
    return np.unique(np.concatenate([own, _times(system), around]))


def _times(turns: Iterable[Turn]) -> Floats:
    return np.array([time for turn in turns for time in (turn.start, turn.end)], dtype=np.float64)


def _activity(turns: Sequence[Turn], edges: Floats) -> Flags:
    """Who speaks in which stretch: (speakers, N), N = edges - 1."""
    names = sorted({turn.speaker for turn in turns})
    change = np.zeros((len(names), max(len(edges), 1)), dtype=np.int64)
    rows = np.array([names.index(turn.speaker) for turn in turns], dtype=np.int64)
    np.add.at(change, (rows, np.searchsorted(edges, [turn.start for turn in turns])), 1)
    np.add.at(change, (rows, np.searchsorted(edges, [turn.end for turn in turns])), -1)
    active: Flags = change.cumsum(axis=1)[:, :-1] > 0
    return active


def _mapping(speakers_RN: Flags, speakers_YN: Flags, seconds_N: Floats) -> tuple[Any, Any]:
    """Pairs (rows of R, rows of Y) that share the most time."""
    shared_RY = (speakers_RN * seconds_N) @ speakers_YN.T.astype(np.float64)
    rows, columns = linear_sum_assignment(shared_RY, maximize=True)
    return rows, columns


def _outside_collars(reference: Sequence[Turn], edges: Floats, collar: float) -> Flags:
    """Stretches that no boundary of a reference turn is near, boundaries inside speech included."""
    middles_N = (edges[1:] + edges[:-1]) / 2
    near = np.zeros(len(middles_N), dtype=np.bool_)
    for time in np.unique(_times(_merged(reference))) if collar > 0 else ():
        near |= np.abs(middles_N - time) < collar
    return ~near


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Join what one speaker says without a pause, as dscore does before md-eval sees it."""
    merged: list[Turn] = []
    for turn in sorted(turns, key=lambda turn: (turn.speaker, turn.start)):
        last = merged[-1] if merged else None
        if last is not None and last.speaker == turn.speaker and turn.start < last.end:
            merged[-1] = Turn(turn.speaker, last.start, max(last.end, turn.end))
        else:
            merged.append(turn)
    return merged
