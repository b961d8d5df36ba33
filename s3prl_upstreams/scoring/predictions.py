"""From S3PRL's diarisation predictions to SUPERB's DER: the best of ten ways to read them.

S3PRL's test run writes ``EXP/scoring/predictions/RECORDING.h5`` (dataset ``T_hat``: probability
of each speaker in each frame) and ``EXP/frame_shift`` (samples per frame). Its ``score.sh`` makes
turns of them at thresholds 0.3 to 0.7, with and without a median filter of 11 frames, and SUPERB
quotes the lowest of the ten error rates.

Legend: T frames, Y speakers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import medfilt

from espnet_kd.errors import ConfigError, DataDirError, MissingDependencyError
from espnet_kd.utils.progress import Progress
from s3prl_upstreams.scoring.der import NO_ERRORS, DiarizationErrors, recording_errors
from s3prl_upstreams.scoring.rttm import Turn, read_rttm

THRESHOLDS: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Probabilities above which somebody speaks, as SUPERB tries them."""

MEDIANS: tuple[int, ...] = (1, 11)
"""Lengths of the median filter in frames; 1 = none."""

SAMPLE_RATE = 16000
_DECIMALS = 2  # S3PRL's RTTM files hold times to 10 ms
_SHOWN = 5


@dataclass(frozen=True)
class Setting:
    """One way to read the predictions and what it scored."""

    threshold: float
    median: int
    errors: DiarizationErrors

    @property
    def rate(self) -> float:
        """Diarisation error rate in percent."""
        return self.errors.rate


def best_setting(table: Sequence[Setting]) -> Setting:
    """Return the row with the lowest error rate, the first of equals: SUPERB's score."""
    return min(table, key=lambda row: row.rate)


