"""Models side by side: positions, and the cells of the tables.

*rank* is a model's mean position over the ten tasks among the models shown: 1 would be the best in
every task, lower is better. Models with equal numbers share the mean of their positions; SF counts
as the mean of its two positions; a model without a full number takes no position in that task, and
a model that lacks any has no rank. The leaderboard's own Rank counts the other way round and over
all its entries; it cannot be computed from a part of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from espnet_kd.evaluation.results import MISSING, Table
from espnet_kd.evaluation.superb.experiments import Experiment
from espnet_kd.evaluation.superb.metrics import METRICS, TASKS, Metric, task_metrics
from espnet_kd.evaluation.superb.models import Model

NOTE = (
    "Per cent, QbE's MTWV as a fraction. ↓ lower is better, ↑ higher is better. overall: mean of "
    "eleven numbers (errors as 100 − error, MTWV in per cent). superb_s: the leaderboard's score, "
    "0 for filter banks. rank: mean position over the ten tasks among the models of this table, "
    "1 would be the best in each; it changes with the models shown. Parameters in millions; MACs "
    "in 1e9 over the leaderboard's 32 utterances. The leaderboard's tool adds about 0.2 % for "
    "torch's own attention function: published rows of HuBERT and WavLM have it, those of students "
    "with attention of their own (ARMHuBERT, MaskHuBERT, STaRHuBERT) and rows counted here do not."
)
COST_HEADS = {"parameters": "Parameters (M)", "macs": "MACs (G)", "rtf": "RTF (CPU)"}


def by_score(models: Sequence[Model]) -> list[Model]:
    """Best superb_s first; models without a score behind them in their own order."""

    def key(model: Model) -> tuple[bool, float]:
        score = model.superb_s()
        return score is None, -(score or 0.0)

    return sorted(models, key=key)


def ranks(models: Sequence[Model]) -> list[float | None]:
    """Mean position of each model (module docstring); None where a number is missing."""
    positions = {metric: _positions(metric, models) for metric in METRICS}
    found: list[float | None] = []
    for index, model in enumerate(models):
        tasks = [
            statistics.fmean(positions[m][index] for m in task_metrics(task)) for task in TASKS
        ]
        found.append(None if model.missing() else statistics.fmean(tasks))
    return found


def _positions(metric: Metric, models: Sequence[Model]) -> list[float]:
    """1 + better ones + half of the equal others; NaN without a full number."""
    sign = 1 if metric.direction == "lower" else -1
    keys = [_key(metric, model, sign) for model in models]
    shown = [key for key in keys if key is not None]
    return [
        float("nan")
        if key is None
        else 1 + sum(k < key for k in shown) + (sum(k == key for k in shown) - 1) / 2
        for key in keys
    ]


def _key(metric: Metric, model: Model, sign: int) -> float | None:
    value = None if metric.task in model.partial else model.scores.value(metric)
    return None if value is None else sign * value


def score_table(models: Sequence[Model], title: str) -> Table:
    """A row per model: costs that any model has, eleven numbers, two scores, rank."""
    costs = [key for key in COST_HEADS if any(getattr(m, key) is not None for m in models)]
    head = ["model", "role", *(COST_HEADS[key] for key in costs), *(m.label for m in METRICS)]
    rows = [
        [model.name, model.role, *_costs(model, costs), *_numbers(model), *_sums(model), _one(rank)]
        for model, rank in zip(models, ranks(models), strict=True)
    ]
    return Table(title, [*head, "overall ↑", "superb_s ↑", "rank ↓"], rows)


def _costs(model: Model, costs: Sequence[str]) -> list[str]:
    values = [getattr(model, key) for key in costs]
    return [MISSING if value is None else f"{value:.4g}" for value in values]


def _numbers(model: Model) -> list[str]:
    cells = []
    for metric in METRICS:
        value = model.scores.value(metric)
        text = MISSING if value is None else metric.text(value)
        cells.append(f"{text} ({model.partial[metric.task]})" if _cut(model, metric) else text)
    return cells


def _cut(model: Model, metric: Metric) -> bool:
    return metric.task in model.partial and model.scores.value(metric) is not None


def _sums(model: Model) -> list[str]:
    overall, score = model.overall(), model.superb_s()
    return [_one(overall), MISSING if score is None else f"{score:.0f}"]


def _one(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def source_table(models: Sequence[Model]) -> Table:
    """Where each row comes from, and what it lacks."""
    rows = [[m.name, m.source or MISSING, ", ".join(m.missing()) or MISSING] for m in models]
    return Table("Sources", ["model", "source", "lacks"], rows)


def run_tables(experiments: Sequence[Experiment]) -> list[Table]:
    """The runs behind each of our rows: number, weights, file; and files passed over."""
    tables = []
    for experiment in experiments:
        rows = [
            [f"{f.metric.task} {f.metric.name} {f.fold}".strip(), f.metric.text(f.value),
             f"`{f.checkpoint}`" if f.checkpoint else MISSING, f.features, f"`{f.path}`"]
            for f in experiment.found
        ]  # fmt: skip
        rows += [["passed over", *3 * [MISSING], text] for text in experiment.passed_over]
        head = ["number", "value", "weights", "features", "file"]
        tables.append(Table(f"Runs of {experiment.model.name}", head, rows))
    return tables


def as_json(models: Sequence[Model]) -> dict[str, Any]:
    """The table as an object that ``espnet_kd.bin.superb_score`` reads again."""
    found = zip(models, ranks(models), strict=True)
    return {"schema": 1, "models": [{**model.to_dict(), "rank": rank} for model, rank in found]}
