"""RESULTS.md from run JSONs: scores as mean ± std over seeds, costs, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_kd.evaluation.runs import Run
from espnet_kd.evaluation.summary import COSTS, System, group, score_labels

MISSING = "–"
NOTE = (
    "Mean ± sample standard deviation over n seeds; a value without ± is one run. "
    "↓ lower is better, ↑ higher is better."
)


@dataclass(frozen=True)
class Table:
    """Cells of a table; the first row holds the column heads."""

    title: str
    """Heading above the table."""
    head: list[str]
    """Column heads."""
    rows: list[list[str]]
    """Text of the cells."""

    def markdown(self) -> str:
        """The table in GitHub's Markdown, under a heading."""
        lines = [_line(self.head), _line(["---"] * len(self.head)), *map(_line, self.rows)]
        return f"## {self.title}\n\n" + "\n".join(lines) + "\n"


def result_tables(runs: Iterable[Run]) -> list[Table]:
    """One table of scores per corpus: a row per system, a column per score and cost."""
    systems = group(runs)
    corpora = dict.fromkeys(system.corpus for system in systems)
    return [
        _score_table(corpus or "Results", [s for s in systems if s.corpus == corpus])
        for corpus in corpora
    ]


def command_table(runs: Iterable[Run]) -> Table:
    """How to repeat every run."""
    rows = [
        [run.label, str(run.seed), f"`{run.command}`" if run.command else MISSING] for run in runs
    ]
    return Table("Commands", ["system", "seed", "command"], rows)


def removal_tables(systems: Iterable[System]) -> list[Table]:
    """What pruning removed from each pruned system, of its first run: a row per part."""
    pruned = [(system, run) for system in systems for run in system.runs[:1] if run.pruning]
    return [
        Table(
            f"What was removed: {system.label}, seed {run.seed}",
            ["part", "before", "after", "kept"],
            [_removal(part) for part in run.pruning.get("parts", ())],
        )
        for system, run in pruned
    ]


def _removal(part: Mapping[str, Any]) -> list[str]:
    before, after = part["before"], part["after"]
    return [part["name"], str(before), str(after), f"{after / before:.1%}" if before else MISSING]


def results_markdown(runs: Sequence[Run], title: str = "Results") -> str:
    """Text of RESULTS.md."""
    parts = [f"# {title}\n", f"{NOTE}\n"]
    parts += [table.markdown() for table in result_tables(runs)]
    parts.append(command_table(runs).markdown())
    return "\n".join(parts)


def _score_table(title: str, systems: Sequence[System]) -> Table:
    scores = score_labels(systems)
    costs = [label for label in COSTS if any(label in system.costs() for system in systems)]
    described = any(run.description for system in systems for run in system.runs)
    head = ["system", "role", *(["what"] if described else []), *scores, *costs]
    rows = [_row(system, scores, costs, described) for system in systems]
    return Table(title, head, rows)


def _row(system: System, scores: Sequence[str], costs: Sequence[str], described: bool) -> list[str]:
    found, spent = system.scores(), system.costs()
    what = [system.runs[0].description or MISSING] if described else []
    return [
        *(system.name, system.role, *what),
        *(str(found[label][1]) if label in found else MISSING for label in scores),
        *(f"{spent[label]:.4g}" if label in spent else MISSING for label in costs),
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