def format_table(table: Sequence[Setting]) -> str:
    """Return the rows as Markdown: threshold, median, DER, and its parts in seconds."""
    lines = ["|threshold|median|DER [%]|missed [s]|false alarm [s]|confusion [s]|scored [s]|"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in table:
        e = row.errors
        parts = (e.missed, e.false_alarm, e.confusion, e.scored)
        cells = [
            f"{row.threshold:g}",
            str(row.median),
            f"{row.rate:.2f}",
            *(f"{p:.2f}" for p in parts),
        ]
        lines.append(f"|{'|'.join(cells)}|")
    return "\n".join(lines) + "\n"


def turns_from_probabilities(
    probabilities_TY: NDArray[Any],
    frame_shift: int,
    *,
    subsampling: int = 1,
    threshold: float = 0.5,
    median: int = 1,
    sample_rate: int = SAMPLE_RATE,
) -> list[Turn]:
    """Turn frame-wise probabilities into turns as S3PRL's ``make_rttm.py`` does.

    A speaker talks in frames above the threshold; the median filter (``scipy.signal.medfilt``,
    zeros beyond the ends) runs over these decisions; start and duration are rounded to 10 ms.

    Args:
        probabilities_TY: one row per frame, one column per speaker.
        frame_shift: samples per frame of the upstream (320 for ours).
        subsampling: frames of the upstream per row.
        threshold: probability above which somebody speaks.
        median: odd length of the filter in rows; 1 = none.
        sample_rate: samples per second.

    Returns:
        Turns of speakers ``0``, ``1``, ..., by speaker, then by time.

    Raises:
        ConfigError: a length that is not positive, or an even filter.
    """
    _check_lengths(frame_shift, subsampling, median, sample_rate)
    active_TY = (np.asarray(probabilities_TY) > threshold).astype(np.int64)
    if median > 1:
        around = median // 2  # the zeros that medfilt sees there anyway, and complains of
        padded = np.pad(active_TY, ((around, around), (0, 0)))
        active_TY = medfilt(padded, (median, 1))[around : len(padded) - around]
    seconds = frame_shift * subsampling / sample_rate
    turns = []
    for speaker, active_T in enumerate(active_TY.T):
        changes = np.flatnonzero(np.diff(active_T, prepend=0, append=0)).tolist()
        for first, end in zip(changes[::2], changes[1::2], strict=True):
            start = round(first * seconds, _DECIMALS)
            duration = round((end - first) * seconds, _DECIMALS)
            turns.append(Turn(str(speaker), start, start + duration))
    return turns


def _check_lengths(frame_shift: int, subsampling: int, median: int, sample_rate: int) -> None:
    lengths = {"frame_shift": frame_shift, "subsampling": subsampling, "median": median,
               "sample_rate": sample_rate}  # fmt: skip
    problems = [f"{name} is {n}; expected 1 or more" for name, n in lengths.items() if n < 1]
    if median > 1 and median % 2 == 0:
        problems.append(f"median is {median}; a median filter has an odd length")
    if problems:
        raise ConfigError("turns from probabilities", problems)


def read_predictions(folder: str | Path) -> dict[str, Path]:
    """List ``RECORDING.h5`` files by recording, sorted.

    Raises:
        DataDirError: no such folder, nothing in it, or a recording in two subfolders.
    """
    paths = sorted(Path(folder).rglob("*.h5"), key=lambda path: path.stem)
    found = {path.stem: path for path in paths}
    if not found:
        raise DataDirError(
            f"{folder} holds no predictions (*.h5); S3PRL's test run of SD writes them to "
            "EXP/scoring/predictions"
        )
    if len(found) < len(paths):
        raise DataDirError(f"{folder}: a recording has several predictions; keep one of each")
    return found


def read_frame_shift(experiment: str | Path) -> int:
    """Read the samples per frame that S3PRL notes in the experiment folder.

    Raises:
        DataDirError: the file is missing or holds no whole number.
    """
    path = Path(experiment) / "frame_shift"
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataDirError(
            f"cannot read the samples per frame from {path} ({error}); give them (320 for our "
            "upstreams)"
        ) from error


def score_predictions(
    folder: str | Path,
    reference: str | Path,
    frame_shift: int,
    *,
    subsampling: int = 1,
    thresholds: Sequence[float] = THRESHOLDS,
    medians: Sequence[int] = MEDIANS,
    collar: float = 0.0,
    overlaps: bool = True,
) -> list[Setting]:
    """Score every threshold and median filter; :func:`best_setting` picks SUPERB's score.

    Args:
        folder: holds ``RECORDING.h5`` with ``T_hat`` (T, Y).
        reference: RTTM file of the test set.
        frame_shift: samples per frame, see :func:`read_frame_shift`.
        subsampling: frames of the upstream per row of ``T_hat``.
        thresholds: probabilities to try.
        medians: filter lengths to try.
        collar: seconds around reference boundaries that are not scored; SUPERB: 0.
        overlaps: score overlapping speech; SUPERB: True.

    Raises:
        DataDirError: recordings differ between both sides (all are counted, some named), or a
            prediction cannot be read.
        MissingDependencyError: h5py is not installed.
    """
    paths, truth = read_predictions(folder), read_rttm(reference)
    _check_recordings(paths, truth, folder, reference)
    sums = {(t, m): NO_ERRORS for m in medians for t in thresholds}
    with Progress("diarisation error rate", len(paths), "recordings") as progress:
        for done, (name, path) in enumerate(paths.items(), start=1):
            probabilities_TY = read_probabilities(path)
            for threshold, median in sums:
                turns = turns_from_probabilities(
                    probabilities_TY,
                    frame_shift,
                    subsampling=subsampling,
                    threshold=threshold,
                    median=median,
                )
                errors = recording_errors(truth[name], turns, collar=collar, overlaps=overlaps)
                sums[threshold, median] += errors
            progress.reach(done)
    return [Setting(threshold, median, errors) for (threshold, median), errors in sums.items()]


def read_probabilities(path: Path) -> NDArray[Any]:
    """Read ``T_hat`` (T, Y) of one prediction.

    Raises:
        DataDirError: not such a file, or values that are no probabilities.
        MissingDependencyError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "S3PRL's diarisation predictions are HDF5 files: pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            values = np.asarray(file["T_hat"])  # its own precision decides what is above 0.3
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataDirError(f"{path} holds no readable dataset T_hat: {error}") from error
    real = values.ndim == 2 and values.dtype.kind == "f"
    if not real or not ((values >= 0) & (values <= 1)).all():
        raise DataDirError(f"{path}: T_hat must be probabilities (frames, speakers)")
    return values


def _check_recordings(
    paths: Mapping[str, Path],
    truth: Mapping[str, Sequence[Turn]],
    folder: str | Path,
    reference: str | Path,
) -> None:
    missing, extra = sorted(set(truth) - set(paths)), sorted(set(paths) - set(truth))
    if missing or extra:
        raise DataDirError(
            f"{folder} and {reference} are not about the same recordings: {len(missing)} without "
            f"a prediction {missing[:_SHOWN]}, {len(extra)} without a reference {extra[:_SHOWN]}; "
            "run the test split again, or give the reference that belongs to it"
        )
