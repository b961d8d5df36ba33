"""Scores of SUPERB that S3PRL leaves to other tools: DER (diarisation), MTWV (query by example)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_text
from s3prl_upstreams.scores import ScoreBook
from s3prl_upstreams.scoring.mtwv import score_experiment
from s3prl_upstreams.scoring.predictions import (
    best_setting,
    format_table,
    read_frame_shift,
    score_predictions,
)
from s3prl_upstreams.scoring.rttm import Turn, Turns, write_rttm
from s3prl_upstreams.tasks import Task

Config = dict[str, Any]

GROUND_TRUTH = {"dev": "groundtruth_quesst14_dev", "test": "groundtruth_quesst14_eval"}
"""Split -> folder in QUESST's ``scoring``."""


def rescore(task: Task, args: Namespace, config: Config, book: ScoreBook) -> None:
    """Score what an evaluation wrote, where S3PRL itself does not, and add it to the book.

    A split of which S3PRL writes nothing that could be scored (SD: all but ``test``) is left alone.

    Raises:
        DataDirError: the reference is missing, or differs from what was evaluated.
    """
    scorer = SCORERS.get(task.name)
    if scorer is not None and task.metrics_of(args.evaluate_split) == task.metrics:
        value = scorer(args, config["downstream_expert"])
        book.add(f"{task.downstream}/{args.evaluate_split}-{task.metrics[0].key}", value)


def _der(args: Namespace, expert: Config) -> float:
    """Return the lowest DER over SUPERB's thresholds and median filters, in per cent."""
    folder = Path(expert["loaderrc"][f"{args.evaluate_split}_dir"])
    scoring = Path(args.expdir) / "scoring"
    reference = folder / "rttm"
    if not reference.is_file():
        reference = scoring / "reference.rttm"
        write_rttm(reference, turns_of(folder))
    table = score_predictions(
        scoring / "predictions",
        reference,
        read_frame_shift(args.expdir),
        subsampling=int(expert["datarc"]["subsampling"]),
    )
    write_text(scoring / "der.md", format_table(table))
    return best_setting(table).rate


def _mtwv(args: Namespace, expert: Config) -> float:
    """Return the maximum term-weighted value of the detections that S3PRL wrote, a fraction."""
    root = Path(expert["datarc"]["dataset_root"])
    truth = root / "scoring" / GROUND_TRUTH.get(args.evaluate_split, GROUND_TRUTH["test"])
    found = score_experiment(args.expdir, truth)
    print(f"[espnet_kd] {found.line()}")
    return found.maximum


SCORERS: dict[str, Callable[[Namespace, Config], float]] = {"SD": _der, "QbE": _mtwv}


def turns_of(folder: Path) -> Turns:
    """Read who speaks when from the ``segments`` and ``utt2spk`` of a Kaldi folder.

    Raises:
        DataDirError: a line that has not ``UTTERANCE RECORDING START END``, or no speaker.
    """
    speakers = read_table(folder / "utt2spk").first()
    turns: Turns = {}
    for row in read_table(folder / "segments").rows:
        try:
            recording, start, end = row.value.split()
            turn = Turn(speakers[row.key].value, float(start), float(end))
        except (ValueError, KeyError) as error:
            where = f"{folder / 'segments'}:{row.line}: {row.key} {row.value}"
            raise DataDirError(f"{where}: not UTTERANCE RECORDING START END: {error}") from error
        turns.setdefault(recording, []).append(turn)
    return turns
