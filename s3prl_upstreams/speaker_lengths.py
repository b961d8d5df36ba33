"""Lengths of ASV's training utterances after the silence is cut, measured once per experiment.

S3PRL measures them in 12 processes that import everything, each time its installed package has no
table yet, and keeps that table inside the package under a fixed name: a second corpus silently gets
the first one's. Here threads measure, what is known is kept when the run is stopped, and the table
lies in the experiment.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from espnet_kd.data.record_log import RecordLog
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import atomic_path
from espnet_kd.utils.progress import Progress

Measure = Callable[[str], int]
"""Samples of a recording after the effects of the task."""

TABLE = Path(".wav_lengths") / "Voxceleb1_length.pt"
"""Where S3PRL looks, beside its module."""

_AT_ONCE = 64
"""Recordings between two writes of the log."""


def provide_lengths(root: Path, folder: Path, measure: Measure, threads: int) -> Path:
    """Write the table of S3PRL's ASV task unless it is there.

    Args:
        root: folder of the training speakers, ``SPEAKER/VIDEO/NAME.wav``.
        folder: gets ``.wav_lengths/Voxceleb1_length.pt``.
        measure: returns the samples of one recording.
        threads: recordings measured at once.

    Raises:
        DataDirError: no recording in ``root``, or one elsewhere than in SPEAKER/VIDEO.
        AudioError: a recording cannot be read; names it.
    """
    table = folder / TABLE
    if table.is_file():
        return table
    paths = sorted(root.rglob("*.wav")) + sorted(root.rglob("*.flac"))
    if not paths:
        raise DataDirError(f"{root} holds no recordings; file_path must hold dev/wav and test/wav")
    stray = [path for path in paths if len(path.relative_to(root).parts) != 3]
    if stray:
        raise DataDirError(f"{stray[0]} does not lie in {root}/SPEAKER/VIDEO/")
    lengths = _measure_all(root, paths, folder, measure, threads)
    _save(table, [path.parts[-3:] for path in paths], lengths)
    return table


def _measure_all(
    root: Path, paths: list[Path], folder: Path, measure: Measure, threads: int
) -> list[int]:
    log = RecordLog(folder / "lengths.jsonl", {"root": str(root)})
    names = [path.relative_to(root).as_posix() for path in paths]
    todo = [(n, str(p)) for n, p in zip(names, paths, strict=True) if n not in log.records]
    with (
        ThreadPoolExecutor(threads) as pool,
        Progress("lengths without silence", len(todo), "recordings") as progress,
    ):
        for start in range(0, len(todo), _AT_ONCE):
            part = todo[start : start + _AT_ONCE]
            samples = pool.map(measure, [path for _, path in part])
            rows = zip(part, samples, strict=True)
            log.append({"id": name, "samples": number} for (name, _), number in rows)
            progress.reach(start + len(part))
    return [int(log.records[name]["samples"]) for name in names]


def _save(table: Path, tags: list[Any], lengths: list[int]) -> None:
    import torch

    with atomic_path(table) as path:
        torch.save([tags, lengths], path)
