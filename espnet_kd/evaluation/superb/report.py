"""A folder with the table as Markdown and JSON, the trade-off plots, and one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_kd.evaluation.html import render_page
from espnet_kd.evaluation.plots import Panel, Point, plot_tradeoff
from espnet_kd.evaluation.superb.experiments import Experiment
from espnet_kd.evaluation.superb.models import Model
from espnet_kd.evaluation.superb.table import (
    COST_HEADS,
    NOTE,
    as_json,
    run_tables,
    score_table,
    source_table,
)
from espnet_kd.utils.files import write_json, write_text

SCORES: dict[str, Callable[[Model], float | None]] = {
    "superb_s": Model.superb_s,
    "overall": Model.overall,
}


def write_superb_report(
    models: Sequence[Model], out: Path, title: str, experiments: Sequence[Experiment] = ()
) -> list[Path]:
    """Write superb.md, superb.json, superb.html and, where costs are known, a PNG per score.

    Args:
        models: rows in the order of the table.
        out: folder.
        title: heading.
        experiments: runs behind some of the rows.

    Returns:
        what was written.
    """
    figures = {}
    for name in SCORES:
        panels = tradeoff_panels(models, name)
        if panels:
            figures[f"{name} against cost"] = out / f"{name}.png"
            # One below the other: two dozen names need the width of the page.
            plot_tradeoff(panels, out / f"{name}.png", columns=1, size=(9.0, 5.6))
    tables = [score_table(models, "Scores"), source_table(models), *run_tables(experiments)]
    markdown = "\n".join(table.markdown() for table in tables)
    write_text(out / "superb.md", f"# {title}\n\n{NOTE}\n\n{markdown}")
    write_json(out / "superb.json", as_json(models))
    write_text(out / "superb.html", render_page(title, tables, figures, note=NOTE))
    return [out / "superb.md", out / "superb.json", out / "superb.html", *figures.values()]


def tradeoff_panels(models: Sequence[Model], score: str) -> list[Panel]:
    """One panel per cost that at least two models with ``score`` have.

    Filter banks are no model: a row without parameters is left out.
    """
    panels = []
    for key, label in COST_HEADS.items():
        points = [
            Point(model.name, model.role, cost, value)
            for model in models
            if model.parameters != 0
            and (cost := getattr(model, key))
            and (value := SCORES[score](model)) is not None
        ]
        if len(points) > 1:
            panels.append(Panel(f"{label} ↓", f"{score} ↑", False, points))
    return panels
