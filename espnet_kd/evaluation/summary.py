"""Seeds of one system put together: mean, standard deviation and number of runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from espnet_kd.evaluation.runs import Run, Score

COSTS = {
    "Parameters (M)": (("parameters", "total"), 1e-6),
    "MACs (G)": (("macs", "total"), 1e-9),
    "RTF (CPU)": (("time", "rtf_cpu"), 1.0),
    "Peak memory (MiB)": (("memory", "peak_mib"), 1.0),
    "Removed (%)": (("pruning", "reached"), 100.0),
    "Off target (%)": (("pruning", "off_target"), 100.0),
    "Labels kept (%)": (("labels", "kept"), 100.0),
    "WER of labels (%)": (("labels", "wer"), 1.0),
}
"""Cost's column head to its place in the profile (or what pruning wrote) and its scale; what labels
a recipe gave to a model it writes into the profile."""


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation over seeds."""

    mean: float
    """Mean over runs."""
    std: float
    """Sample standard deviation (n − 1); 0 for one run."""
    count: int
    """Number of runs n."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Statistic of at least one value."""
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), std, len(values))

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} ± {self.std:.2f} (n={self.count})"


@dataclass
class System:
    """All runs of one name on one corpus."""

    name: str
    """System name."""
    role: str
    """``teacher``, ``student`` or ``baseline``."""
    corpus: str
    """Speech that the scores were measured on."""
    runs: list[Run] = field(default_factory=list)
    """Its runs, one per seed."""

    @property
    def label(self) -> str:
        """Name and corpus."""
        return self.runs[0].label

    def scores(self) -> dict[str, tuple[Score, Statistic]]:
        """Column label to one of its scores (for task, metric, direction) and the statistic."""
        values: dict[str, list[Score]] = {}
        for run in self.runs:
            for score in run.scores:
                values.setdefault(score.label, []).append(score)
        return {
            label: (scores[0], Statistic.of([score.value for score in scores]))
            for label, scores in values.items()
        }

    def costs(self) -> dict[str, float]:
        """Cost column (:data:`COSTS`) to its mean over the runs that were profiled."""
        found = {}
        for label, (keys, scale) in COSTS.items():
            values = [v for run in self.runs if (v := _number(run, keys)) is not None]
            if values:
                found[label] = scale * statistics.fmean(values)
        return found


def group(runs: Iterable[Run]) -> list[System]:
    """Group runs by name and corpus, in the order of first appearance."""
    systems: dict[tuple[str, str], System] = {}
    for run in runs:
        new = System(run.name, run.role, run.corpus)
        systems.setdefault((run.name, run.corpus), new).runs.append(run)
    return list(systems.values())


def score_labels(systems: Iterable[System]) -> list[str]:
    """Every score column of ``systems``, in the order of first appearance."""
    return list(dict.fromkeys(label for system in systems for label in system.scores()))


def _number(run: Run, keys: Sequence[str]) -> float | None:
    value: object = {**run.profile, "pruning": run.pruning}
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, (int, float)) else None
