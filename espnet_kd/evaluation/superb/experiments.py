"""A model's scores from the folders of its S3PRL runs: every ``score.json`` below one folder.

``python -m s3prl_upstreams.run_downstream -m evaluate`` writes such a file into the run's folder:
task, metric, value, unit, split, checkpoint and upstream; further numbers of the run (SF has two)
stand under ``more``. Some tasks are several runs in folders below the task's: a file there is part
of the task's own file, if there is one (the checkpoints of ASV, the layers of QbE, ER's folds).
Without one, ER is five runs in folders whose names say the fold, ``er/fold1`` to ``er/fold5``;
their accuracies are averaged.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.runs import read_object
from espnet_kd.evaluation.superb.metrics import FRACTION, METRICS, Metric, task_metrics
from espnet_kd.evaluation.superb.models import Model
from espnet_kd.evaluation.superb.scores import Scores

SCORE_FILE = "score.json"
FOLDS = ("fold1", "fold2", "fold3", "fold4", "fold5")
FOLDED = "ER"
"""The task that is run once per fold."""
ALL_FOLDS = "5 folds"
"""End of the split of a score that is the mean over the folds already."""
STOCK = "stock"
_FOLD = re.compile(r"fold[ _-]?(\d+)", re.IGNORECASE)
_LANGUAGE_MODEL = re.compile(r"(^|[_-])lm($|[_-])", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One number of one ``score.json``."""

    metric: Metric
    """What was measured."""
    value: float
    """The number."""
    fold: str
    """Fold of ER, or :data:`ALL_FOLDS`; empty for other tasks."""
    path: Path
    """The file."""
    checkpoint: str
    """Weights that were evaluated."""
    upstream: tuple[str, str]
    """Upstream's name and checkpoint."""
    features: str = STOCK
    """What the features are where they are not S3PRL's own (a feature cache)."""


@dataclass(frozen=True)
class Experiment:
    """What the folders of one model hold."""

    model: Model
    """Its row."""
    found: tuple[Found, ...]
    """The numbers it is made of."""
    passed_over: tuple[str, ...]
    """Files that bring no number to the row, and why."""


def read_experiment(name: str, folder: str | Path) -> Experiment:
    """Read every ``score.json`` below ``folder``.

    Args:
        name: the model's name.
        folder: folder of one model's runs.

    Raises:
        KDError: no such file there, or a damaged one.
        ScoreError: everything that is wrong: a value that cannot be, a number or fold twice, an ER
            run of unknown fold, runs of different upstreams.
    """
    root = Path(folder)
    paths = sorted(root.rglob(SCORE_FILE))
    if not paths:
        there = "" if root.is_dir() else f" ({root} is no folder)"
        raise ScoreError(
            f"{name}: {root}",
            [f"no {SCORE_FILE} below it{there}; run_downstream -m evaluate writes them"],
        )
    reading = _Reading(root)
    reading.read({path: read_object(path, "Evaluate that run again.") for path in paths})
    problems = [*reading.problems, *_repeats(reading.found, root), *_strangers(reading.found)]
    if problems:
        raise ScoreError(f"{name}: {root}", problems)
    return Experiment(
        _model(name, root, reading.found), tuple(reading.found), tuple(reading.passed_over)
    )


