"""One model's scores on SUPERB's ten tasks, and the two numbers that sum them up.

*overall* (as the ARMHuBERT and STaR papers print it): the mean of eleven numbers, errors as
100 - error, MTWV in per cent, SF's two counted separately.

*superb_s* (the leaderboard's "Score"): each number's place between filter banks (0) and the best
system when the scale was fixed (1); SF's two are averaged; 1000 times the mean over the ten tasks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.superb.metrics import (
    FRACTION,
    METRICS,
    TASKS,
    Metric,
    closest,
    task_metrics,
)


@dataclass(frozen=True)
class Scores:
    """Scores of one model; None where a number is missing. Per cent but for QbE's MTWV."""

    pr: float | None = None
    """Phoneme recognition, phone error rate."""
    asr: float | None = None
    """Speech recognition, word error rate without a language model."""
    ks: float | None = None
    """Keyword spotting, accuracy."""
    qbe: float | None = None
    """Query by example, maximum term-weighted value as a fraction."""
    sid: float | None = None
    """Speaker identification, accuracy."""
    asv: float | None = None
    """Speaker verification, equal error rate."""
    sd: float | None = None
    """Speaker diarisation, diarisation error rate."""
    ic: float | None = None
    """Intent classification, accuracy."""
    sf_f1: float | None = None
    """Slot filling, F1 of slot types."""
    sf_cer: float | None = None
    """Slot filling, character error rate of slot values."""
    er: float | None = None
    """Emotion recognition, mean accuracy over five folds."""

    @classmethod
    def from_nested(cls, nested: object, model: str = "model") -> Scores:
        """Read ``{"PR": {"PER": 7.7}, "SF": {"slot_type_f1": 87.6, "slot_value_cer": 26.1}, …}``.

        A task with one number may be that number alone; a number may be
        ``{"value": 0.4, "unit": "%"}``, which says that an unlikely value is meant.

        Raises:
            ScoreError: unknown names and values that cannot be, all listed, with ``model``.
        """
        found: dict[str, float] = {}
        problems = _read_tasks(nested, found)
        if problems:
            raise ScoreError(model, problems)
        return cls(**found)

    def value(self, metric: Metric) -> float | None:
        """The number of one metric."""
        found: float | None = getattr(self, metric.field)
        return found

    def nested(self) -> dict[str, dict[str, Any]]:
        """What :meth:`from_nested` reads back; missing numbers are left out."""
        found: dict[str, dict[str, Any]] = {}
        for metric in METRICS:
            value = self.value(metric)
            if value is not None:
                unlikely = metric.problem(value) is not None
                stated = {"value": value, "unit": metric.unit} if unlikely else value
                found.setdefault(metric.task, {})[metric.name] = stated
        return found

    def missing(self) -> list[str]:
        """Names of the missing numbers, e.g. ``QbE MTWV``."""
        return [f"{m.task} {m.name}" for m in METRICS if self.value(m) is None]

    def complete(self) -> dict[Metric, float]:
        """All eleven numbers.

        Raises:
            ScoreError: names every number that is missing.
        """
        if self.missing():
            raise ScoreError("SUPERB scores", [f"{name} is missing" for name in self.missing()])
        return {metric: getattr(self, metric.field) for metric in METRICS}


def overall(scores: Scores) -> float:
    """The mean of the eleven numbers, in points of 100.

    Raises:
        ScoreError: names every number that is missing.
    """
    return statistics.fmean(_points(m, value) for m, value in scores.complete().items())


def superb_s(scores: Scores) -> float:
    """The leaderboard's score: 0 for filter banks, 1000 for the best of each task at its start.

    Raises:
        ScoreError: names every number that is missing.
    """
    values = scores.complete()
    tasks = [[m.gain(values[m]) for m in task_metrics(task)] for task in TASKS]
    return 1000 * statistics.fmean(statistics.fmean(gains) for gains in tasks)


def _points(metric: Metric, value: float) -> float:
    per_cent = 100 * value if metric.unit == FRACTION else value
    return 100 - per_cent if metric.direction == "lower" else per_cent


def _read_tasks(nested: object, found: dict[str, float]) -> list[str]:
    if not isinstance(nested, Mapping):
        return [f"scores: expected an object of tasks, not {nested!r:.60}"]
    problems: list[str] = []
    for task, numbers in nested.items():
        metrics = task_metrics(str(task))
        if not metrics:
            problems.append(f"unknown task {task}{closest(str(task), TASKS)}")
        elif isinstance(numbers, Mapping) and "value" not in numbers:
            problems += _read_numbers(metrics, numbers, found)
        elif len(metrics) == 1:
            problems += _read_number(metrics[0], numbers, found)
        else:
            names = ", ".join(metric.name for metric in metrics)
            problems.append(f"{task}: expected an object with {names}, not {numbers!r:.60}")
    return problems


def _read_numbers(
    metrics: tuple[Metric, ...], numbers: Mapping[Any, object], found: dict[str, float]
) -> list[str]:
    problems: list[str] = []
    known = {metric.name.lower(): metric for metric in metrics}
    for name, number in numbers.items():
        metric = known.get(str(name).lower())
        if metric is None:
            names = tuple(m.name for m in metrics)
            problems.append(f"{metrics[0].task}: unknown {name}{closest(str(name), names)}")
        else:
            problems += _read_number(metric, number, found)
    return problems


def _read_number(metric: Metric, number: object, found: dict[str, float]) -> list[str]:
    value, unit = number, None
    if isinstance(number, Mapping):
        value, unit = number.get("value"), str(number.get("unit", metric.unit))
    problem = metric.problem(value, unit)
    if metric.field in found:
        problem = f"{metric.task} {metric.name} is given twice"
    if problem is None:
        found[metric.field] = float(value)  # type: ignore[arg-type]
    return [problem] if problem else []
