"""A report folder from run JSONs: report.html, RESULTS.md, curves.png, wer.png, pareto.png."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_kd.evaluation.curves import Curves, load_curves
from espnet_kd.evaluation.html import render_page
from espnet_kd.evaluation.plots import COLUMNS, Panel, Point, plot_curves, plot_tradeoff
from espnet_kd.evaluation.results import (
    command_table,
    removal_tables,
    result_tables,
    results_markdown,
)
from espnet_kd.evaluation.runs import Run
from espnet_kd.evaluation.summary import System, group, score_labels
from espnet_kd.utils.files import write_text

AXES = ("Parameters (M)", "MACs (G)", "RTF (CPU)")
CURVES = {"loss": ("Training curves", "curves.png"), "wer": ("WER while training", "wer.png")}
"""Quantity to caption and file of its figure."""


def write_report(
    runs: Sequence[Run],
    out: Path,
    title: str = "Results",
    figures: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Write the report of ``runs`` into the folder ``out``.

    Figures for which no run brings data (no curves, no profile) are left out.

    Args:
        runs: what is reported.
        out: folder.
        title: heading of page and RESULTS.md.
        figures: caption to PNG file of further figures for the page.

    Returns:
        file name to path of what was written.
    """
    further = dict(figures or {})
    systems = group(runs)
    drawn: dict[str, Path] = {}
    panels = tradeoff_panels(systems)
    if panels:
        drawn["Score against cost"] = out / "pareto.png"
        plot_tradeoff(panels, out / "pareto.png", columns=_columns(panels))
    curves = {s.label: [load_curves(r.curves) for r in s.runs if r.curves] for s in systems}
    drawn |= _draw_curves(curves, out)
    write_text(out / "RESULTS.md", results_markdown(runs, title))
    tables = [*result_tables(runs), *removal_tables(systems), command_table(runs)]
    shown = {**drawn, **removal_pictures(systems), **further}
    write_text(out / "report.html", render_page(title, tables, shown, headline(systems)))
    return {path.name: path for path in (*drawn.values(), out / "RESULTS.md", out / "report.html")}


def _draw_curves(curves: Mapping[str, Sequence[Curves]], out: Path) -> dict[str, Path]:
    """Caption and file of a figure for the loss of all systems that have curves, and for the WER of
    those that recognised speech while they were trained.
    """
    drawn = {}
    for quantity, (caption, name) in CURVES.items():
        having = {
            label: seeds
            for label, seeds in curves.items()
            if any(quantity in ("loss", key.rpartition("/")[2]) for seed in seeds for key in seed)
        }
        if having:
            drawn[caption] = out / name
            plot_curves(having, out / name, quantity)
    return drawn


def removal_pictures(systems: Sequence[System]) -> dict[str, Path]:
    """Caption and file of the picture that pruning drew, for the first run of each system."""
    return {
        f"Pruning of {system.label}, seed {run.seed}": Path(run.pruning["picture"])
        for system in systems
        for run in system.runs[:1]
        if "picture" in run.pruning
    }


def tradeoff_panels(systems: Sequence[System]) -> list[Panel]:
    """One panel per corpus, score and cost that at least two profiled systems share."""
    panels = []
    corpora = list(dict.fromkeys(system.corpus for system in systems))
    for corpus in corpora:
        here = [system for system in systems if system.corpus == corpus]
        suffix = f" · {corpus}" if corpus and len(corpora) > 1 else ""
        for label in score_labels(here):
            for cost in AXES:
                points, lower = _points(here, label, cost)
                if len(points) > 1:
                    panels.append(Panel(f"{cost} ↓", label + suffix, lower, points))
    return panels


def headline(systems: Sequence[System]) -> list[str]:
    """One sentence per student: how small it is and what it keeps of its teacher's scores."""
    sentences = []
    for student in (system for system in systems if system.role == "student"):
        teachers = [s for s in systems if s.role == "teacher" and s.corpus == student.corpus]
        if teachers:
            sentences.append(_compare(student, teachers[0]))
    return sentences


def _compare(student: System, teacher: System) -> str:
    small, large = student.costs(), teacher.costs()
    parts = [
        f"{100 * small[label] / large[label]:.0f} % of its {name}"
        for label, name in (("Parameters (M)", "parameters"), ("MACs (G)", "MACs"))
        if label in small and large.get(label)
    ]
    theirs = teacher.scores()
    scores = [
        f"{label} {statistic.mean:.2f} (teacher {theirs[label][1].mean:.2f})"
        for label, (_, statistic) in student.scores().items()
        if label in theirs
    ]
    size = f" has {' and '.join(parts)} and" if parts else ""
    return f"{student.label}, next to {teacher.label},{size} reaches {'; '.join(scores)}."


def _points(systems: Sequence[System], label: str, cost: str) -> tuple[list[Point], bool]:
    points, lower = [], True
    for system in systems:
        scores, costs = system.scores(), system.costs()
        if label in scores and cost in costs:
            score, statistic = scores[label]
            lower = score.direction == "lower"
            points.append(
                Point(system.name, system.role, costs[cost], statistic.mean, statistic.std)
            )
    return points, lower


def _columns(panels: Sequence[Panel]) -> int:
    """A column per cost; with one cost the panels stand side by side."""
    costs = len({panel.cost_label for panel in panels})
    return costs if costs > 1 else COLUMNS