class _Reading:
    """Collects numbers, problems and files passed over."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[Found] = []
        self.problems: list[str] = []
        self.passed_over: list[str] = []

    def read(self, files: Mapping[Path, Mapping[str, Any]]) -> None:
        tasks = {path.parent: str(values.get("task", "")) for path, values in files.items()}
        for path, values in files.items():
            above = (tasks.get(folder) for folder in path.parent.parents)
            if tasks[path.parent] not in above:
                self._read_file(path, values)

    def _read_file(self, path: Path, values: Mapping[str, Any]) -> None:
        self._take(values, path)
        more = values.get("more")
        for score in more if isinstance(more, list) else []:
            if isinstance(score, Mapping) and _metric_of(score) is not None:
                self._take(score, path)

    def _take(self, score: Mapping[str, Any], path: Path) -> None:
        where, task = path.relative_to(self.root), str(score.get("task", ""))
        split, metric = str(score.get("split", "")), _metric_of(score)
        if not task_metrics(task):
            self.passed_over.append(f"{where}: {task or 'no task'} is none of SUPERB's ten tasks")
        elif metric is None:
            name = score.get("metric")
            self.passed_over.append(f"{where}: {name} is none of SUPERB's numbers of {task}")
        elif not is_published_split(split):
            self.passed_over.append(f"{where}: {task} of split {split!r}, not of the test set")
        elif metric.field == "asr" and any(_LANGUAGE_MODEL.search(part) for part in where.parts):
            self.passed_over.append(
                f"{where}: with a language model, which SUPERB's ASR is without"
            )
        else:
            self._add(metric, score, path, split)

    def _add(self, metric: Metric, score: Mapping[str, Any], path: Path, split: str) -> None:
        where, value = path.relative_to(self.root), score.get("value")
        unit = str(score.get("unit") or "") or (FRACTION if metric.unit == FRACTION else None)
        problem = metric.problem(value, unit)
        fold = fold_of(where, split) if metric.task == FOLDED else ""
        if metric.task == FOLDED and fold not in (*FOLDS, ALL_FOLDS):
            problem = f"ER of unknown fold; its folders are er/{FOLDS[0]} to er/{FOLDS[-1]}"
        if problem is not None:
            self.problems.append(f"{where}: {problem}")
            return
        upstream = (str(score.get("upstream", "")), _same_path(str(score.get("upstream_ckpt", ""))))
        about = (str(score.get("checkpoint", "")), upstream, str(score.get("features", STOCK)))
        assert isinstance(value, (int, float))
        self.found.append(Found(metric, float(value), fold, path, *about))


def is_published_split(split: str) -> bool:
    """Whether published scores are of this split: the test set, for ASR test-clean."""
    return split.startswith("test") and split != "test-other"


def fold_of(path: Path, split: str = "") -> str:
    """``fold1`` from a path like ``er/fold1/score.json`` or a split; ``5 folds`` from a split that
    says so; empty without either.
    """
    if split.endswith(ALL_FOLDS):
        return ALL_FOLDS
    folds = [match.group(1) for part in (split, *path.parts) for match in _FOLD.finditer(part)]
    return f"fold{int(folds[-1])}" if folds else ""


def _metric_of(score: Mapping[str, Any]) -> Metric | None:
    metrics = {metric.name.lower(): metric for metric in task_metrics(str(score.get("task", "")))}
    return metrics.get(str(score.get("metric", "")).lower())


def _same_path(path: str) -> str:
    return os.path.normpath(path) if path else ""


def _repeats(found: list[Found], root: Path) -> list[str]:
    """A number that two files give."""
    seen: dict[tuple[str, str], Path] = {}
    problems = []
    for one in found:
        key, where = (one.metric.field, one.fold), one.path.relative_to(root)
        if key in seen:
            what = " ".join(part for part in (one.metric.task, one.metric.name, one.fold) if part)
            problems.append(f"{what} is there twice, in {seen[key]} and {where}; keep one of them")
        seen[key] = where
    return problems


def _strangers(found: list[Found]) -> list[str]:
    """Runs of different models are no row."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in found:
        tasks.setdefault(one.upstream, []).append(one.metric.task)
    if len(tasks) < 2:
        return []
    groups = [
        f"{' -k '.join(filter(None, upstream)) or 'unnamed'} ({', '.join(dict.fromkeys(names))})"
        for upstream, names in tasks.items()
    ]
    return [f"the runs are of different upstreams: {'; '.join(groups)}; a row is one model's"]


def _model(name: str, root: Path, found: list[Found]) -> Model:
    values: dict[str, float] = {}
    for metric in METRICS:
        numbers = [one.value for one in found if one.metric is metric]
        if numbers:
            values[metric.field] = statistics.fmean(numbers)
    folds = {one.fold for one in found if one.metric.task == FOLDED}
    partial = {}
    if folds and ALL_FOLDS not in folds and len(folds) < len(FOLDS):
        lacking = ", ".join(fold for fold in FOLDS if fold not in folds)
        partial = {FOLDED: f"{len(folds)} of {len(FOLDS)} folds, without {lacking}"}
    source = "; ".join([f"runs in {root.name}", *_other_features(found)])  # no path of a machine
    return Model(name, Scores(**values), source=source, partial=partial)


def _other_features(found: list[Found]) -> list[str]:
    """Which tasks did not see the features that S3PRL itself would have computed."""
    tasks: dict[str, list[str]] = {}
    for one in found:
        if one.features != STOCK:
            tasks.setdefault(one.features, []).append(one.metric.task)
    return [f"features {what}: {', '.join(dict.fromkeys(t))}" for what, t in tasks.items()]
