"""Figures of the report: training curves, and scores against what they cost.

Drawn with matplotlib's Agg canvas directly, so that no display, no global state and no backend of
the caller is touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from espnet_kd.evaluation.curves import Curves
from espnet_kd.evaluation.labels import place_labels
from espnet_kd.utils.files import atomic_path

# Okabe-Ito colours: told apart by colour-blind readers, and markers differ too.
ROLE_STYLES = {
    "teacher": ("#555555", "s"),
    "student": ("#0072B2", "o"),
    "baseline": ("#D55E00", "^"),
    "published": ("#009E73", "D"),
}
SPLIT_COLOURS = {"train": "#999999", "valid": "#0072B2", "dev": "#0072B2", "": "#0072B2"}
COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """One system in a trade-off plot."""

    label: str
    """Name written beside the mark."""
    role: str
    """Key of :data:`ROLE_STYLES`."""
    cost: float
    """Position on the (logarithmic) cost axis."""
    score: float
    """Position on the score axis."""
    spread: float = 0.0
    """Standard deviation over seeds, drawn as an error bar; 0 draws none."""


@dataclass(frozen=True)
class Panel:
    """One trade-off plot: a score against a cost."""

    cost_label: str
    """Label of the cost axis (less is better)."""
    score_label: str
    """Label of the score axis."""
    lower_is_better: bool
    """True turns the score axis over, so that better is always up."""
    points: Sequence[Point]
    """Systems."""


def plot_curves(
    systems: Mapping[str, Sequence[Curves]], path: str | os.PathLike[str], quantity: str = "loss"
) -> None:
    """Draw one panel per system with its curves of ``quantity``, one line per split and seed.

    Args:
        systems: system name to the curves of its seeds.
        path: PNG file to write.
        quantity: last part of the curve's key (``"train/loss"`` → ``"loss"``).
    """
    figure, axes = grid(max(len(systems), 1), width=4.2, height=3.0)
    for axis, (name, seeds) in zip(axes, systems.items(), strict=False):
        drawn: set[str] = set()
        for curves in seeds:
            for key, points in _splits(curves, quantity).items():
                _draw_curve(axis, key, points, label=None if key in drawn else key)
                drawn.add(key)
        axis.set(title=name, xlabel="update", ylabel=quantity)
        if drawn:
            axis.legend(frameon=False)
        else:
            axis.text(0.5, 0.5, "no curve", ha="center", transform=axis.transAxes, color="#777777")
    save(figure, path)


def plot_tradeoff(
    panels: Sequence[Panel],
    path: str | os.PathLike[str],
    columns: int = 3,
    size: tuple[float, float] = (4.6, 3.7),
) -> None:
    """Draw scores against costs; the line joins the systems that no other one beats in both.

    Args:
        panels: row by row, ``columns`` per row.
        path: PNG file to write.
        columns: panels per row.
        size: width and height of a panel in inches.
    """
    figure, axes = grid(max(len(panels), 1), *size, columns=columns)
    for axis, panel in zip(axes, panels, strict=False):
        _draw_panel(axis, panel)
    used = {point.role for panel in panels for point in panel.points}
    roles = [role for role in ROLE_STYLES if role in used]
    handles = [
        axes[0].scatter([], [], color=ROLE_STYLES[r][0], marker=ROLE_STYLES[r][1], label=r)
        for r in roles
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    # Labels are placed last: their room is known once the layout is.
    figure.draw_without_rendering()
    for axis, panel in zip(axes, panels, strict=False):
        front = pareto_front(panel.points, panel.lower_is_better)
        place_labels(
            axis,
            [(p.label, p.cost, p.score) for p in panel.points],
            line=[(p.cost, p.score) for p in front],
        )
    save(figure, path)


def pareto_front(points: Sequence[Point], lower_is_better: bool) -> list[Point]:
    """Return the points that no other point beats in cost and score, by rising cost."""
    sign = 1.0 if lower_is_better else -1.0
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, sign * p.score)):
        if not front or sign * point.score < sign * front[-1].score:
            front.append(point)
    return front


def _draw_curve(
    axis: Axes, split: str, points: Sequence[tuple[float, float]], label: str | None
) -> None:
    x, y = zip(*points, strict=True)
    marker = "o" if len(points) < 20 else ""
    colour = SPLIT_COLOURS.get(split, "#CC79A7")
    axis.plot(x, y, color=colour, marker=marker, markersize=3, lw=1.4, alpha=0.85, label=label)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    front = pareto_front(panel.points, panel.lower_is_better)
    axis.plot([p.cost for p in front], [p.score for p in front], color="#BBBBBB", lw=1.2, zorder=1)
    for p in panel.points:
        colour, marker = ROLE_STYLES[p.role]
        if p.spread:
            axis.errorbar(p.cost, p.score, yerr=p.spread, color=colour, capsize=3, lw=1, zorder=2)
        axis.scatter(p.cost, p.score, color=colour, marker=marker, s=48, zorder=3, ec="white")
    axis.set(xlabel=panel.cost_label, ylabel=panel.score_label, xscale="log")
    axis.margins(0.2)
    axis.minorticks_off()
    ticks = _apart([p.cost for p in panel.points])
    axis.set_xticks(ticks, [f"{tick:.2g}" if tick < 100 else f"{tick:.0f}" for tick in ticks])
    if "%" in panel.score_label:
        low, high = axis.get_ylim()
        ticks = [tick for tick in axis.get_yticks() if max(low, 0) <= tick <= min(high, 100)]
        axis.set_yticks(ticks)
    if panel.lower_is_better:
        axis.invert_yaxis()


def _apart(costs: Sequence[float], share: float = 0.15) -> list[float]:
    """Costs that are far enough apart on a logarithmic axis for their numbers to be read."""
    logs = sorted({math.log(cost) for cost in costs})
    room = share * (logs[-1] - logs[0])
    kept: list[float] = []
    for value in logs:
        if not kept or value - kept[-1] > room:
            kept.append(value)
    return [math.exp(value) for value in kept]


def _splits(curves: Curves, quantity: str) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for key, points in curves.items():
        split, _, name = key.rpartition("/")
        if name == quantity and points:
            found[split] = points
    return found


def grid(
    count: int, width: float, height: float, columns: int = COLUMNS
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` visible axes in the house's style; sizes in inches per panel."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [axis for row in figure.subplots(rows, columns, squeeze=False) for axis in row]
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes:
        axis.grid(color="#EEEEEE")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.yaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
