"""Several data sets in one option: names joined by ``+``, and what belongs to each likewise.

``a+b`` with the splits ``train+validation`` is the split train of a and the split validation of b.
As in Distil-Whisper's commands; source: spec whisper.md 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from espnet_kd.errors import ConfigError


@dataclass(frozen=True)
class DatasetPart:
    """One of the data sets."""

    name: str
    """Folder, or name on the hub."""

    config: str
    """Configuration."""

    split: str
    """Split."""

    text_column_name: str
    """Column with references."""

    samples: float | None
    """Weight in a mixture; None = as large as it is."""


def parse_datasets(
    dataset_names: str,
    dataset_config_names: str | None = None,
    splits: str | None = None,
    text_column_names: str | None = None,
    dataset_samples: str | None = None,
) -> list[DatasetPart]:
    """Take joined options apart.

    Args:
        dataset_names: ``a+b``.
        dataset_config_names: as many; None = ``default`` for each.
        splits: as many; None = ``train`` for each.
        text_column_names: as many; None = ``text`` for each.
        dataset_samples: as many numbers; None = no weights.

    Raises:
        ConfigError: not as many as names, an empty name, or weights that are no positive numbers;
            all problems at once.
    """
    names = dataset_names.split("+")
    problems = [] if all(names) else [f"dataset names {dataset_names!r}: one of them is empty"]
    given = {
        "config names": (dataset_config_names, "default"),
        "splits": (splits, "train"),
        "text column names": (text_column_names, "text"),
    }
    columns = []
    for what, (joined, default) in given.items():
        parts = [default] * len(names) if joined is None else joined.split("+")
        problems += _count_problems(what, parts, names)
        columns.append(parts)
    weights: list[float | None] = [None] * len(names)
    if dataset_samples is not None:
        try:
            weights = list(parse_samples(dataset_samples))
        except ConfigError as error:
            problems += error.problems
        else:
            problems += _count_problems("samples", weights, names)
    if problems:
        raise ConfigError("data sets", problems)
    return [DatasetPart(*values) for values in zip(names, *columns, weights, strict=True)]


def parse_samples(joined: str) -> list[float]:
    """Weights of data sets, ``10+5``.

    Raises:
        ConfigError: one of them is no positive number.
    """
    try:
        weights = [float(part) for part in joined.split("+")]
    except ValueError:
        weights = []
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise ConfigError(
            "samples", [f"{joined!r} are no positive numbers joined by +, such as 10+5"]
        )
    return weights


def _count_problems(what: str, parts: Sequence[object], names: Sequence[str]) -> list[str]:
    if len(parts) == len(names):
        return []
    return [
        f"{len(parts)} {what} for {len(names)} data set(s) {'+'.join(names)}; give one for each, "
        "joined by +"
    ]
