"""Catch the numbers that S3PRL logs, and say the one that counts at the end."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_kd.utils.files import write_json
from s3prl_upstreams.tasks import Metric, Task

DEV_FILE = "dev.json"
"""Kept there while a head is trained: its best score on the development split so far."""
SCORE_FILE = "score.json"
"""Written into the experiment folder after an evaluation."""


@dataclass(frozen=True)
class RunScore:
    """The score of one run, in the units of the SUPERB tables."""

    task: str
    """``ASR`` and so on; S3PRL's folder name for tasks outside SUPERB."""
    metric: str
    """``WER``, ``PER``, ``accuracy``."""
    value: float
    """The number in ``unit``."""
    unit: str
    """``%``, or empty for other tasks."""
    direction: str
    """``lower`` or ``higher`` is better; empty for other tasks."""
    split: str
    """Evaluated split."""
    checkpoint: str
    """File of the evaluated weights; empty during training."""
    upstream: str
    """Name after ``-u``."""
    upstream_ckpt: str
    """What followed ``-k``."""
    features: str = "stock"
    """What the features are when not S3PRL's own: ``isolated, comparable``, ``pooled, ...``."""

    def line(self) -> str:
        """Say it in one line."""
        unit = f" {self.unit}" if self.unit else ""
        where = f" ({self.checkpoint})" if self.checkpoint else ""
        value = f"{self.value:.{2 if self.unit else 4}f}{unit}"
        return f"score: {self.task} {self.metric} {value} on {self.split}{where}"


class ScoreBook:
    """Remembers every scalar of a run in the order of logging."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float]] = []

    def writer(self, base: type) -> type:
        """Return a TensorBoard writer class that also tells this book."""
        book = self

        class RecordingWriter(base):
            """S3PRL's writer with a second reader."""

            def add_scalar(self, tag: str, scalar_value: Any, *args: Any, **kwargs: Any) -> None:
                book.scalars.append((tag, float(scalar_value)))
                super().add_scalar(tag, scalar_value, *args, **kwargs)

        return RecordingWriter

    def add(self, tag: str, value: float) -> None:
        """Note a score as if S3PRL had logged it."""
        self.scalars.append((tag, value))

    def values(self, split: str, key: str) -> list[float]:
        """Return what was logged as ``TASK/SPLIT-KEY``."""
        return [value for tag, value in self.scalars if tag.endswith(f"/{split}-{key}")]

    def scores(self, args: Namespace, task: Task | None) -> list[RunScore]:
        """Return the scores of the evaluated split, or the best ones of training.

        Args:
            args: S3PRL's arguments of the run.
            task: what was run; None = no task of SUPERB, and everything that was logged counts.
        """
        split = args.evaluate_split
        evaluated = args.mode == "evaluate"
        checkpoint = str(args.init_ckpt or "") if evaluated else ""
        found: list[tuple[str, float, str, str, str]] = []
        if task is None and evaluated:
            found = [(tag, value, "", "", split) for tag, value in self._logged(split)]
        if task is not None:
            where = split if evaluated else task.dev
            metrics = task.metrics_of(where)
            found = [row for m in metrics for row in self._of_metric(m, where, evaluated)]
        name = task.name if task is not None else args.downstream
        source = (checkpoint, str(args.upstream), str(args.upstream_ckpt or ""))
        return [RunScore(name, *numbers, *source) for numbers in found]

    def _of_metric(
        self, metric: Metric, split: str, evaluated: bool
    ) -> list[tuple[str, float, str, str, str]]:
        values = self.values(split, metric.key)
        if not values:
            return []
        best = min(values) if metric.direction == "lower" else max(values)
        value = values[-1] if evaluated else best
        return [(metric.name, value * metric.scale, metric.unit, metric.direction, split)]

    def _logged(self, split: str) -> list[tuple[str, float]]:
        prefix = f"{split}-"
        tails = [(tag.rpartition("/")[2], value) for tag, value in self.scalars]
        return [(t.removeprefix(prefix), v) for t, v in tails if t.startswith(prefix)]


def save_scores(scores: list[RunScore], expdir: str, name: str = SCORE_FILE) -> Path:
    """Write the first score as an object; further ones under ``more``."""
    first, *more = [asdict(score) for score in scores]
    path = Path(expdir) / name
    write_json(path, {**first, "more": more} if more else first)
    return path


def keep_best_dev(scores: list[RunScore], expdir: str, resumed: bool) -> None:
    """Write the best scores on dev so far, unless the part that was resumed had a better one."""
    path = Path(expdir) / DEV_FILE
    if resumed and path.is_file():
        before = float(json.loads(path.read_text(encoding="utf-8"))["value"])
        now = scores[0].value
        if (before < now) if scores[0].direction == "lower" else (before > now):
            return
    save_scores(scores, expdir, DEV_FILE)
